"""Fully connected layers as units."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from deltax.delta.units.conv import Layer, folded_by
from deltax.delta.units.unit import add_bias, by, in_type, numbered
from deltax.types import Array


class Dense(NamedTuple):
  """One call of a fully connected layer, over the last axes of its input.

  To its candidates it is a 1x1 convolution: of the image where the input is
  one, else of one row of tokens.

  Attributes:
    path: module path, joined by '/'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    inputs: shape of the input on one frame, without the axis of the batch.
    outputs: that of the output.
    contracted: how many of the input's last axes are summed over; what is left
      of them are the first axes of the output.
    order: axes of the network's kernel, those that are summed over first and in
      the input's order.
    bias: whether the layer adds one.
    dtype: what it computes in; None for what its input and parameters have.
    windows: rows of the batch that one frame takes.
  """

  path: str
  call: int
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  contracted: int
  order: tuple[int, ...]
  bias: bool
  dtype: Any = None
  windows: int = 1

  linear = True
  ends = None
  groups = 1

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""
    return numbered(self.path, self.call)

  @property
  def shapes(self) -> tuple[tuple[int, ...]]:
    """Shape of the input, as the only one."""
    return (self.inputs,)

  @property
  def calls(self) -> tuple[str, ...]:
    """Its own name."""
    return (self.name,)

  @property
  def form(self) -> 'Dense':
    """Without its name; a student has no bias."""
    return self._replace(path='', call=0, bias=False)

  @property
  def tokens(self) -> tuple[int, ...]:
    """Axes of the input that are not summed over."""
    return self.inputs[: -self.contracted]

  @property
  def kernel(self) -> tuple[int, int, int, int]:
    """(1, 1, C, N), with all the axes that are summed over as C."""
    channels = math.prod(self.inputs[-self.contracted :])
    return 1, 1, channels, math.prod(self.outputs[len(self.tokens) :])

  @property
  def description(self) -> str:
    return f'dense: {by(self.inputs)} -> {by(self.outputs)}'

  @property
  def conv(self) -> Layer:
    """The 1x1 convolution that its candidates see."""
    is_image = len(self.tokens) == 2
    places = self.tokens if is_image else (1, math.prod(self.tokens))
    *_, channels, features = self.kernel
    return Layer(
      path=self.path,
      call=self.call,
      kernel=self.kernel,
      strides=(1, 1),
      padding=((0, 0), (0, 0)),
      dilation=(1, 1),
      groups=1,
      bias=self.bias,
      inputs=(*places, channels),
      outputs=(*places, features),
      dtype=self.dtype,
    )

  def macs(self, *, bias: bool) -> int:
    """Multiply-accumulates on one frame; as published, none for the bias."""
    del bias
    return self.windows * self.conv.macs(bias=False)

  def weights(self, teacher: Mapping[str, Array]) -> dict[str, Array]:
    """As a 1x1 convolution has them: `[1, 1, C, N]` and perhaps `[N]`."""
    kernel = teacher['kernel'].transpose(self.order).reshape(self.kernel)
    if 'bias' not in teacher:
      return {'kernel': kernel}
    return {'kernel': kernel, 'bias': teacher['bias'].reshape(-1)}

  def apply(self, params: Mapping[str, Array], x: Array) -> Array:
    """The layer with parameters as `fold` gives them."""
    kernel, pixels = in_type(self.dtype, params['kernel'], self.pixels(x))
    z = add_bias(self.conv.convolve(kernel, pixels), params.get('bias'))
    return self._as_output(z)

  def fold(
    self, params: Mapping[str, Array], scale: Array, shift: Array | None
  ) -> dict[str, Array]:
    """Parameters of the layer and a scale and a shift behind it.

    Args:
      params: as `weights` gives them.
      scale: `[N]`, of the output.
      shift: `[N]`, added to it, in the type of the result; None for none.

    Returns:
      The same two, as a 1x1 convolution has them.
    """
    return folded_by(self.dtype, params, scale, shift)

  def student_macs(self, candidate) -> int:
    return self.windows * candidate.macs(self.conv)

  def refuses(self, candidate) -> str:
    return self.conv.refuses(candidate)

  def start(self, key, teacher, candidates) -> dict[str, Any]:
    return self.conv.start(key, teacher, candidates)

  def change(self, candidate, params, changes, references) -> Array:
    pixels = [self.pixels(x) for x in changes]
    z = self.conv.change(candidate, params, pixels, references)
    return self._as_output(z)

  def prepare(self, candidate, params, references) -> dict[str, Array]:
    return self.conv.prepare(candidate, params, references)

  def follow(self, candidate, params, prepared, inputs) -> Array:
    pixels = [self.pixels(x) for x in inputs]
    z = self.conv.follow(candidate, params, prepared, pixels)
    return self._as_output(z)

  def pixels(self, x: Array) -> Array:
    """An input as `conv` sees it."""
    return x.reshape(x.shape[0], *self.conv.inputs)

  def _as_output(self, z: Array) -> Array:
    return z.reshape(z.shape[0], *self.outputs)
