"""Areas, overlaps and clipping against their definitions pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np

from deltax.boxes import area, clip_to, iou


def random_boxes(seed, count, side=12):
  """Boxes on whole pixels, so that counting pixels is exact."""
  corners = np.random.default_rng(seed).integers(0, side, (count, 2, 2))
  low, high = corners.min(1), corners.max(1)
  return np.concatenate([low, high + 1], -1).astype(np.float32)


def filled(box, side=16):
  x0, y0, x1, y1 = (int(v) for v in box)
  picture = np.zeros((side, side), bool)
  picture[y0:y1, x0:x1] = True
  return picture


def test_area_counts_the_pixels():
  boxes = random_boxes(0, 20)
  want = [filled(box).sum() for box in boxes]
  np.testing.assert_array_equal(area(jnp.asarray(boxes)), want)


def test_overlap_is_shared_pixels_over_all_pixels():
  a, b = random_boxes(1, 9), random_boxes(2, 14)
  want = [
    [(filled(p) & filled(q)).sum() / (filled(p) | filled(q)).sum() for q in b]
    for p in a
  ]
  np.testing.assert_allclose(iou(jnp.asarray(a), jnp.asarray(b)), want, 1e-6)


def test_empty_boxes_overlap_nothing_and_pass_gradients():
  empty = jnp.zeros((1, 4))
  assert iou(empty, empty).item() == 0
  other = jnp.array([[0.0, 0, 3, 3]])
  gradient = jax.grad(lambda a: iou(a, other).sum())(empty)
  assert np.isfinite(gradient).all()


def test_leading_axes_are_batches():
  a = np.stack([random_boxes(3, 5), random_boxes(4, 5)])
  b = np.stack([random_boxes(5, 3), random_boxes(6, 3)])
  got = iou(jnp.asarray(a), jnp.asarray(b))
  want = [iou(jnp.asarray(a[i]), jnp.asarray(b[i])) for i in range(2)]
  np.testing.assert_array_equal(got, want)


def test_clipping_takes_each_frame_s_rows_and_columns():
  boxes = jnp.array([[[-3.0, -3, 20, 20], [9, 9, 12, 12]]] * 2)
  got = clip_to(boxes, jnp.array([[4, 6], [16, 10]]))
  assert got[0].tolist() == [[0, 0, 6, 4], [6, 4, 6, 4]]
  assert got[1].tolist() == [[0, 0, 10, 16], [9, 9, 10, 12]]
