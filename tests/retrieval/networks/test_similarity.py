"""Chamfer similarity against its definition, and guarded norms."""

import jax
import jax.numpy as jnp
import numpy as np

from deltax.retrieval import (
  chamfer,
  frame_similarity,
  symmetric_chamfer,
  unit,
)


def drawn(*shape, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def slow_chamfer(matrix, rows, columns):
  best = [
    max((x for x, real in zip(row, columns, strict=True) if real), default=0)
    for row, real in zip(matrix, rows, strict=True)
    if real
  ]
  return sum(best) / len(best) if best else 0.0


def test_chamfer_is_the_mean_of_the_best_columns():
  matrices = drawn(3, 5, 7)
  everything = np.ones(5), np.ones(7)
  expected = [slow_chamfer(m, *everything) for m in matrices]
  np.testing.assert_allclose(chamfer(matrices), expected, rtol=1e-6)


def test_a_masked_row_or_column_never_counts():
  matrices = drawn(4, 5, 7)
  rows = np.array([[1] * 5, [1, 1, 0, 0, 0], [0] * 5, [1] * 5], np.float32)
  columns = np.ones((4, 7), np.float32)
  columns[1, 3:] = 0
  columns[3] = 0
  expected = [
    slow_chamfer(*each) for each in zip(matrices, rows, columns, strict=True)
  ]
  np.testing.assert_allclose(
    chamfer(matrices, rows, columns), expected, rtol=1e-6, atol=1e-7
  )
  back = [
    slow_chamfer(matrix.T, *masks)
    for matrix, *masks in zip(matrices, columns, rows, strict=True)
  ]
  both = symmetric_chamfer(matrices, rows, columns)
  np.testing.assert_allclose(
    both, (np.array(expected) + back) / 2, rtol=1e-6, atol=1e-7
  )
  spoiled = np.where(columns[:, None] * rows[..., None] > 0, matrices, 9.0)
  np.testing.assert_array_equal(
    chamfer(spoiled, rows, columns), chamfer(matrices, rows, columns)
  )


def test_masks_leave_finite_gradients():
  def total(matrices, rows, columns):
    return chamfer(matrices, rows, columns).sum()

  nothing = np.zeros((2, 3), np.float32)
  gradient = jax.grad(total)(drawn(2, 3, 3), nothing, nothing)
  np.testing.assert_array_equal(gradient, 0)


def test_frames_are_compared_by_their_regions():
  query, target = drawn(2, 3, 4, 8), drawn(2, 5, 6, 8, seed=1)
  expected = np.zeros((2, 3, 5))
  back = np.zeros((2, 3, 5))
  for b, t, s in np.ndindex(2, 3, 5):
    products = query[b, t] @ target[b, s].T
    expected[b, t, s] = products.max(1).mean()
    back[b, t, s] = products.max(0).mean()
  found = frame_similarity(query, target)
  np.testing.assert_allclose(found, expected, atol=1e-6)
  both = frame_similarity(query, target, symmetric=True)
  np.testing.assert_allclose(both, (expected + back) / 2, atol=1e-6)
  swapped = frame_similarity(target, query, symmetric=True)
  np.testing.assert_allclose(both, swapped.swapaxes(1, 2), atol=1e-6)


def test_a_zero_vector_has_no_length_and_no_gradient():
  x = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]])
  np.testing.assert_allclose(unit(x)[0], [0.6, 0.8], rtol=1e-6)
  np.testing.assert_array_equal(unit(x)[1], 0)
  gradient = jax.grad(lambda x: unit(x).sum())(x)
  assert np.isfinite(gradient).all()
  # Far from zero, that of the norm.
  np.testing.assert_allclose(gradient[0], [0.032, -0.024], atol=1e-6)
