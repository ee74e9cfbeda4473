"""The windows that a convolution sees: padding, sizes and places."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.types import Array

Pads = tuple[tuple[int, int], tuple[int, int]]


def explicit_padding(
  padding: str | int | Sequence[int | tuple[int, int]],
  input_shape: Sequence[int],
  kernel_shape: Sequence[int],
  strides: Sequence[int],
  dilation: Sequence[int],
) -> Pads:
  """Zeros on (top, bottom), (left, right) that `padding` stands for.

  Args:
    padding: 'SAME', 'VALID', one number, or a number or pair per axis.
    input_shape: `[B, H, W, C]` of the input.
    kernel_shape: `[kh, kw, ...]` of the kernel.
    strides: strides of rows and columns.
    dilation: kernel dilation of rows and columns.

  Returns:
    ((top, bottom), (left, right)).

  Raises:
    ValueError: if `padding` is a name other than 'SAME' and 'VALID'.
  """
  if isinstance(padding, str):
    if padding not in ('SAME', 'VALID'):
      raise ValueError(
        f"padding {padding!r} adds no zeros; expected 'SAME', 'VALID' or "
        'numbers'
      )
    extent = [
      (k - 1) * d + 1 for k, d in zip(kernel_shape[:2], dilation, strict=True)
    ]
    pads = lax.padtype_to_pads(input_shape[1:3], extent, strides, padding)
  else:
    pads = [padding] * 2 if isinstance(padding, int) else padding
    pads = [(p, p) if isinstance(p, int) else p for p in pads]
  (top, bottom), (left, right) = pads
  return (int(top), int(bottom)), (int(left), int(right))


def output_size(
  input_shape: Sequence[int],
  kernel_shape: Sequence[int],
  strides: Sequence[int],
  padding: Pads,
  dilation: Sequence[int],
) -> tuple[int, int]:
  """Rows and columns of a convolution's output.

  Example:
    >>> output_size((1, 9, 12, 3), (3, 3), (2, 1), ((1, 1), (0, 0)), (1, 2))
    (5, 8)
  """
  rows, cols = (
    (n + sum(p) - (k - 1) * d - 1) // s + 1
    for n, k, s, p, d in zip(
      input_shape[1:3],
      kernel_shape[:2],
      strides,
      padding,
      dilation,
      strict=True,
    )
  )
  return rows, cols


def taps(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  pads: Pads,
  dilation: Sequence[int],
) -> Iterator[Array]:
  """What each place of the kernel sees of the input, row by row of the kernel.

  Yields `[B, H', W', C]` arrays.
  """
  size = output_size(x.shape, kernel.shape, strides, pads, dilation)
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  batch, *_, channels = x.shape
  for place in np.ndindex(*kernel.shape[:2]):
    row, col = (i * d for i, d in zip(place, dilation, strict=True))
    last_row, last_col = (
      start + (n - 1) * s + 1
      for start, n, s in zip((row, col), size, strides, strict=True)
    )
    # `x[:, rows, cols]`, which takes ten times longer to trace.
    yield lax.slice(
      x,
      (0, row, col, 0),
      (batch, last_row, last_col, channels),
      (1, *strides, 1),
    )
