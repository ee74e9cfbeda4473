"""Winograd's form gives what the convolution gives."""

import jax
import numpy as np
import pytest

from deltax.layers.conv import fast_conv
from deltax.layers.winograd import (
  has_tiles,
  pays,
  transform_kernel,
  winograd_conv,
)


@pytest.mark.parametrize('size', [(8, 6), (7, 6), (5, 9), (1, 1)])
def test_it_is_the_convolution_with_a_zero_around(size):
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (2, *size, 5))
  kernel = jax.random.normal(keys[1], (3, 3, 5, 4))
  found = jax.jit(winograd_conv)(x, transform_kernel(kernel))
  expected = fast_conv(x, kernel, (1, 1), ((1, 1), (1, 1)))
  np.testing.assert_allclose(found, expected, atol=5e-5)


def test_only_wide_dense_convolutions_of_stride_one_are_tiled():
  assert has_tiles((3, 3, 128, 256), (1, 1), (1, 1), 1)
  assert not has_tiles((3, 3, 64, 128), (1, 1), (1, 1), 1)
  assert not has_tiles((1, 1, 128, 128), (1, 1), (1, 1), 1)
  assert not has_tiles((3, 3, 128, 128), (2, 2), (1, 1), 1)
  assert not has_tiles((3, 3, 128, 128), (1, 1), (2, 2), 1)
  assert not has_tiles((3, 3, 128, 128), (1, 1), (1, 1), 2)


def test_maps_that_caches_do_not_hold_are_not_worth_it():
  assert pays((1, 32, 64, 256))
  assert pays((1, 59, 79, 512))
  assert not pays((1, 64, 128, 128))
