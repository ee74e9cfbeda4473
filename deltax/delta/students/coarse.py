"""A student that works at half the resolution."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from deltax.delta.units import Layer, NoStart, conv_macs
from deltax.layers.conv import fast_conv
from deltax.layers.pool import mean_pool
from deltax.layers.resize import resize_bilinear
from deltax.layers.windows import output_size
from deltax.types import Array

_LENGTH = 64  # of the periodic signals that a start is fitted on
_CORRELATION = 0.9  # of neighbouring pixels in them, as in changes of images


@dataclasses.dataclass(frozen=True)
class Strided:
  """Averages 2x2 pixels, convolves there, and goes back up bilinearly.

  Starts as the kernel of its size whose result is nearest to the teacher's, in
  least squares over images whose neighbouring pixels correlate. A last odd row
  or column is repeated.
  """

  last_kernel = 'kernel'

  @property
  def name(self) -> str:
    return 'strided'

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    if layer.transposed:
      raise NoStart('a transposed convolution has no strided start')
    if layer.inputs[0] == 1 < layer.inputs[1]:
      raise NoStart('tokens in a row are not averaged by 2x2')
    rows, cols = (
      _nearest_taps(*axis)
      for axis in zip(
        layer.kernel[:2],
        layer.strides,
        (pads[0] for pads in layer.padding),
        layer.dilation,
        strict=True,
      )
    )
    fitted = jnp.einsum('ih,jw,hwcn->ijcn', rows, cols, kernel)
    return {'kernel': fitted.astype(kernel.dtype)}

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    x = fast_conv(
      mean_pool(x, (2, 2)),
      params['kernel'],
      layer.strides,
      layer.padding,
      rhs_dilation=layer.dilation,
      feature_group_count=layer.groups,
    )
    return resize_bilinear(x, layer.outputs[:2])

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    return {'kernel': params['kernel'] * factor.reshape(1, 1, 1, -1)}

  def macs(self, layer: Layer) -> int:
    rows, cols, channels = layer.inputs
    size = output_size(
      (1, -(-rows // 2), -(-cols // 2), channels),
      layer.kernel,
      layer.strides,
      layer.padding,
      layer.dilation,
    )
    return conv_macs(layer.kernel, (*size, layer.outputs[-1]))


@functools.cache
def _nearest_taps(size: int, stride: int, pad: int, dilation: int):
  """`[size, size]` along one axis: kernels of the teacher to the student's.

  Both are sums of shifts, and what is done to rows and columns commutes, so
  that the fit of an axis is that of the whole.
  """
  places = np.arange(_LENGTH)
  apart = np.abs(places[:, None] - places)
  apart = np.minimum(apart, _LENGTH - apart)
  spread = np.linalg.cholesky(_CORRELATION**apart)
  half = np.eye(_LENGTH // 2)
  down = np.repeat(half, 2, 1) / 2
  coarse = _LENGTH // 2 // stride
  up = np.zeros((2 * coarse, coarse))
  for place in range(2 * coarse):
    near = place // 2
    up[place, near] = 0.75
    up[place, (near + (1 if place % 2 else -1)) % coarse] += 0.25

  def shifted(identity, tap):
    return np.roll(identity, pad - tap * dilation, 0)[::stride]

  student = [
    (up @ shifted(half, tap) @ down @ spread).ravel() for tap in range(size)
  ]
  target = [
    (shifted(np.eye(_LENGTH), tap) @ spread).ravel() for tap in range(size)
  ]
  return np.linalg.lstsq(np.array(student).T, np.array(target).T, rcond=None)[0]
