import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes import iou
from deltax.tasks.detection import faster_rcnn
from deltax.tasks.detection.faster_rcnn import read

SIZE = (48, 64)
CLASSES = 3


class Case:
  """A tiny detector, its variables, and two frames with boxes."""

  def __init__(self):
    self.net, _, self.losses, self.detect, _ = faster_rcnn.make(
      'faster_rcnn_tiny',
      num_classes=CLASSES,
      size=SIZE,
      scales=(1, 2),
      ratios=(0.5, 1.0),
      candidates=60,
      training_proposals=20,
      proposals=10,
      anchor_samples=32,
      region_samples=16,
      count=8,
    )
    keys = jax.random.split(jax.random.key(0), 2)
    self.images = jax.random.normal(keys[0], (2, *SIZE, 3))
    self.variables = jax.jit(self.net.init)(keys[1], self.images)
    self.frames = {
      'boxes': jnp.array(
        [[[4.0, 6, 30, 36], [30, 20, 60, 40]], [[8, 8, 24, 24], [0, 0, 0, 0]]]
      ),
      'classes': jnp.array([[2, 0], [1, -1]]),
      'size': jnp.array([[48.0, 64], [40, 50]]),
    }


@pytest.fixture(scope='module')
def case():
  return Case()


@pytest.fixture(scope='module')
def losses_of(case):
  """Losses of each frame, and the gradient of their sum."""

  def total(params, frames, key):
    variables = {**case.variables, 'params': params}
    outs = case.net.apply(variables, case.images)
    found = case.losses(variables, outs, frames, key)
    return sum(x.sum() for x in found.values()), found

  return jax.jit(jax.grad(total, has_aux=True))


def test_losses_are_one_a_frame_and_train_every_part(case, losses_of):
  gradient, found = losses_of(
    case.variables['params'], case.frames, jax.random.key(1)
  )
  names = ('classes', 'boxes')
  assert set(found) == {
    f'{stage}_{name}' for stage in ('proposal', 'region') for name in names
  }
  for value in found.values():
    assert value.shape == (2,) and (value > 0).all()
  for part in ('backbone', 'neck', 'rpn_head', 'roi_head'):
    largest = max(jnp.abs(x).max() for x in jax.tree.leaves(gradient[part]))
    assert 0 < largest < jnp.inf, part


def test_absent_boxes_never_count(case, losses_of):
  boxes = case.frames['boxes'].at[1, 1].set(jnp.array([1.0, 2, 30, 39]))
  moved = {**case.frames, 'boxes': boxes}
  found, same = (
    losses_of(case.variables['params'], frames, jax.random.key(1))[1]
    for frames in (case.frames, moved)
  )
  jax.tree.map(np.testing.assert_array_equal, found, same)


def test_frames_without_boxes_have_losses_of_background(case, losses_of):
  empty = {
    **case.frames,
    'boxes': jnp.zeros_like(case.frames['boxes']),
    'classes': jnp.full_like(case.frames['classes'], -1),
  }
  gradient, found = losses_of(
    case.variables['params'], empty, jax.random.key(1)
  )
  for stage in ('proposal', 'region'):
    np.testing.assert_array_equal(found[f'{stage}_boxes'], 0)
    assert (found[f'{stage}_classes'] > 0).all()
  assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_detections_lie_inside_the_picture(case):
  outs = jax.jit(case.net.apply)(case.variables, case.images)
  found = jax.jit(case.detect)(case.variables, outs, case.frames['size'])
  assert found.boxes.shape == (2, 8, 4)
  assert found.scores.shape == found.classes.shape == (2, 8)
  assert found.classes.dtype == jnp.int32
  assert (found.classes >= 0).all() and (found.classes < CLASSES).all()
  assert (jnp.diff(found.scores) <= 0).all()
  assert (found.boxes >= 0).all()
  limit = case.frames['size'][:, None, ::-1]
  assert (found.boxes[..., 2:] <= limit).all()
  assert (found.boxes[..., 2:] > found.boxes[..., :2]).all()


def slow(scores, codes, proposals, kept, count):
  """Detections by class, then the best of all classes."""
  found = []
  for k in range(CLASSES):
    rivals = []
    for i in np.flatnonzero(kept):
      probability = np.exp(scores[i, k]) / np.exp(scores[i]).sum()
      dx, dy, dw, dh = 0.2 * codes[i, 4 * k : 4 * k + 4]
      x0, y0, x1, y1 = proposals[i]
      width, height = x1 - x0, y1 - y0
      x, y = (x0 + x1) / 2 + dx * width, (y0 + y1) / 2 + dy * height
      half_x, half_y = width * np.exp(dw) / 2, height * np.exp(dh) / 2
      box = np.clip(
        (x - half_x, y - half_y, x + half_x, y + half_y), 0, (64, 48, 64, 48)
      )
      if probability > 0.2:
        rivals.append((probability, k, box))
    rivals.sort(key=lambda rival: -rival[0])
    own = []
    for rival in rivals:
      boxes = [jnp.array([other[2]]) for other in own]
      if all(iou(jnp.array([rival[2]]), box) <= 0.5 for box in boxes):
        own.append(rival)
    found += own
  return sorted(found, key=lambda rival: -rival[0])[:count]


def test_detections_are_those_of_the_definition():
  keys = jax.random.split(jax.random.key(3), 4)
  scores = jax.random.normal(keys[0], (12, CLASSES + 1))
  codes = jax.random.normal(keys[1], (12, 4 * CLASSES))
  corner = 30 * jax.random.uniform(keys[2], (12, 2))
  side = 10 + 20 * jax.random.uniform(keys[3], (12, 2))
  proposals = jnp.concatenate([corner, corner + side], 1)
  kept = jnp.arange(12) < 10
  found = read(
    scores,
    codes,
    proposals,
    kept,
    jnp.array([48.0, 64]),
    count=30,
    floor=0.2,
  )
  expected = slow(*map(np.asarray, (scores, codes, proposals, kept)), 30)
  n = len(expected)
  assert 5 < n < 30
  assert (found.classes[n:] == -1).all() and (found.scores[n:] == 0).all()
  values, classes, boxes = zip(*expected, strict=True)
  np.testing.assert_array_equal(found.classes[:n], classes)
  np.testing.assert_allclose(found.scores[:n], values, rtol=1e-5)
  np.testing.assert_allclose(found.boxes[:n], boxes, atol=1e-3)
