"""How the modules of an nnx graph come to ask hooks when they are called."""

import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flax import nnx

from deltax.delta.adapters import layers
from deltax.delta.adapters.interception import (
  Interceptor,
  Kinds,
  calls_as_written,
)
from deltax.delta.adapters.network import Hooks
from deltax.delta.units import Unit

Given = Mapping[int, tuple[nnx.Variable, Any]]


def ask_hooks(module: nnx.Module, hooks: Hooks, batch: int) -> None:
  """Makes every part of a module ask hooks in place of its own calls.

  Args:
    module: of this pass alone; the classes of its parts are changed.
    hooks: what is called.
    batch: frames of the pass.
  """
  interceptor = Interceptor(hooks, _KINDS, batch)
  given = {
    id(entry): (entry, entry.get_raw_value())
    for _, entry in nnx.to_flat_state(nnx.state(module))
    if isinstance(entry, nnx.Variable)
  }
  for path, part in parts_of(module, nnx.Module):
    if callable(part) and calls_as_written(type(part), _WRITTEN):
      ask = functools.partial(_ask, interceptor, given, path)
      object.__setattr__(part, '_deltax_ask', ask)
      object.__setattr__(part, '__class__', _asking(type(part)))


def parts_of(module: nnx.Module, kind: type) -> Iterator[tuple[str, Any]]:
  """All of a class that a module holds, by the first path of each."""
  for path, part in list(nnx.iter_graph(module)):
    if isinstance(part, kind):
      yield joined(path), part


def joined(keys: Sequence[Any]) -> str:
  """The path of a part or an entry."""
  return '/'.join(map(str, keys))


def _ask(
  interceptor: Interceptor,
  given: Given,
  path: str,
  module: nnx.Module,
  call: Callable[..., Any],
  args: Sequence[Any],
  kwargs: Mapping[str, Any],
) -> Any:
  """One call of a module, or what a hook has in its place."""
  if isinstance(module, tuple(LAYERS)) and _is_changed(module, given):
    return call(*args, **kwargs)
  return interceptor(module, path, call, args, kwargs)


def _is_changed(module: nnx.Module, given: Given) -> bool:
  """Whether the network has set a parameter meanwhile, as weight norm does."""
  return any(
    entry.get_raw_value() is not given[id(entry)][1]
    for entry in vars(module).values()
    if id(entry) in given
  )


class _Asking(nnx.Module):
  """Put before the class of a module, asks in place of the module's call."""

  def __init_subclass__(cls) -> None:
    # Not those of the classes behind: some note down all that they have.
    nnx.Pytree.__init_subclass__.__func__(cls, pytree=cls._pytree__is_pytree)

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    ask = vars(self).get('_deltax_ask')
    if ask is None:  # one that the network has made during the pass
      return super().__call__(*args, **kwargs)
    return ask(self, super().__call__, args, kwargs)


@functools.cache
def _asking(kind: type) -> type:
  """The class, asking; as its objects are merged anew, no other one does."""
  names = ('__module__', '__qualname__', '__doc__')
  members = {name: getattr(kind, name) for name in names}
  return type(kind)(kind.__name__, (_Asking, kind), members)


def _conv(module: nnx.Conv, *call: Any) -> Unit | None:
  return layers.convolution(module, module.out_features, *call)


def _conv_transpose(module: nnx.ConvTranspose, *call: Any) -> Unit | None:
  return layers.transposed_convolution(module, module.out_features, *call)


def _linear(module: nnx.Linear, *call: Any) -> Unit | None:
  return layers.dense(module, (module.out_features,), *call)


def _linear_general(module: nnx.LinearGeneral, *call: Any) -> Unit | None:
  if module.batch_axis:
    return None
  return layers.dense_general(module, module.out_features, module.axis, *call)


def _einsum(module: nnx.Einsum, *call: Any) -> Unit | None:
  like = types.SimpleNamespace(
    use_bias=module.bias is not None, dtype=module.dtype
  )
  return layers.einsum(like, module.einsum_str, module.kernel_shape, *call)


# Classes of modules that are layers, and what makes a unit of a call of one,
# `(module, path, call, x)`, or None where it is of no kind that counts.
LAYERS: dict[type, Callable[..., Unit | None]] = {
  nnx.Conv: _conv,
  nnx.ConvTranspose: _conv_transpose,
  nnx.Linear: _linear,
  nnx.LinearGeneral: _linear_general,
  nnx.Einsum: _einsum,
}
_KINDS = Kinds(layers=LAYERS, norm=nnx.BatchNorm)
_WRITTEN = (*LAYERS, nnx.BatchNorm)
