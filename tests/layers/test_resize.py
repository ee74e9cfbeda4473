"""Bilinear resizing against its definition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.layers import resize_bilinear


def slow(x, rows, cols):
  """Every pixel from its four neighbours; the border repeats itself."""
  height, width = x.shape[1:3]
  out = np.zeros((x.shape[0], rows, cols, x.shape[3]))
  for i in range(rows):
    for j in range(cols):
      y = (i + 0.5) * height / rows - 0.5
      z = (j + 0.5) * width / cols - 0.5
      for di in (0, 1):
        for dj in (0, 1):
          a, b = math.floor(y) + di, math.floor(z) + dj
          weight = (1 - abs(y - a)) * (1 - abs(z - b))
          a, b = min(max(a, 0), height - 1), min(max(b, 0), width - 1)
          out[:, i, j] += weight * x[:, a, b]
  return out


@pytest.mark.parametrize(
  ('source', 'target'),
  [
    ((4, 6), (8, 12)),
    ((4, 6), (4, 12)),
    ((3, 5), (7, 11)),
    ((9, 7), (4, 3)),
    ((16, 8), (2, 1)),
    ((5, 4), (5, 4)),
    ((1, 1), (5, 3)),
    ((2, 9), (13, 4)),
  ],
)
def test_resizing_is_the_definition(source, target):
  x = np.random.default_rng(0).normal(size=(2, *source, 3)).astype(np.float32)
  out = resize_bilinear(x, target)
  assert out.dtype == jnp.float32
  np.testing.assert_allclose(out, slow(x, *target), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('target', [(7, 13), (3, 2), (64, 1)])
def test_a_constant_stays_exactly_what_it_is(target):
  x = jnp.full((1, 5, 6, 2), 0.25)
  np.testing.assert_array_equal(
    resize_bilinear(x, target), np.full((1, *target, 2), 0.25, np.float32)
  )


def test_a_ramp_stays_a_ramp_away_from_the_border():
  x = jnp.arange(8.0).reshape(1, 1, 8, 1)
  out = resize_bilinear(x, (1, 16))[0, 0, 1:-1, 0]
  np.testing.assert_allclose(jnp.diff(out), 0.5, rtol=1e-6)


def test_gradients_are_the_transposed_map():
  x, grad = (
    np.random.default_rng(i).normal(size=(1, *size, 2)).astype(np.float32)
    for i, size in enumerate([(5, 4), (8, 9)])
  )
  out, pull = jax.vjp(lambda x: resize_bilinear(x, (8, 9)), x)
  np.testing.assert_allclose(
    (out * grad).sum(), (x * pull(grad)[0]).sum(), rtol=1e-4
  )
