"""A network's convolutions and blocks, and a hand on each while it runs.

They are known by their module path, such as `layer1_0/conv1`, and by the call
number where a module is called repeatedly.
"""

import collections
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax

from deltax.layers.windows import Pads, explicit_padding, output_size
from deltax.types import Array

SPAN = 'span'  # kind of a block between two convolutions
_LEAVES = (nn.Conv, nn.BatchNorm, nn.Dense)


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

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""
    return _numbered(self.path, self.call)


class Block(NamedTuple):
  """One call of a submodule that turns feature maps into one feature map.

  Attributes:
    path: module path, joined by '/'; of a span 'first-last'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    kind: name of its class, or `SPAN`: what lies between two convolutions.
    inputs: (H, W, C) of every input.
    outputs: (H, W, C) of the output.
    layers: names of the convolution calls inside.
  """

  path: str
  call: int
  kind: str
  inputs: tuple[tuple[int, int, int], ...]
  outputs: tuple[int, int, int]
  layers: tuple[str, ...]

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""
    return _numbered(self.path, self.call)


def is_span(unit: Layer | Block) -> bool:
  """Whether it is what lies between two convolutions."""
  return isinstance(unit, Block) and unit.kind == SPAN


ConvHook = Callable[[Layer, Callable[[Array], Array], Array], Array]
NormHook = Callable[[nn.Module, Callable[[Array], Array], Array], Array]
BlockHook = Callable[[str, Callable[..., Array], tuple[Array, ...]], Array]
ModuleHook = Callable[[nn.Module, Callable[[], Any], tuple[Array, ...]], Any]


def watched(
  net: nn.Module,
  variables: Any,
  frames: Array,
  *,
  conv: ConvHook,
  norm: NormHook | None = None,
  dense: Callable[[str, Array, Array], None] | None = None,
  block: BlockHook | None = None,
  blocks: Collection[Block] = (),
  other: ModuleHook | None = None,
  **options: Any,
) -> Any:
  """`net.apply(variables, frames)` with every convolution in other hands.

  Args:
    net: any linen network.
    variables: of the network.
    frames: `[B, H, W, C]`.
    conv: `(layer, teacher, x) -> z`, called in place of every two-dimensional
      `nn.Conv`; `teacher(x)` is the convolution itself.
    norm: `(module, teacher, x) -> y`, in place of every `nn.BatchNorm` over the
      last axis.
    dense: `(path, x, y)`, told of every `nn.Dense`.
    block: `(name, teacher, inputs) -> z`, in place of every one of `blocks`;
      `teacher(*inputs)` is the submodule itself. A span is met at its last
      convolution: `inputs` are that of the first and, after it, that of the
      last, which alone `teacher` reads.
    blocks: submodules and spans.
    other: `(module, teacher, inputs) -> out`, around every other submodule.
    **options: passed on to `net.apply`.

  Returns:
    What `net.apply` returns.
  """
  calls: collections.Counter[str] = collections.Counter()
  spans = [each for each in blocks if is_span(each)]
  paths = {each.path for each in blocks}
  begun: dict[str, Array] = {}

  def one(layer, teacher, x):
    """A convolution, which a span may begin or end with."""
    for span in spans:
      if layer.name == span.layers[0]:
        begun[span.path] = x
      if layer.name == span.layers[-1]:
        inputs = begun[span.path], x
        return block(
          span.path, lambda _, own: conv(layer, teacher, own), inputs
        )
    return conv(layer, teacher, x)

  def intercept(call, args, kwargs, context):
    module, path = context.module, '/'.join(context.module.path)
    if context.method_name != '__call__':
      return call(*args, **kwargs)
    if path in paths:
      number = calls[path]
      calls[path] += 1
      inputs, rebuilt = _maps((args, kwargs))

      def whole(*inputs):
        args, kwargs = rebuilt(inputs)
        return call(*args, **kwargs)

      return block(_numbered(path, number), whole, inputs)
    if other and module.path and not isinstance(module, _LEAVES):
      return other(
        module, lambda: call(*args, **kwargs), _maps((args, kwargs))[0]
      )
    if len(args) != 1:
      return call(*args, **kwargs)

    def teacher(x):
      return call(x, **kwargs)

    if isinstance(module, nn.Conv) and _two_dimensional(module, args[0]):
      number = calls[path]
      calls[path] += 1
      return one(_layer(module, path, number, args[0]), teacher, args[0])
    if isinstance(module, nn.BatchNorm) and norm and module.axis == -1:
      return norm(module, teacher, args[0])
    out = teacher(args[0])
    if isinstance(module, nn.Dense) and dense:
      dense(path, args[0], out)
    return out

  with nn.intercept_methods(intercept):
    return net.apply(variables, frames, **options)


Called = TypeVar('Called', Layer, Block)


def modules(calls: Iterable[Called]) -> tuple[Called, ...]:
  """The first call of every module, in order."""
  return tuple(each for each in calls if each.call == 0)


def subtree(tree: Any, path: str) -> Any:
  """What a module path leads to in a tree."""
  for part in path.split('/'):
    tree = tree[part]
  return tree


def _numbered(path, call):
  return f'{path}:{call}' if call else path


def _maps(tree) -> tuple[tuple[Array, ...], Callable[[Sequence[Array]], Any]]:
  """The feature maps among arguments, and how to put others in their place."""
  leaves, structure = jax.tree.flatten(tree)
  places = [i for i, leaf in enumerate(leaves) if getattr(leaf, 'ndim', 0) == 4]

  def rebuilt(maps):
    found = list(leaves)
    for place, each in zip(places, maps, strict=True):
      found[place] = each
    return jax.tree.unflatten(structure, found)

  return tuple(leaves[i] for i in places), rebuilt


def _two_dimensional(module, x):
  return (
    len(module.kernel_size) == 2
    and x.ndim == 4
    and set(_pair(module.input_dilation)) == {1}
    and module.mask is None
    and module.padding not in ('CIRCULAR', 'REFLECT', 'CAUSAL')
  )


def _layer(module, path, call, x):
  strides, dilation = _pair(module.strides), _pair(module.kernel_dilation)
  groups = module.feature_group_count
  kernel = (*module.kernel_size, x.shape[-1] // groups, module.features)
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
    outputs=(*size, module.features),
  )


def _pair(value):
  if value is None:
    return (1, 1)
  return (value, value) if isinstance(value, int) else tuple(value)
