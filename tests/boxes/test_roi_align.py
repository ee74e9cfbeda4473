import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes.roi_align import roi_align

align = jax.jit(
  functools.partial(roi_align, stride=16), static_argnames=('bins', 'samples')
)


def at(features, y, x):
  """Bilinear sample of `[h, w, C]`, by its definition."""
  rows, cols, channels = features.shape
  if not (-1 <= y <= rows and -1 <= x <= cols):
    return np.zeros(channels)
  y, x = np.clip(y, 0, rows - 1), np.clip(x, 0, cols - 1)
  total = np.zeros(channels)
  for i in range(rows):
    for j in range(cols):
      share = max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
      total += share * features[i, j]
  return total


def slow(features, boxes, stride, bins, samples):
  out = np.zeros((*boxes.shape[:2], bins, bins, features.shape[-1]))
  for place in np.ndindex(out.shape[:4]):
    frame, box, *corner = place
    x0, y0, x1, y1 = np.asarray(boxes[frame, box], float) / stride - 0.5
    for sample in np.ndindex(samples, samples):
      down, across = (
        (c + (s + 0.5) / samples) / bins
        for c, s in zip(corner, sample, strict=True)
      )
      y, x = y0 + down * (y1 - y0), x0 + across * (x1 - x0)
      out[place] += at(features[frame], y, x) / samples**2
  return out


@pytest.fixture
def features():
  return jax.random.normal(jax.random.key(0), (2, 5, 7, 3))


# Inside; larger than the map; just outside; far outside; thin; empty.
BOXES = np.array(
  [
    [[10, 12, 70.5, 50], [-30, -40, 200, 190], [-20, 3, -4, 60]],
    [[500, 500, 600, 600], [40, 20, 40.5, 70], [33, 33, 33, 33]],
  ],
  np.float32,
)


@pytest.mark.parametrize(('bins', 'samples'), [(7, 2), (2, 1), (3, 3)])
def test_bins_are_those_of_the_definition(features, bins, samples):
  out = align(features, BOXES, bins=bins, samples=samples)
  expected = slow(np.asarray(features), BOXES, 16, bins, samples)
  np.testing.assert_allclose(out, expected, atol=1e-5)


def test_the_gradient_is_that_of_the_definition(features):
  weights = jax.random.normal(jax.random.key(1), (2, 3, 4, 4, 3))

  def weighed(features):
    out = align(features, BOXES, bins=4)
    return (out * weights).sum()

  # The bins are linear in the features: their slope is a column of a matrix.
  gradient = jax.jit(jax.grad(weighed))(features)
  assert jnp.abs(gradient).max() > 1
  for place in ((0, 0, 0, 0), (0, 2, 3, 1), (1, 4, 6, 2), (1, 1, 2, 0)):
    unit = np.zeros(features.shape)
    unit[place] = 1
    expected = (slow(unit, BOXES, 16, 4, 2) * weights).sum()
    np.testing.assert_allclose(gradient[place], expected, atol=1e-5)


def test_no_gradient_flows_to_boxes(features):
  def total(boxes):
    return (align(features, boxes) ** 2).sum()

  gradient = jax.grad(total)(jnp.asarray(BOXES))
  np.testing.assert_array_equal(gradient, 0)


def test_a_box_far_outside_sees_nothing(features):
  out = align(features, BOXES)
  np.testing.assert_array_equal(out[1, 0], 0)


def test_an_even_map_is_seen_evenly_by_boxes_inside():
  features = jnp.full((1, 6, 6, 2), 3.0)
  boxes = jnp.array([[[4.0, 8, 90, 60], [0, 0, 96, 96]]])
  out = align(features, boxes)
  np.testing.assert_allclose(out, 3.0, rtol=1e-6)
