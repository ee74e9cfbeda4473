"""Rotations for binary codes."""

import jax
import numpy as np
import pytest

from deltax.retrieval import fit_itq


def samples(count=400, size=16):
  """Vectors near the corners of a cube that is turned away."""
  draw = np.random.default_rng(0)
  corners = np.sign(draw.standard_normal((count, size)))
  turn = np.linalg.qr(draw.standard_normal((size, size)))[0]
  noisy = corners + 0.2 * draw.standard_normal(corners.shape)
  return (noisy @ turn).astype(np.float32)


def lost(x, projection):
  x = x / np.linalg.norm(x, axis=1, keepdims=True)
  projected = x @ projection
  return np.square(projected - np.sign(projected) / 4).sum(1).mean()


def test_it_finds_the_turn_that_loses_least():
  x = samples()
  projection = fit_itq(x, jax.random.key(0))
  assert projection.shape == (16, 16) and projection.dtype == np.float32
  np.testing.assert_allclose(projection.T @ projection, np.eye(16), atol=1e-5)
  draw = np.random.default_rng(1).standard_normal((16, 16))
  assert lost(x, projection) < 0.6 * lost(x, np.linalg.qr(draw)[0])


def test_lengths_do_not_matter_and_keys_do():
  x = samples()
  first = fit_itq(x, jax.random.key(0))
  np.testing.assert_allclose(
    fit_itq(4 * x, jax.random.key(0)), first, atol=1e-4
  )
  assert np.abs(fit_itq(x, jax.random.key(1)) - first).max() > 1e-2


def test_misuse_is_named():
  with pytest.raises(
    ValueError, match=r'shape \(4, 9, 16\); expected \[N, D\]'
  ):
    fit_itq(np.zeros((4, 9, 16)), jax.random.key(0))
