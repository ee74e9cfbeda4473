"""`flax.linen` networks: their parts are met by intercepting module calls."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
from flax import traverse_util

from deltax.delta.adapters import layers
from deltax.delta.adapters.interception import Interceptor, Kinds, maps_of
from deltax.delta.adapters.network import NO_HOOKS, Hooks
from deltax.delta.units import Block, Unit
from deltax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class LinenNetwork:
  """A linen module as a `Network`; its variables are those of `module.init`."""

  module: nn.Module

  @property
  def name(self) -> str:
    return type(self.module).__name__

  def run(self, variables: Any, frames: Array, hooks: Hooks = NO_HOOKS) -> Any:
    with _intercepting(hooks, len(frames)):
      return self.module.apply(variables, frames)

  def train(
    self, variables: Any, frames: Array, hooks: Hooks, key: Key | None
  ) -> tuple[Any, Any]:
    rngs = None if key is None else {'dropout': key}
    with _intercepting(hooks, len(frames)):
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
      _, with_maps = maps_of((args, kwargs))
      args, kwargs = with_maps(inputs)
      outputs.append(call(*args, **kwargs))
      return outputs[-1]

    with nn.intercept_methods(intercept):
      yield outputs


def _conv(module: nn.Conv, *call: Any) -> Unit | None:
  return layers.convolution(module, module.features, *call)


def _conv_transpose(module: nn.ConvTranspose, *call: Any) -> Unit | None:
  return layers.transposed_convolution(module, module.features, *call)


def _dense(module: nn.Dense, *call: Any) -> Unit | None:
  return layers.dense(module, (module.features,), *call)


def _dense_general(module: nn.DenseGeneral, *call: Any) -> Unit | None:
  if module.batch_dims:
    return None
  return layers.dense_general(module, module.features, module.axis, *call)


def _einsum(module: nn.Einsum, *call: Any) -> Unit | None:
  return layers.einsum(module, module.einsum_str, module.shape, *call)


# Classes of modules that are layers, and what makes a unit of a call of one,
# `(module, path, call, x)`, or None where it is of no kind that counts.
LAYERS: dict[type, Callable[..., Unit | None]] = {
  nn.Conv: _conv,
  nn.ConvTranspose: _conv_transpose,
  nn.Dense: _dense,
  nn.DenseGeneral: _dense_general,
  nn.Einsum: _einsum,
}
_KINDS = Kinds(layers=LAYERS, norm=nn.BatchNorm)


def _intercepting(hooks: Hooks, batch: int) -> AbstractContextManager[None]:
  """Modules ask the hooks in place of their own calls, while it is open."""
  interceptor = Interceptor(hooks, _KINDS, batch)

  def intercept(call, args, kwargs, context):
    if context.method_name != '__call__':
      return call(*args, **kwargs)
    path = '/'.join(context.module.path)
    return interceptor(context.module, path, call, args, kwargs)

  return nn.intercept_methods(intercept)


def _is_call_of(context, path: str) -> bool:
  return (
    context.method_name == '__call__' and '/'.join(context.module.path) == path
  )


def _subtree(tree: Any, path: str) -> Any:
  for part in path.split('/'):
    tree = tree[part]
  return tree
