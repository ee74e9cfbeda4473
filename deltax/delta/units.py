"""Units: what can have a student, and what the transform asks of it.

A convolution is a `Layer`; a submodule, or all that lies between two layers, is
a `Block`. Units are known by their module path, such as `layer1_0/conv1`, and
by the call number where a module is called repeatedly. A further kind is one
more class with the members of `Unit`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from deltax.layers import forms, winograd
from deltax.layers.conv import fast_conv
from deltax.layers.windows import Pads
from deltax.types import Array, Key

SPAN = 'span'  # kind of a block between two layers


class Unit(Protocol):
  """One call of what can have a student.

  Attributes:
    path: module path, joined by '/'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    shapes: of the inputs, on one frame.
    outputs: shape of the output, on one frame.
    linear: whether the change of the output depends on the change of the inputs
      alone, so that nothing of the reference frame is needed to predict it.
    bias: whether the teacher adds a bias to what a student predicts.
    ends: names of the first and the last layer of what is no module of its own;
      else None.
  """

  path: str
  call: int
  shapes: tuple[tuple[int, ...], ...]
  outputs: tuple[int, ...]
  linear: bool
  bias: bool
  ends: tuple[str, str] | None

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""

  @property
  def calls(self) -> tuple[str, ...]:
    """Names of the layer calls that it covers."""

  @property
  def form(self) -> Any:
    """What it is wherever it stands: equal for units that cost the same."""

  @property
  def description(self) -> str:
    """What it is and the shapes that it takes and gives, for a table."""

  def start(
    self, key: Key, teacher: Mapping[str, Array] | None, candidates: Sequence
  ) -> dict[str, Any]:
    """Parameters of its candidates, by name.

    Args:
      key: for candidates that draw.
      teacher: the layer's own parameters; None for what has several.
      candidates: of the unit.
    """

  def change(
    self,
    candidate: Any,
    params: Any,
    changes: Sequence[Array],
    references: Sequence[Array],
  ) -> Array:
    """`[B, *outputs]` change of the output that a student predicts.

    Args:
      candidate: the student.
      params: of the student.
      changes: of every input.
      references: every input on the reference frame.
    """

  def prepare(
    self, candidate: Any, params: Any, references: Sequence[Array]
  ) -> dict[str, Array]:
    """What the student needs of the reference frame on every later one."""

  def follow(
    self,
    candidate: Any,
    params: Any,
    prepared: Mapping[str, Array],
    inputs: Sequence[Array],
  ) -> Array:
    """`change` up to a constant, from the inputs themselves."""


class Layer(NamedTuple):
  """One call of a convolution.

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

  linear = True
  ends = None

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
    return self._replace(path='', call=0, bias=False)

  @property
  def description(self) -> str:
    kernel = _by(self.kernel[:2])
    return f'{kernel}: {_by(self.inputs)} -> {_by(self.outputs)}'

  def macs(self, *, bias: bool) -> int:
    """Multiply-accumulates on one frame, padding included."""
    rows, cols, features = self.outputs
    macs = conv_macs(self.kernel, self.outputs)
    return macs + rows * cols * features * (bias and self.bias)

  def convolve(self, kernel: Array, x: Array) -> Array:
    """The convolution with another kernel, and no bias."""
    return fast_conv(
      x,
      kernel,
      self.strides,
      self.padding,
      rhs_dilation=self.dilation,
      feature_group_count=self.groups,
    )

  def apply(self, params: Mapping[str, Array], x: Array) -> Array:
    """The convolution with parameters as `fold` gives them."""
    # Frozen on a CPU, a network may still be traced for another machine.
    tiled = 'winograd' in params and forms.target() == 'cpu'
    if tiled and self.padding == ((1, 1), (1, 1)) and winograd.pays(x.shape):
      z = winograd.winograd_conv(x, params['winograd'])
    else:
      z = self.convolve(params['kernel'], x)
    return add_bias(z, params.get('bias'))

  def fold(
    self, params: Mapping[str, Array], scale: Array, shift: Array | None
  ) -> dict[str, Array]:
    """Parameters of the convolution and a scale and a shift behind it.

    Args:
      params: 'kernel' `[kh, kw, C, N]` and perhaps 'bias' `[N]`.
      scale: `[N]`, of the output.
      shift: `[N]`, added to it; None for none.

    Returns:
      The same two; on a CPU also the kernel for Winograd's form where that may
      pay.
    """
    folded = {'kernel': params['kernel'] * scale.reshape(1, 1, 1, -1)}
    if 'bias' in params or shift is not None:
      shift = 0.0 if shift is None else shift
      folded['bias'] = shift + params.get('bias', 0.0) * scale
    if forms.target() == 'cpu' and winograd.has_tiles(
      self.kernel, self.strides, self.dilation, self.groups
    ):
      # Once, when the network is frozen, and not on every frame.
      folded['winograd'] = winograd.transform_kernel(folded['kernel'])
    return folded

  def start(self, key, teacher, candidates) -> dict[str, Any]:
    del key
    return {c.name: c.init(teacher['kernel'], self) for c in candidates}

  def change(self, candidate, params, changes, references) -> Array:
    del references
    (x,) = changes
    return add_bias(candidate.apply(params, x, self), params.get('bias'))

  def prepare(self, candidate, params, references) -> dict[str, Array]:
    del candidate, params, references
    return {}

  def follow(self, candidate, params, prepared, inputs) -> Array:
    del prepared
    (x,) = inputs
    return candidate.apply(params, x, self)


class Block(NamedTuple):
  """One call of a submodule that turns feature maps into one feature map.

  Attributes:
    path: module path, joined by '/'; of a span 'first-last'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    kind: name of its class, or `SPAN`: what lies between two layers.
    inputs: (H, W, C) of every input.
    outputs: (H, W, C) of the output.
    layers: names of the layer calls inside.
  """

  path: str
  call: int
  kind: str
  inputs: tuple[tuple[int, int, int], ...]
  outputs: tuple[int, int, int]
  layers: tuple[str, ...]

  linear = False
  bias = False

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""
    return numbered(self.path, self.call)

  @property
  def shapes(self) -> tuple[tuple[int, int, int], ...]:
    """(H, W, C) of every input."""
    return self.inputs

  @property
  def calls(self) -> tuple[str, ...]:
    """Names of the layer calls inside."""
    return self.layers

  @property
  def ends(self) -> tuple[str, str] | None:
    """Of a span, the names of its first and its last layer."""
    return (self.layers[0], self.layers[-1]) if self.kind == SPAN else None

  @property
  def form(self) -> 'Block':
    """Without its name and those of its layers."""
    return self._replace(path='', call=0, layers=())

  @property
  def description(self) -> str:
    inputs = ', '.join(map(_by, self.inputs))
    return f'{self.kind}: {inputs} -> {_by(self.outputs)}'

  def start(self, key, teacher, candidates) -> dict[str, Any]:
    del teacher
    keys = jax.random.split(key, len(candidates))
    return {
      c.name: c.init(own_key, self)
      for own_key, c in zip(keys, candidates, strict=True)
    }

  def change(self, candidate, params, changes, references) -> Array:
    # A span is met at its last layer, whose own input is handed over too.
    count = len(self.inputs)
    return candidate.apply(params, changes[:count], references[:count], self)

  def prepare(self, candidate, params, references) -> dict[str, Array]:
    return candidate.prepare(params, references[: len(self.inputs)], self)

  def follow(self, candidate, params, prepared, inputs) -> Array:
    inputs = inputs[: len(self.inputs)]
    return candidate.follow(params, prepared, inputs, self)


Called = TypeVar('Called', bound=Unit)


def modules(calls: Iterable[Called]) -> tuple[Called, ...]:
  """The first call of every module, in order."""
  return tuple(unit for unit in calls if unit.call == 0)


def numbered(path: str, call: int) -> str:
  """Name of a call: the path, with ':call' from the second call on."""
  return f'{path}:{call}' if call else path


def path_of(name: str) -> str:
  """Module path of a call's name.

  >>> path_of('head/conv:2')
  'head/conv'
  """
  return name.partition(':')[0]


def add_bias(z: Array, bias: Array | None) -> Array:
  """`[..., N]` plus `[N]`, where there is one."""
  if bias is None:
    return z
  return z + jnp.expand_dims(bias, tuple(range(z.ndim - 1)))


def _by(shape: Sequence[int]) -> str:
  return 'x'.join(map(str, shape))


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
