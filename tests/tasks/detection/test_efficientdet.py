"""EfficientDet as a detector: its losses and its detections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes import encode, iou, pyramid_anchors
from deltax.tasks.detection.detectors import make_detector

SIZE, CLASSES = (64, 96), 4
DETECTOR = make_detector('efficientdet_tiny', num_classes=CLASSES, size=SIZE)
ANCHORS = pyramid_anchors(SIZE, levels=(3, 5), octaves=1)


def truth(frames=3, count=5):
  draw = np.random.default_rng(0)
  low = draw.uniform(0, 40, (frames, count, 2))
  boxes = np.concatenate([low, low + draw.uniform(10, 24, low.shape)], -1)
  classes = draw.integers(0, CLASSES, (frames, count))
  classes[:, 3:] = -1
  classes[1] = -1
  boxes[classes < 0] = 0
  return {
    'boxes': boxes.astype(np.float32),
    'classes': classes.astype(np.int32),
    'size': np.tile(np.float32(SIZE), (frames, 1)),
  }


def outputs(frames=3, seed=1):
  draw = np.random.default_rng(seed)
  shape = frames, len(ANCHORS)
  return {
    'classes': draw.normal(0, 1, (*shape, CLASSES)).astype(np.float32),
    'boxes': draw.normal(0, 0.2, (*shape, 4)).astype(np.float32),
  }


def losses_of(outs, frames, detector=DETECTOR):
  return detector.losses(None, outs, frames, None)


def test_outputs_that_are_right_have_next_to_no_loss():
  frames = truth()
  overlap = np.asarray(iou(frames['boxes'], np.stack([ANCHORS] * 3)))
  outs = {
    'classes': np.full((3, len(ANCHORS), CLASSES), -20, np.float32),
    'boxes': np.zeros((3, len(ANCHORS), 4), np.float32),
  }
  for i, boxes in enumerate(frames['boxes']):
    present = np.flatnonzero(frames['classes'][i] >= 0)
    for a in range(len(ANCHORS)):
      if not len(present):
        continue
      best = present[overlap[i, present, a].argmax()]
      forced = [n for n in present if overlap[i, n].argmax() == a]
      if forced or overlap[i, best, a] >= 0.5:
        n = forced[0] if forced else best
        outs['classes'][i, a, frames['classes'][i, n]] = 20
        outs['boxes'][i, a] = encode(boxes[n], ANCHORS[a])
  for loss in losses_of(outs, frames).values():
    assert loss.shape == (3,) and float(loss.max()) < 1e-4
  for loss in losses_of(outputs(), frames).values():
    assert float(loss[0]) > 0.1


def test_more_rows_for_absent_boxes_change_nothing():
  frames, outs = truth(), outputs()
  wider = {
    **frames,
    'boxes': np.pad(frames['boxes'], ((0, 0), (0, 7), (0, 0))),
    'classes': np.pad(frames['classes'], ((0, 0), (0, 7)), constant_values=-1),
  }
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, 1e-6),
    losses_of(outs, frames),
    losses_of(outs, wider),
  )


def test_a_frame_that_does_not_count_changes_no_mean():
  frames, outs = truth(), outputs()
  masked = losses_of(outs, {**frames, 'mask': np.float32([1, 1, 0])})
  two = jax.tree.map(lambda x: x[:2], (outs, frames))
  for name, loss in losses_of(*two).items():
    assert masked[name][2] == 0
    np.testing.assert_allclose(masked[name][:2], loss, 1e-5)


@pytest.mark.parametrize('devices', [2, 4])
def test_the_mean_over_devices_is_the_loss_of_the_whole_batch(devices):
  frames, outs = truth(4), outputs(4)
  detector = make_detector(
    'efficientdet_tiny', num_classes=CLASSES, size=SIZE, axis_name='d'
  )
  split = jax.tree.map(
    lambda x: x.reshape(devices, -1, *x.shape[1:]), (outs, frames)
  )
  mapped = jax.vmap(
    lambda outs, frames: losses_of(outs, frames, detector), axis_name='d'
  )(*split)
  for name, loss in losses_of(outs, frames).items():
    np.testing.assert_allclose(mapped[name].mean(), loss.mean(), 1e-5)


def test_detections_are_the_best_boxes_inside_the_picture():
  outs, size = outputs(), np.float32([[64, 96], [30, 96], [64, 50]])
  found = jax.jit(DETECTOR.detect)(None, outs, size)
  assert found.boxes.shape == (3, 100, 4)
  best = jax.nn.sigmoid(outs['classes'].max((1, 2)))
  np.testing.assert_allclose(found.scores[:, 0], best, 1e-6)
  assert (np.diff(found.scores) <= 0).all()
  limits = size[:, None, [1, 0, 1, 0]]
  assert (found.boxes >= 0).all() and (found.boxes <= limits).all()
  for boxes, classes in zip(found.boxes, found.classes, strict=True):
    overlap = np.array(iou(boxes, boxes))
    np.fill_diagonal(overlap, 0)
    same = np.equal.outer(np.asarray(classes), np.asarray(classes))
    assert overlap[same].max() <= 0.5
    assert (overlap[~same] > 0.5).any(), 'classes do not compete'


def test_places_without_a_detection_are_empty():
  outs = outputs(1)
  outs['classes'][:] = -np.inf
  outs['classes'][0, 7, 2] = 1
  found = DETECTOR.detect(None, outs, jnp.array([SIZE]))
  assert found.classes[0, :2].tolist() == [2, -1]
  assert not found.scores[0, 1:].any() and not found.boxes[0, 1:].any()


def test_an_unknown_detector_is_named_with_the_known_ones():
  with pytest.raises(ValueError, match=r'hrnet_w18_small.*efficientdet'):
    make_detector('hrnet_w18_small', num_classes=2, size=SIZE)
