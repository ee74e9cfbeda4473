"""Students of fewer channels: a bottleneck, and a separable convolution."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from deltax.delta.students.layers import check_dense
from deltax.delta.units import Layer, NoStart, conv_macs
from deltax.layers.conv import fast_conv
from deltax.types import Array

_SWEEPS = 3  # of the alternating least squares; more change nothing visible


@dataclasses.dataclass(frozen=True)
class Bottleneck:
  """1x1 to R channels, the kernel's own size among them, 1x1 back.

  Of a 1x1 convolution both 1x1 are left. Starts as the nearest kernel of that
  form: singular vectors of the teacher's over its input and output channels,
  alternated to the least squares (Tucker decomposition; for 1x1 the singular
  value decomposition).

  Attributes:
    factor: R is the smaller of input and output channels over `factor`.

  Raises:
    ValueError: for a factor below 1.
  """

  factor: int = 4
  first_kernel = 'first'
  last_kernel = 'last'

  def __post_init__(self):
    if self.factor < 1:
      raise ValueError(f'a bottleneck factor is at least 1, got {self.factor}')

  @property
  def name(self) -> str:
    return f'bottleneck_{self.factor}'

  def rank(self, layer: Layer) -> int:
    """R, the width inside."""
    return max(1, min(layer.kernel[2:]) // self.factor)

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    check_dense(layer, 'bottleneck')
    exact, rank = kernel.astype(jnp.float32), self.rank(layer)
    if layer.kernel[:2] == (1, 1):
      first, last = _truncated_svd(exact[0, 0], rank)
      start = {'first': first[None, None], 'last': last[None, None]}
    else:
      start = _tucker(exact, rank)
    return {name: part.astype(kernel.dtype) for name, part in start.items()}

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    if 'middle' not in params:
      x = fast_conv(
        x,
        params['first'],
        layer.strides,
        layer.padding,
        lhs_dilation=layer.input_dilation,
      )
      return fast_conv(x, params['last'], (1, 1), 'VALID')
    x = fast_conv(x, params['first'], (1, 1), 'VALID')
    x = fast_conv(
      x,
      params['middle'],
      layer.strides,
      layer.padding,
      lhs_dilation=layer.input_dilation,
      rhs_dilation=layer.dilation,
    )
    return fast_conv(x, params['last'], (1, 1), 'VALID')

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    return {**params, 'last': params['last'] * factor.reshape(1, 1, 1, -1)}

  def macs(self, layer: Layer) -> int:
    kh, kw, channels, features = layer.kernel
    rank = self.rank(layer)
    last = conv_macs((1, 1, rank, features), layer.outputs)
    if (kh, kw) == (1, 1):
      return conv_macs((1, 1, channels, rank), (*layer.places, rank)) + last
    first = conv_macs((1, 1, channels, rank), (*layer.inputs[:2], rank))
    middle = conv_macs((kh, kw, rank, rank), (*layer.places, rank))
    return first + middle + last


@dataclasses.dataclass(frozen=True)
class Depthwise:
  """A depthwise convolution and a 1x1, for kernels larger than 1x1.

  Starts as the nearest kernel of that form: for each input channel the best
  product of a spatial pattern and a row of output weights (singular value
  decomposition).
  """

  last_kernel = 'pointwise'

  @property
  def name(self) -> str:
    return 'depthwise'

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    check_dense(layer, 'depthwise')
    if layer.kernel[:2] == (1, 1):
      raise NoStart('a depthwise student of a 1x1 kernel is as dear as itself')
    start = _separated(kernel.astype(jnp.float32))
    return {name: part.astype(kernel.dtype) for name, part in start.items()}

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    x = fast_conv(
      x,
      params['depthwise'],
      layer.strides,
      layer.padding,
      lhs_dilation=layer.input_dilation,
      rhs_dilation=layer.dilation,
      feature_group_count=x.shape[-1],
    )
    return fast_conv(x, params['pointwise'], (1, 1), 'VALID')

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    pointwise = params['pointwise'] * factor.reshape(1, 1, 1, -1)
    return {**params, 'pointwise': pointwise}

  def macs(self, layer: Layer) -> int:
    kh, kw, channels, features = layer.kernel
    spatial = conv_macs((kh, kw, 1, channels), (*layer.places, channels))
    return spatial + conv_macs((1, 1, channels, features), layer.outputs)


def _truncated_svd(matrix: Array, rank: int) -> tuple[Array, Array]:
  """The pair of `[C, R]` and `[R, N]` whose product is nearest to a matrix."""
  left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
  root = jnp.sqrt(values[:rank])
  return left[:, :rank] * root[None], root[:, None] * right[:rank]


@functools.partial(jax.jit, static_argnums=1)
def _tucker(kernel: Array, rank: int) -> dict[str, Array]:
  """Bases of the channels on both sides, and the kernel between them."""

  def basis(tensor):
    """`[n, R]` leading singular vectors of a `[kh, kw, n, m]` tensor."""
    size = tensor.shape[2]
    matrix = tensor.transpose(2, 0, 1, 3).reshape(size, -1)
    return jnp.linalg.eigh(matrix @ matrix.T)[1][:, ::-1][:, :rank]

  last = basis(kernel.transpose(0, 1, 3, 2))
  for _ in range(_SWEEPS):
    first = basis(jnp.einsum('hwcn,nr->hwcr', kernel, last))
    last = basis(jnp.einsum('hwcn,cr->hwnr', kernel, first))
  middle = jnp.einsum('hwcn,cr,ns->hwrs', kernel, first, last)
  return {
    'first': first[None, None],
    'middle': middle,
    'last': last.T[None, None],
  }


@jax.jit
def _separated(kernel: Array) -> dict[str, Array]:
  kh, kw, channels, _ = kernel.shape
  by_channel = kernel.transpose(2, 0, 1, 3).reshape(channels, kh * kw, -1)
  left, values, right = jnp.linalg.svd(by_channel, full_matrices=False)
  root = jnp.sqrt(values[:, 0])[:, None]
  places = (left[:, :, 0] * root).T.reshape(kh, kw, 1, channels)
  return {
    'depthwise': places,
    'pointwise': (right[:, 0] * root)[None, None],
  }
