"""Max pooling against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.layers import double_nearest, max_pool


@pytest.mark.parametrize('size', [(8, 8), (7, 6), (5, 1), (1, 1)])
@pytest.mark.parametrize('padding', ['SAME', ((1, 1), (1, 1))])
@pytest.mark.parametrize(('window', 'stride'), [(3, 2), (3, 1), (2, 2)])
def test_it_is_the_largest_value_under_every_window(
  size, padding, window, stride
):
  x = jax.random.normal(jax.random.key(0), (2, *size, 3)) - 5
  pads = ((0, 0), *padding, (0, 0)) if padding != 'SAME' else padding
  want = jax.lax.reduce_window(
    x,
    -np.inf,
    jax.lax.max,
    (1, window, window, 1),
    (1, stride, stride, 1),
    pads,
  )
  got = max_pool(x, window, stride, padding)
  np.testing.assert_array_equal(got, want)


def test_gradients_go_to_the_largest_value():
  x = jax.random.normal(jax.random.key(0), (1, 6, 6, 2))
  gradient = jax.grad(lambda x: max_pool(x).sum())(x)
  rows, cols = np.indices((3, 3))
  want = np.zeros_like(x)
  for r, c in zip(rows.ravel(), cols.ravel(), strict=True):
    window = np.asarray(x)[0, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3]
    for channel in range(2):
      i, j = np.unravel_index(window[..., channel].argmax(), window.shape[:2])
      want[0, 2 * r + i, 2 * c + j, channel] += 1
  np.testing.assert_array_equal(gradient, want)


def test_doubling_is_undone_by_taking_every_second_pixel():
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
  for size in ((6, 8), (5, 7), (5, 8)):
    doubled = double_nearest(x, size)
    assert doubled.shape == (2, *size, 5)
    np.testing.assert_array_equal(doubled[:, ::2, ::2], x)
    inner = doubled[:, 1::2, 1::2]
    rows, cols = inner.shape[1:3]
    np.testing.assert_array_equal(inner, x[:, :rows, :cols])
  assert jnp.array_equal(doubled, x.repeat(2, 1).repeat(2, 2)[:, :5, :8])
