"""Calls of modules as layers; what linen and nnx call alike is read here."""

import re
from collections.abc import Sequence
from typing import Any

from deltax.delta.units import Dense, Layer
from deltax.layers.windows import Pads, explicit_padding, output_size
from deltax.types import Array


def convolution(
  module: Any, features: int, path: str, call: int, x: Array
) -> Layer | None:
  """A convolution as a layer; None if it is not of the kind that counts.

  Args:
    module: the convolution; its attributes are called alike in linen and nnx.
    features: of its output, which are not.
    path: of the module.
    call: its number among the calls of the module.
    x: its input.
  """
  if (
    len(module.kernel_size) != 2
    or x.ndim != 4
    or set(_pair(module.input_dilation)) != {1}
    or module.mask is not None
    or module.padding in ('CIRCULAR', 'REFLECT', 'CAUSAL')
  ):
    return None
  strides, dilation = _pair(module.strides), _pair(module.kernel_dilation)
  groups = module.feature_group_count
  kernel = (*module.kernel_size, x.shape[-1] // groups, features)
  padding = explicit_padding(module.padding, x.shape, kernel, strides, dilation)
  size = output_size(x.shape, kernel, strides, padding, dilation)
  return Layer(
    path=path,
    call=call,
    kernel=kernel,
    strides=strides,
    padding=padding,
    dilation=dilation,
    groups=groups,
    bias=module.use_bias,
    inputs=tuple(x.shape[1:]),
    outputs=(*size, features),
    dtype=module.dtype,
  )


def transposed_convolution(
  module: Any, features: int, path: str, call: int, x: Array
) -> Layer | None:
  """A transposed convolution as a layer; None if it is not of the usual kind.

  Args and result are those of `convolution`.
  """
  if (
    len(module.kernel_size) != 2
    or x.ndim != 4
    or module.mask is not None
    or module.padding == 'CIRCULAR'
  ):
    return None
  strides, dilation = _pair(module.strides), _pair(module.kernel_dilation)
  kernel = (*module.kernel_size, x.shape[-1], features)
  padding = _transposed_padding(module.padding, kernel, strides, dilation)
  spread = [(n - 1) * s + 1 for n, s in zip(x.shape[1:3], strides, strict=True)]
  shape = (x.shape[0], *spread, x.shape[-1])
  return Layer(
    path=path,
    call=call,
    kernel=kernel,
    strides=(1, 1),
    padding=padding,
    dilation=dilation,
    groups=1,
    bias=module.use_bias,
    inputs=tuple(x.shape[1:]),
    outputs=(*output_size(shape, kernel, (1, 1), padding, dilation), features),
    dtype=module.dtype,
    input_dilation=strides,
    flipped=module.transpose_kernel,
  )


def _transposed_padding(padding, kernel, strides, dilation) -> Pads:
  """Zeros on (top, bottom), (left, right), as `lax.conv_transpose` does."""
  if not isinstance(padding, str):
    return explicit_padding(padding, (), kernel, strides, dilation)
  pads = []
  for size, stride, spacing in zip(kernel[:2], strides, dilation, strict=True):
    extent = (size - 1) * spacing + 1
    if padding == 'SAME':
      total = extent + stride - 2
      first = extent - 1 if stride > extent - 1 else -(-total // 2)
    else:
      total = extent + stride - 2 + max(extent - stride, 0)
      first = extent - 1
    pads.append((first, total - first))
  return pads[0], pads[1]


def dense(
  module: Any,
  features: Sequence[int],
  path: str,
  call: int,
  x: Array,
  *,
  contracted: int = 1,
  order: Sequence[int] | None = None,
) -> Dense:
  """A fully connected layer over the last axes of its input.

  Args:
    module: the layer; its `use_bias` and `dtype` are read.
    features: the last axes of its output.
    path: of the module.
    call: its number among the calls of the module.
    x: its input.
    contracted: how many of the input's last axes are summed over.
    order: axes of the kernel, those that are summed over first; as they are
      when absent.
  """
  rank = contracted + len(features)
  return Dense(
    path=path,
    call=call,
    inputs=tuple(x.shape[1:]),
    outputs=(*x.shape[1 : x.ndim - contracted], *features),
    contracted=contracted,
    order=tuple(order or range(rank)),
    bias=module.use_bias,
    dtype=module.dtype,
  )


def dense_general(
  module: Any, features: Any, axes: Any, path: str, call: int, x: Array
) -> Dense | None:
  """A layer over chosen axes; None unless they are the last ones, in order."""
  axes = [axis % x.ndim for axis in _sequence(axes)]
  if axes != list(range(x.ndim - len(axes), x.ndim)) or 0 in axes:
    return None
  features = _sequence(features)
  return dense(module, features, path, call, x, contracted=len(axes))


def einsum(
  module: Any,
  subscripts: str | None,
  kernel: Sequence[int],
  path: str,
  call: int,
  x: Array,
) -> Dense | None:
  """A product with a kernel as a fully connected layer.

  None unless it sums over the last axes of the input, and the last ones of the
  output are the kernel's.

  Args:
    module: the layer.
    subscripts: such as 'btd,dnh->btnh'; None where the call gives them.
    kernel: shape of the kernel.
    path: of the module.
    call: its number among the calls of the module.
    x: its input.
  """
  given = re.fullmatch(
    r'(\.\.\.)?(\w+),(\w+)->(\.\.\.)?(\w+)', (subscripts or '').replace(' ', '')
  )
  if not given or given[1] != given[4]:
    return None
  _, read, weighed, _, made = given.groups()
  summed = [letter for letter in read if letter not in made]
  free = [letter for letter in made if letter not in read]
  kept = [letter for letter in read if letter in made]
  # Nothing but the batch may be looked up along the first axis.
  has_batch = bool(given[1]) or bool(kept)
  if (
    not summed
    or not has_batch
    or [*kept, *summed] != list(read)
    or [*kept, *free] != list(made)
    or sorted([*summed, *free]) != sorted(weighed)
  ):
    return None
  order = [weighed.index(letter) for letter in (*summed, *free)]
  features = [kernel[i] for i in order[len(summed) :]]
  return dense(
    module, features, path, call, x, contracted=len(summed), order=order
  )


def _sequence(value):
  return (value,) if isinstance(value, int) else tuple(value)


def _pair(value):
  if value is None:
    return (1, 1)
  return (value, value) if isinstance(value, int) else tuple(value)
