"""Convolutions in the forms that XLA runs fast on CPUs, shape by shape.

What holds of XLA here was measured with that of jax 0.10, float32.

XLA hands a convolution to one of two libraries. The usual one is the faster on
one core. It splits work along an image's columns alone, so that with few
weights and columns all is left to one core; and it is slow where channels are
many and pixels few, or every second pixel is left out. The other one, which
uses all cores always, is taken for convolutions whose input is dilated.
"""

import jax
import jax.numpy as jnp
from jax import lax

from deltax.layers import forms
from deltax.layers.windows import Pads, output_size
from deltax.types import Array

_NHWC = ('NHWC', 'HWIO', 'NHWC')
_FEW_CHANNELS = 24  # up to which columns side by side are worth more products
_FEW_WEIGHTS = 400  # of an output: fewer stay on one core
_FEW_COLUMNS = 512  # up to which they do
_MANY_CHANNELS = 128
_FEW_PIXELS = 512
_MANY_WITH_STRIDE = 64


def convolve(
  x: Array,
  kernel: Array,
  strides: tuple[int, int],
  pads: Pads,
  dilation: tuple[int, int],
  precision: lax.PrecisionLike = None,
) -> Array:
  """A convolution, in the form for its shape.

  Args:
    x: `[B, H, W, C]` input.
    kernel: `[kh, kw, C, N]`.
    strides: of rows and columns.
    pads: zeros on (top, bottom), (left, right).
    dilation: spacing of the kernel's rows and columns.
    precision: of the products.

  Returns:
    `[B, H', W', N]`.
  """
  options = {'dimension_numbers': _NHWC, 'precision': precision}
  if x.dtype == jnp.float32 and dilation == (1, 1):
    if _folds(x.shape, kernel.shape, strides):
      x, kernel, pads = _folded(x, kernel, strides[1], pads)
      strides = strides[0], 1
    elif _spreads(x.shape, kernel.shape, strides, pads):
      return _spread(x, kernel, strides, pads, options)
  return lax.conv_general_dilated(
    x, kernel, strides, pads, rhs_dilation=dilation, **options
  )


def _folds(shape, kernel, strides) -> bool:
  """Whether neighbouring columns become channels: few, as of a picture."""
  return (
    strides[1] > 1
    and kernel[1] > 1
    and shape[2] % strides[1] == 0
    and shape[3] <= _FEW_CHANNELS
  )


def _folded(x, kernel, stride, pads):
  """As many columns as the stride as channels of one, which moves no data.

  The kernel gets zeros where it does not begin or end with such a group.
  """
  batch, rows, cols, channels = x.shape
  height, width, _, features = kernel.shape
  (left, right), groups = pads[1], cols // stride
  before = -(-left // stride)
  first = before * stride - left
  taps = -(-(first + width) // stride)
  outputs = (cols + left + right - width) // stride + 1
  around = (first, taps * stride - first - width)
  kernel = jnp.pad(kernel, ((0, 0), around, (0, 0), (0, 0)))
  # Groups that the last output sees, beyond those that there are.
  after = outputs - 1 + taps - before - groups
  return (
    x.reshape(batch, rows, groups, stride * channels),
    # Once a call, and not as part of whatever reads it.
    lax.optimization_barrier(
      kernel.reshape(height, taps, stride * channels, features)
    ),
    (pads[0], (before, after)),
  )


def _spreads(shape, kernel, strides, pads) -> bool:
  """Whether the other library is faster."""
  if kernel[:2] == (1, 1):
    return False
  rows, cols = output_size(shape, kernel, strides, pads, (1, 1))
  channels = kernel[2]
  if forms.cores() > 1:
    weights = kernel[0] * kernel[1] * channels
    if weights < _FEW_WEIGHTS and cols <= _FEW_COLUMNS:
      return True
  if set(strides) != {1}:
    return channels >= _MANY_WITH_STRIDE
  return channels >= _MANY_CHANNELS and shape[0] * rows * cols <= _FEW_PIXELS


def _spread(x, kernel, strides, pads, options):
  """Every row followed by one of zeros, which no output sees."""
  rows, _ = output_size(x.shape, kernel.shape, strides, pads, (1, 1))
  above = 2 * pads[0][0]
  reach = 2 * (rows - 1) * strides[0] + 2 * kernel.shape[0] - 1
  below = reach - above - (2 * x.shape[1] - 1)
  return lax.conv_general_dilated(
    x,
    kernel,
    (2 * strides[0], strides[1]),
    ((above, below), pads[1]),
    lhs_dilation=(2, 1),
    rhs_dilation=(2, 1),
    **options,
  )


@jax.custom_jvp
def computed_once(x: Array) -> Array:
  """The same numbers, which XLA does not compute anew for every reader.

  An image that a layer reads is in memory. XLA still computes it again for
  every other reader, as long as the last operation is one of a single image: a
  ReLU, say. Along a chain of residual blocks, each sum then reads all blocks
  before it. The maximum of an image and its negative absolute value is that
  image, and an operation of two.

  Args:
    x: floats of any shape.

  Example:
    >>> computed_once(jnp.array([-2.0, 3.0])).tolist()
    [-2.0, 3.0]
  """
  return jnp.maximum(x, -jnp.abs(x))


@computed_once.defjvp
def _as_it_is(primals, tangents):
  return computed_once(*primals), *tangents
