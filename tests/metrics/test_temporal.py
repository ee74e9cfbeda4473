"""Temporal consistency against a slow definition and known motions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.metrics import temporal


def slow_consistency(predictions, flow, valid):
  batch, frames, height, width = predictions.shape
  kept, moved = np.zeros(batch, int), np.zeros(batch, int)
  for b, t, y, x in np.ndindex(batch, frames - 1, height, width):
    dx, dy = flow[b, t, y, x]
    u, v = int(np.floor(x + dx + 0.5)), int(np.floor(y + dy + 0.5))
    if valid[b, t, y, x] and 0 <= u < width and 0 <= v < height:
      moved[b] += 1
      kept[b] += predictions[b, t + 1, y, x] == predictions[b, t, v, u]
  return kept, moved


def test_consistency_is_the_count_of_classes_that_persist():
  rng = np.random.default_rng(0)
  predictions = rng.integers(0, 3, (2, 4, 7, 9)).astype(np.uint8)
  flow = rng.normal(0, 2, (2, 3, 7, 9, 2)).astype(np.float32)
  valid = rng.random((2, 3, 7, 9)) < 0.8
  counts = jax.jit(temporal.consistency)(predictions, flow, valid)
  kept, moved = slow_consistency(predictions, flow, valid)
  np.testing.assert_array_equal(counts['kept'], kept)
  np.testing.assert_array_equal(counts['moved'], moved)


def pan(dx, dy, height=8, width=12):
  """Two frames; the second shows the first displaced by (dx, dy)."""
  first = np.random.default_rng(1).integers(0, 5, (height, width))
  second = np.roll(first, (dy, dx), (0, 1))
  flow = np.broadcast_to(np.float32([-dx, -dy]), (1, 1, height, width, 2))
  return np.stack([first, second])[None], flow, np.ones((1, 1, height, width))


@pytest.mark.parametrize(('dx', 'dy'), [(3, 0), (0, -2), (-1, 2), (0, 0)])
def test_a_known_motion_is_followed_perfectly(dx, dy):
  counts = temporal.consistency(*pan(dx, dy))
  assert counts['kept'] == counts['moved']
  assert counts['moved'] == (12 - abs(dx)) * (8 - abs(dy))


def test_the_wrong_sign_of_the_motion_is_not_consistent():
  predictions, flow, valid = pan(3, 1)
  counts = temporal.consistency(predictions, -flow, valid)
  assert counts['kept'] < 0.5 * counts['moved']


def test_half_a_pixel_of_motion_always_rounds_the_same_way():
  predictions, _, valid = pan(0, 0)
  predictions[0, 1] = np.roll(predictions[0, 0], -1, axis=1)
  flow = np.broadcast_to(np.float32([0.5, 0]), (1, 1, 8, 12, 2))
  counts = temporal.consistency(predictions, flow, valid)
  assert counts['kept'] == counts['moved'] == 8 * 11


@pytest.mark.parametrize('motion', [np.nan, np.inf, -1e12, 1e12])
def test_a_pixel_from_nowhere_is_not_counted(motion):
  predictions, flow, valid = pan(0, 0)
  flow = flow.copy()
  flow[0, 0, 2, 3, 0] = motion
  counts = temporal.consistency(predictions, flow, valid)
  assert counts['kept'] == counts['moved'] == 8 * 12 - 1


def test_one_frame_has_no_motion_to_follow():
  counts = temporal.consistency(
    jnp.zeros((2, 1, 4, 4), int),
    jnp.zeros((2, 0, 4, 4, 2)),
    jnp.zeros((2, 0, 4, 4)),
  )
  assert counts['moved'].tolist() == [0, 0]


def test_consistency_says_which_shapes_do_not_fit():
  predictions, flow, valid = pan(1, 0)
  with pytest.raises(ValueError, match=r'need a flow of shape \(1, 1, 8, 12'):
    temporal.consistency(predictions, flow[:, :, :-1], valid)
