"""Convolutions as units."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax.delta.units.unit import NoStart, add_bias, by, in_type, numbered
from deltax.layers import forms, winograd
from deltax.layers.conv import fast_conv
from deltax.layers.windows import Pads
from deltax.types import Array


class Layer(NamedTuple):
  """One call of a convolution, or of a transposed one.

  Attributes:
    path: module path, joined by '/'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    kernel: (kh, kw, input channels a group, output channels).
    strides: of rows and columns.
    padding: zeros on (top, bottom), (left, right).
    dilation: of the kernel's rows and columns.
    groups: feature groups.
    bias: whether the convolution adds one.
    inputs: (H, W, C) of the input.
    outputs: (H, W, C) of the output.
    dtype: what it computes in; None for what its input and parameters have.
    input_dilation: of the input's rows and columns, in which a transposed
      convolution strides; its `strides` are 1.
    flipped: whether the network holds the kernel as that of the convolution
      that it transposes: taps backward, output channels before input channels.
  """

  path: str
  call: int
  kernel: tuple[int, int, int, int]
  strides: tuple[int, int]
  padding: Pads
  dilation: tuple[int, int]
  groups: int
  bias: bool
  inputs: tuple[int, int, int]
  outputs: tuple[int, int, int]
  dtype: Any = None
  input_dilation: tuple[int, int] = (1, 1)
  flipped: bool = False

  linear = True
  ends = None
  windows = 1

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""
    return numbered(self.path, self.call)

  @property
  def shapes(self) -> tuple[tuple[int, int, int]]:
    """(H, W, C) of the input, as the only one."""
    return (self.inputs,)

  @property
  def calls(self) -> tuple[str, ...]:
    """Its own name."""
    return (self.name,)

  @property
  def form(self) -> 'Layer':
    """Without its name; a student has no bias."""
    return self._replace(path='', call=0, bias=False, flipped=False)

  @property
  def description(self) -> str:
    kernel = by(self.kernel[:2])
    if self.transposed:
      kernel += ' transposed'
    return f'{kernel}: {by(self.inputs)} -> {by(self.outputs)}'

  @property
  def transposed(self) -> bool:
    """Whether zeros are put between the pixels of its input."""
    return self.input_dilation != (1, 1)

  @property
  def places(self) -> tuple[int, int]:
    """Rows and columns of pixels that are multiplied by every tap.

    A transposed convolution multiplies those of its input, and none of the
    zeros between.
    """
    return (self.inputs if self.transposed else self.outputs)[:2]

  def macs(self, *, bias: bool) -> int:
    """Multiply-accumulates on one frame, padding included."""
    rows, cols, features = self.outputs
    macs = conv_macs(self.kernel, (*self.places, features))
    return macs + rows * cols * features * (bias and self.bias)

  def convolve(self, kernel: Array, x: Array) -> Array:
    """The convolution with another kernel, and no bias."""
    return fast_conv(
      x,
      kernel,
      self.strides,
      self.padding,
      lhs_dilation=self.input_dilation,
      rhs_dilation=self.dilation,
      feature_group_count=self.groups,
    )

  def apply(self, params: Mapping[str, Array], x: Array) -> Array:
    """The convolution with parameters as `fold` gives them."""
    # Frozen on a CPU, a network may still be traced for another machine.
    tiled = 'winograd' in params and forms.target() == 'cpu'
    if tiled and self.padding == ((1, 1), (1, 1)) and winograd.pays(x.shape):
      kernel, x = in_type(self.dtype, params['winograd'], x)
      z = winograd.winograd_conv(x, kernel)
    else:
      z = self.convolve(*in_type(self.dtype, params['kernel'], x))
    return add_bias(z, params.get('bias'))

  def fold(
    self, params: Mapping[str, Array], scale: Array, shift: Array | None
  ) -> dict[str, Array]:
    """Parameters of the convolution and a scale and a shift behind it.

    Args:
      params: 'kernel' `[kh, kw, C, N]` and perhaps 'bias' `[N]`.
      scale: `[N]`, of the output.
      shift: `[N]`, added to it, in the type of the result; None for none.

    Returns:
      The same two, the kernel in its own type; on a CPU also the kernel for
      Winograd's form where that may pay, which is not where the layer computes
      in less than float32: the form's sums lose digits.
    """
    kernel = params['kernel']
    folded = folded_by(self.dtype, params, scale, shift)
    exact = self.dtype in (None, jnp.float32) and kernel.dtype == jnp.float32
    if (
      forms.target() == 'cpu'
      and exact
      and not self.transposed
      and winograd.has_tiles(
        self.kernel, self.strides, self.dilation, self.groups
      )
    ):
      # Once, when the network is frozen, and not on every frame.
      folded['winograd'] = winograd.transform_kernel(folded['kernel'])
    return folded

  def weights(self, teacher) -> dict[str, Array]:
    if not self.flipped:
      return dict(teacher)
    kernel = teacher['kernel'][::-1, ::-1].swapaxes(2, 3)
    return {**teacher, 'kernel': kernel}

  def student_macs(self, candidate) -> int:
    return candidate.macs(self)

  def refuses(self, candidate) -> str:
    return _refusal(candidate, self.form)

  def start(self, key, teacher, candidates) -> dict[str, Any]:
    del key
    return {c.name: c.init(teacher['kernel'], self) for c in candidates}

  def change(self, candidate, params, changes, references) -> Array:
    del references
    params, x = in_type(self.dtype, params, changes[0])
    return add_bias(candidate.apply(params, x, self), params.get('bias'))

  def prepare(self, candidate, params, references) -> dict[str, Array]:
    del candidate, params, references
    return {}

  def follow(self, candidate, params, prepared, inputs) -> Array:
    del prepared
    params, x = in_type(self.dtype, params, inputs[0])
    return candidate.apply(params, x, self)


@functools.cache
def _refusal(candidate: Any, layer: Layer) -> str:
  """Why a candidate has no start for a layer, known from shapes alone."""
  kernel = jax.ShapeDtypeStruct(layer.kernel, jnp.float32)
  try:
    jax.eval_shape(lambda kernel: candidate.init(kernel, layer), kernel)
  except NoStart as error:
    return str(error)
  return ''


def folded_by(
  dtype: Any,
  params: Mapping[str, Array],
  scale: Array,
  shift: Array | None,
) -> dict[str, Array]:
  """A kernel and a bias with the scale and shift behind them; see `Unit.fold`.

  Args:
    dtype: what the layer computes in; None for what its arrays have.
    params: 'kernel' `[..., N]` and perhaps 'bias' `[N]`.
    scale: `[N]`.
    shift: `[N]` or None.
  """
  kernel, bias = params['kernel'], params.get('bias')
  factor = jnp.expand_dims(scale, tuple(range(kernel.ndim - 1)))
  folded = {'kernel': (kernel * factor).astype(kernel.dtype)}
  if bias is not None and shift is None:
    folded['bias'] = (bias * scale).astype(dtype or bias.dtype)
  elif shift is not None:
    bias = 0.0 if bias is None else bias
    # What follows is in the type of the norm, whatever the layer computed in.
    folded['bias'] = (shift + bias * scale).astype(shift.dtype)
  return folded


def conv_macs(
  kernel: tuple[int, int, int, int], outputs: tuple[int, int, int]
) -> int:
  """Multiply-accumulates of a convolution on one frame, padding included.

  Args:
    kernel: (kh, kw, input channels a group, output channels).
    outputs: (H, W, N) of the output.

  Example:
    >>> conv_macs((3, 3, 16, 32), (8, 8, 32))
    294912
  """
  kh, kw, channels, _ = kernel
  rows, cols, features = outputs
  return rows * cols * features * kh * kw * channels
