"""`flax.linen` networks: their parts are met by intercepting module calls."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util
from flax.core import tracers

from deltax.delta.adapters import layers
from deltax.delta.adapters.calls import default_call
from deltax.delta.adapters.interception import (
  Interceptor,
  Kinds,
  calls_as_written,
)
from deltax.delta.adapters.network import NO_HOOKS, Call, Hooks
from deltax.delta.units import Unit
from deltax.layers import BatchNorm
from deltax.types import Array, Key


@dataclasses.dataclass(frozen=True)
class LinenNetwork:
  """A linen module as a `Network`; its variables are those of `module.init`.

  Attributes:
    module: the module.
    call: see `as_network`.
  """

  module: nn.Module
  call: Call | None = None

  @property
  def name(self) -> str:
    return type(self.module).__name__

  def run(self, variables: Any, frames: Array, hooks: Hooks = NO_HOOKS) -> Any:
    return self._apply(variables, frames, hooks, train=False)[0]

  def train(
    self, variables: Any, frames: Array, hooks: Hooks, key: Key | None
  ) -> tuple[Any, Any]:
    rngs = None
    if key is not None:
      # What has no stream of its name draws from that of 'params'.
      rngs = {'dropout': key, 'params': jax.random.fold_in(key, 1)}
    outputs, updates = self._apply(
      variables, frames, hooks, train=True, rngs=rngs
    )
    return outputs, updates.get('batch_stats', self.statistics(variables))

  def _apply(
    self, variables: Any, frames: Array, hooks: Hooks, *, train: bool, **options
  ) -> tuple[Any, Any]:
    """The outputs, and the collections that were written to."""
    fixed = ('params',) if train else ('params', 'batch_stats')
    written = [name for name in variables if name not in fixed]
    call = self.call or default_call(type(self.module))
    with _intercepting(variables, hooks, frames.shape[0]):
      return self.module.apply(
        variables,
        frames,
        method=lambda module, frames: call(module, frames, train),
        mutable=written,
        **options,
      )

  def taken(self, variables: Any) -> Any:
    return variables

  def statistics(self, variables: Any) -> Any:
    return variables.get('batch_stats', {})

  def layer(self, variables: Any, path: str) -> dict[str, Array]:
    return dict(_subtree(variables['params'], path))

  def norm(self, variables: Any, path: str) -> dict[str, Array]:
    statistics = dict(_subtree(variables['batch_stats'], path))
    flat = traverse_util.flatten_dict(variables['params'], sep='/')
    learned = ((name, f'{path}/{name}') for name in ('scale', 'bias'))
    return statistics | {n: flat[at] for n, at in learned if at in flat}

  def without(self, variables: Any, paths: Sequence[str], frame: Any) -> Any:
    del frame
    gone = set(paths)
    return traverse_util.unflatten_dict(
      {
        place: leaf
        for place, leaf in traverse_util.flatten_dict(variables).items()
        # Of (collection, module, ..., name), what is between is the path.
        if '/'.join(place[1:-1]) not in gone
      }
    )


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
_WRITTEN = (*LAYERS, nn.BatchNorm, BatchNorm)
_PARAM = nn.Module.param


def _intercepting(
  variables: Any, hooks: Hooks, batch: int
) -> AbstractContextManager[None]:
  """Modules ask the hooks in place of their own calls, while it is open."""
  interceptor = Interceptor(hooks, _KINDS, batch)
  stored = traverse_util.flatten_dict(variables.get('params', {}), sep='/')
  trace = tracers.current_trace()

  def intercept(call, args, kwargs, context):
    module = context.module
    path = '/'.join(module.path)
    if context.method_name != '__call__' or not _is_as_written(module):
      return call(*args, **kwargs)
    # What runs in a trace of its own (`nn.remat`) has other arrays, but not
    # other weights; that it cannot be followed is told by its being met.
    if isinstance(module, tuple(LAYERS)) and trace == tracers.current_trace():
      weights = module.variables.get('params', {})
      if any(w is not stored.get(f'{path}/{n}') for n, w in weights.items()):
        return call(*args, **kwargs)
    return interceptor(module, path, call, args, kwargs)

  return nn.intercept_methods(intercept)


def _is_as_written(module: nn.Module) -> bool:
  """Whether a layer computes as its class does, with the weights it stores."""
  if isinstance(module, tuple(LAYERS)) and type(module).param is not _PARAM:
    return False
  return calls_as_written(type(module), _WRITTEN)


def _subtree(tree: Any, path: str) -> Any:
  for part in path.split('/'):
    tree = tree[part]
  return tree
