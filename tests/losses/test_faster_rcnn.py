import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes import iou
from deltax.boxes.codes_xywh import encode
from deltax.boxes.grid_anchors import grid_anchors
from deltax.losses.faster_rcnn import (
  Regions,
  draw_regions,
  proposal_losses,
  region_losses,
  smooth_l1,
)

ANCHORS = grid_anchors((5, 8), stride=16, scales=(2, 4), ratios=(0.5, 1.0))
SIZE = jnp.array([80.0, 120.0])
TRUTHS = jnp.array([[10.0, 12, 60, 70], [64, 30, 100, 66], [0, 0, 0, 0]])
CLASSES = jnp.array([4, 0, -1])
losses_of = jax.jit(proposal_losses, static_argnames='count')
draw = jax.jit(draw_regions, static_argnames='count')


def key():
  return jax.random.key(0)


@pytest.fixture
def outputs():
  keys = jax.random.split(jax.random.key(1))
  objectness = jax.random.normal(keys[0], (len(ANCHORS),))
  return objectness, 0.3 * jax.random.normal(keys[1], ANCHORS.shape)


def on_anchors(outputs, truths=TRUTHS, classes=CLASSES, count=10_000):
  return losses_of(*outputs, ANCHORS, truths, classes, SIZE, key(), count=count)


def bent(error, bend):
  error = abs(error)
  return error**2 / (2 * bend) if error < bend else error - bend / 2


def slow(objectness, codes, truths):
  """Both losses over all anchors inside that are not ignored."""
  rows, cols = SIZE
  inside = [
    i
    for i, (x0, y0, x1, y1) in enumerate(ANCHORS)
    if x0 >= 0 and y0 >= 0 and x1 < cols and y1 < rows
  ]
  overlap = np.asarray(iou(jnp.asarray(ANCHORS), truths))
  best = {j: max(overlap[i, j] for i in inside) for j in range(len(truths))}
  entropy = distance = drawn = positives = 0
  for i in inside:
    j = overlap[i].argmax()
    forced = [k for k in best if best[k] >= 0.3 and overlap[i, k] == best[k]]
    found = overlap[i, j] >= 0.7 or bool(forced)
    if not found and overlap[i, j] >= 0.3:
      continue
    drawn += 1
    probability = 1 / (1 + np.exp(-objectness[i]))
    entropy -= np.log(probability if found else 1 - probability)
    if found:
      positives += 1
      truth = truths[forced[-1] if forced else j]
      target = encode(jnp.asarray(ANCHORS[i]), truth, deviation=1.0)
      distance += sum(bent(e, 1 / 9) for e in codes[i] - target)
  assert 0 < positives < drawn / 2
  return entropy / drawn, distance / drawn


def test_losses_of_anchors_are_those_of_the_definition(outputs):
  found = on_anchors(outputs)
  np.testing.assert_allclose(found, slow(*outputs, TRUTHS[:2]), rtol=1e-4)


def test_an_absent_box_never_counts(outputs):
  moved = TRUTHS.at[2].set(jnp.array([20.0, 20, 50, 50]))
  np.testing.assert_array_equal(
    on_anchors(outputs), on_anchors(outputs, truths=moved)
  )


def test_a_frame_without_boxes_only_has_background(outputs):
  classes = jnp.full(3, -1)
  entropy, distance = on_anchors(outputs, classes=classes)
  x0, y0, x1, y1 = ANCHORS.T
  inside = (x0 >= 0) & (y0 >= 0) & (x1 < 120) & (y1 < 80)
  expected = np.logaddexp(0, outputs[0])[inside].mean()
  np.testing.assert_allclose(entropy, expected, rtol=1e-5)
  assert distance == 0


def test_a_picture_smaller_than_every_anchor_costs_nothing(outputs):
  small = jnp.array([8.0, 8.0])
  found = losses_of(*outputs, ANCHORS, TRUTHS, CLASSES, small, key())
  np.testing.assert_array_equal(found, 0)


def test_gradients_of_padded_frames_are_finite(outputs):
  def total(outputs):
    return sum(on_anchors(outputs, truths=jnp.zeros((3, 4))))

  for gradient in jax.jit(jax.grad(total))(outputs):
    assert jnp.isfinite(gradient).all()


def test_a_sample_of_anchors_is_an_estimate(outputs):
  keys = jax.random.split(key(), 300)
  one = functools.partial(
    proposal_losses, *outputs, ANCHORS, TRUTHS, CLASSES, SIZE, count=16
  )
  classes, boxes = jax.jit(jax.vmap(lambda key: one(key=key)))(keys)
  assert classes.std() > 0
  # Few anchors have an object, and all of these are drawn: over 16 instead of
  # over all anchors, so each weighs more.
  everything = on_anchors(outputs)
  assert boxes.mean() > 2 * everything[1]


def proposals(seed=3, count=40):
  corner, side = jax.random.uniform(jax.random.key(seed), (2, count, 2))
  corner = corner * jnp.array([[100.0, 60]])
  boxes = jnp.concatenate([corner, corner + 5 + 40 * side], 1)
  near = TRUTHS[:2] + 2.0
  return jnp.concatenate([near, boxes]), jnp.arange(count + 2) < count


def test_regions_are_drawn_near_and_far_from_the_truth():
  boxes, kept = proposals()
  regions = draw(boxes, kept, TRUTHS, CLASSES, key(), count=24)
  assert regions.kept.all()
  pool = {tuple(b) for b in boxes[kept].tolist() + TRUTHS[:2].tolist()}
  assert {tuple(b) for b in regions.boxes.tolist()} <= pool
  overlap = iou(regions.boxes, TRUTHS[:2])
  near = overlap.max(1) >= 0.5
  assert 2 <= near.sum() <= 6
  expected = jnp.where(near, CLASSES[overlap.argmax(1)], -1)
  np.testing.assert_array_equal(regions.classes, expected)
  codes = encode(regions.boxes, TRUTHS[overlap.argmax(1)], deviation=0.2)
  np.testing.assert_allclose(regions.codes[near], codes[near], atol=1e-5)


def test_the_truth_itself_is_a_region():
  boxes, kept = proposals()
  absent = jnp.zeros_like(kept)
  regions = draw(boxes, absent, TRUTHS, CLASSES, key(), count=24)
  assert regions.kept.sum() == 2
  assert sorted(regions.boxes[regions.kept].tolist()) == TRUTHS[:2].tolist()
  np.testing.assert_allclose(regions.codes[regions.kept], 0, atol=1e-5)


def some_regions(kept=(True, True, True, False)):
  codes = jax.random.normal(jax.random.key(5), (4, 4))
  classes = jnp.array([2, -1, 0, 1])
  return Regions(jnp.zeros((4, 4)), classes, codes, jnp.array(kept))


def answers():
  keys = jax.random.split(jax.random.key(6))
  return jax.random.normal(keys[0], (4, 4)), jax.random.normal(keys[1], (4, 12))


def test_losses_of_regions_are_those_of_the_definition():
  (scores, codes), regions = answers(), some_regions()
  entropy = distance = 0.0
  for i, label in enumerate((2, 3, 0)):
    probabilities = np.exp(scores[i]) / np.exp(scores[i]).sum()
    entropy -= np.log(probabilities[label]) / 3
    if label < 3:
      own = codes[i, 4 * label : 4 * label + 4]
      distance += sum(bent(e, 1.0) for e in own - regions.codes[i]) / 3
  found = region_losses(scores, codes, regions)
  np.testing.assert_allclose(found, (entropy, distance), rtol=1e-5)


def test_a_frame_without_regions_costs_nothing():
  found = region_losses(*answers(), some_regions((False,) * 4))
  np.testing.assert_array_equal(found, 0)


def test_smooth_l1_has_no_corner():
  slope = jax.vmap(jax.grad(lambda e: smooth_l1(e, 0.5)))
  errors = jnp.array([-2.0, -0.5, -0.25, 0.0, 0.25, 0.499, 0.501, 2.0])
  expected = jnp.clip(errors / 0.5, -1, 1)
  np.testing.assert_allclose(slope(errors), expected, atol=1e-6)
