"""Pooling as maxima and sums of slices, which XLA's CPU code runs fast."""

import functools

import jax.numpy as jnp
from jax import lax

from deltax.layers import forms
from deltax.layers.conv import fast_conv
from deltax.layers.windows import Pads, explicit_padding
from deltax.types import Array

Size = int | tuple[int, int]


def max_pool(
  x: Array, window: Size = 3, stride: Size = 2, padding: str | Pads = 'SAME'
) -> Array:
  """The largest value under a window, by channel.

  Args:
    x: `[B, H, W, C]` float images.
    window: rows and columns of the window; of a square, one number.
    stride: of rows and columns; one number where they are alike.
    padding: 'SAME', 'VALID' or ((top, bottom), (left, right)) places around the
      image; they hold minus infinity, so no window may lie wholly among them.

  Returns:
    `[B, H', W', C]`.

  Example:
    >>> max_pool(jnp.arange(6.0).reshape(1, 1, 6, 1)).ravel().tolist()
    [2.0, 4.0, 5.0]
  """
  windows, strides = (
    (size, size) if isinstance(size, int) else size for size in (window, stride)
  )
  pads = explicit_padding(padding, x.shape, windows, strides, (1, 1))
  if forms.converted():
    sizes = (1, *windows, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, *sizes)
  for axis, (pad, length, step) in enumerate(
    zip(pads, windows, strides, strict=True), start=1
  ):
    around = [(0, 0)] * x.ndim
    around[axis] = pad
    x = jnp.pad(x, around, constant_values=-jnp.inf)
    count = (x.shape[axis] - length) // step + 1
    shifted = []
    for shift in range(length):
      places = [slice(None)] * x.ndim
      places[axis] = slice(shift, shift + (count - 1) * step + 1, step)
      shifted.append(x[tuple(places)])
    x = functools.reduce(jnp.maximum, shifted)
  return x


def mean_pool(x: Array, factors: tuple[int, int]) -> Array:
  """Means of the pixels under each pixel of a smaller image.

  On CPU, a mean over axes of a reshaped image is six times slower.

  Args:
    x: `[B, H, W, C]` float images; what H and W lack to multiples of the
      factors is filled with their last row and column.
    factors: rows and columns that one takes the place of.

  Returns:
    `[B, ceil(H / rows), ceil(W / columns), C]`.

  Example:
    >>> mean_pool(jnp.arange(6.0).reshape(1, 2, 3, 1), (2, 2)).ravel().tolist()
    [2.0, 3.5]
  """
  rows, cols = factors
  short = -x.shape[1] % rows, -x.shape[2] % cols
  if any(short):
    x = jnp.pad(x, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), 'edge')
  if forms.target() == forms.PLAIN:
    window = (1, rows, cols, 1)
    total = lax.reduce_window(x, 0.0, lax.add, window, window, 'VALID')
    return total * (1 / (rows * cols))
  if forms.target() == forms.LITERT:  # which has slices with a stride slowly
    kernel = jnp.full((rows, cols, 1, x.shape[-1]), 1 / (rows * cols), x.dtype)
    options = dict(feature_group_count=x.shape[-1])
    return fast_conv(x, kernel, factors, 'VALID', **options)
  slices = (x[:, i::rows, j::cols] for i in range(rows) for j in range(cols))
  return sum(slices) * (1 / (rows * cols))
