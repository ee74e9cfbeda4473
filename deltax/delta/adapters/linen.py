"""`flax.linen` networks: their parts are met by intercepting module calls."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from deltax.delta.adapters.network import NO_HOOKS, Hooks, feature_maps
from deltax.delta.units import Block, Layer, Unit, numbered
from deltax.layers.windows import explicit_padding, output_size
from deltax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class LinenNetwork:
  """A linen module as a `Network`; its variables are those of `module.init`."""

  module: nn.Module

  @property
  def name(self) -> str:
    return type(self.module).__name__

  def run(self, variables: Any, frames: Array, hooks: Hooks = NO_HOOKS) -> Any:
    with nn.intercept_methods(_Interceptor(hooks)):
      return self.module.apply(variables, frames)

  def train(
    self, variables: Any, frames: Array, hooks: Hooks, key: Key | None
  ) -> tuple[Any, Any]:
    rngs = None if key is None else {'dropout': key}
    with nn.intercept_methods(_Interceptor(hooks)):
      outputs, updates = self.module.apply(
        variables, frames, train=True, mutable=['batch_stats'], rngs=rngs
      )
    return outputs, updates.get('batch_stats', self.statistics(variables))

  def statistics(self, variables: Any) -> Any:
    return variables.get('batch_stats', {})

  def layer(self, variables: Any, path: str) -> dict[str, Array]:
    return dict(_subtree(variables['params'], path))

  def norm(self, variables: Any, path: str) -> dict[str, Array]:
    statistics = dict(_subtree(variables['batch_stats'], path))
    flat = traverse_util.flatten_dict(variables['params'], sep='/')
    learned = ((name, f'{path}/{name}') for name in ('scale', 'bias'))
    return statistics | {n: flat[at] for n, at in learned if at in flat}

  def without(self, variables: Any, paths: Sequence[str]) -> Any:
    gone = set(paths)
    return traverse_util.unflatten_dict(
      {
        place: leaf
        for place, leaf in traverse_util.flatten_dict(variables).items()
        # Of (collection, module, ..., name), what is between is the path.
        if '/'.join(place[1:-1]) not in gone
      }
    )

  @contextlib.contextmanager
  def cut(self, block: Block, inputs: Sequence[Array]) -> Iterator[list]:
    outputs: list = []

    def intercept(call, args, kwargs, context):
      if not _is_call_of(context, block.path):
        return call(*args, **kwargs)
      _, with_maps = _maps((args, kwargs))
      args, kwargs = with_maps(inputs)
      outputs.append(call(*args, **kwargs))
      return outputs[-1]

    with nn.intercept_methods(intercept):
      yield outputs


def convolution(
  module: nn.Conv, path: str, call: int, x: Array
) -> Layer | None:
  """A call of `nn.Conv` as a layer; None if it is not of the kind that counts.

  Args:
    module: the convolution.
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


# Classes of modules that are layers, and what makes a unit of a call of one.
LAYERS: dict[type, Callable[[Any, str, int, Array], Unit | None]] = {
  nn.Conv: convolution
}
_LEAVES = (nn.Conv, nn.BatchNorm, nn.Dense)


class _Interceptor:
  """Hands the calls of a network's modules to hooks, during one pass."""

  def __init__(self, hooks: Hooks):
    self.hooks = hooks
    self.paths = {unit.path for unit in hooks.units if unit.ends is None}
    self.spans = [unit for unit in hooks.units if unit.ends is not None]
    self.begun: dict[str, Array] = {}  # the first input of every span
    self.calls: collections.Counter[str] = collections.Counter()

  def __call__(self, call, args, kwargs, context):
    module, hooks = context.module, self.hooks
    path = '/'.join(module.path)
    if context.method_name != '__call__':
      return call(*args, **kwargs)
    layer = self.layer_of(module, path, args)
    if layer is not None:
      return self.layer(layer, lambda x: call(x, **kwargs), args[0])
    if path in self.paths:
      return self.block(path, call, args, kwargs)
    if hooks.submodule and module.path and not isinstance(module, _LEAVES):
      maps, _ = _maps((args, kwargs))
      return hooks.submodule(
        path, type(module).__name__, lambda: call(*args, **kwargs), maps
      )
    if len(args) != 1:
      return call(*args, **kwargs)
    if hooks.norm and isinstance(module, nn.BatchNorm) and module.axis == -1:
      return hooks.norm(
        path, module.epsilon, lambda x: call(x, **kwargs), args[0]
      )
    out = call(*args, **kwargs)
    if hooks.dense and isinstance(module, nn.Dense):
      hooks.dense(path, args[0], out)
    return out

  def layer_of(self, module: nn.Module, path: str, args) -> Unit | None:
    """The layer that a call of a module is, if it is one."""
    for kind, make_layer in LAYERS.items():
      if isinstance(module, kind) and len(args) == 1:
        layer = make_layer(module, path, self.calls[path], args[0])
        self.calls[path] += layer is not None
        return layer
    return None

  def layer(self, layer: Unit, teacher, x: Array) -> Array:
    """A layer, which may be a unit, and which a span may begin or end with."""
    hooks = self.hooks

    def run(x):
      return hooks.layer(layer, teacher, x) if hooks.layer else teacher(x)

    def met(x):
      if layer.path in self.paths:
        return hooks.unit(layer.name, run, (x,))
      return run(x)

    for span in self.spans:
      first, last = span.ends
      if layer.name == first:
        self.begun[span.path] = x
      if layer.name == last:
        inputs = self.begun[span.path], x
        return hooks.unit(span.path, lambda _, x: met(x), inputs)
    return met(x)

  def block(self, path: str, call, args, kwargs) -> Any:
    """A submodule that is a unit."""
    name = numbered(path, self.calls[path])
    self.calls[path] += 1
    maps, with_maps = _maps((args, kwargs))

    def teacher(*maps):
      args, kwargs = with_maps(maps)
      return call(*args, **kwargs)

    return self.hooks.unit(name, teacher, maps)


def _is_call_of(context, path: str) -> bool:
  return (
    context.method_name == '__call__' and '/'.join(context.module.path) == path
  )


def _subtree(tree: Any, path: str) -> Any:
  for part in path.split('/'):
    tree = tree[part]
  return tree


def _maps(tree) -> tuple[tuple[Array, ...], Callable[[Sequence[Array]], Any]]:
  """The feature maps among arguments, and how to put others in their place."""
  leaves, structure = jax.tree.flatten(tree)
  places = list(feature_maps(leaves))

  def with_maps(maps):
    replaced = list(leaves)
    for place, feature_map in zip(places, maps, strict=True):
      replaced[place] = feature_map
    return jax.tree.unflatten(structure, replaced)

  return tuple(leaves[i] for i in places), with_maps


def _pair(value):
  if value is None:
    return (1, 1)
  return (value, value) if isinstance(value, int) else tuple(value)
