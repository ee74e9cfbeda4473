"""Hooks on the calls of modules, whichever library the modules are of."""

import collections
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax

from deltax.delta.adapters.network import Hooks, feature_maps
from deltax.delta.units import Block, Dense, Unit, numbered
from deltax.types import Array


class Kinds(NamedTuple):
  """The classes of a library's modules that hooks tell apart.

  Attributes:
    layers: those that are layers, and what makes a unit of a call of one, or
      None where it is of no kind that counts: `(module, path, call, x)`.
    norm: batch norm.
  """

  layers: Mapping[type, Callable[[Any, str, int, Array], Unit | None]]
  norm: type


_cuts: ContextVar[tuple] = ContextVar('cuts', default=())


@contextlib.contextmanager
def cut(block: Block, inputs: Sequence[Array]) -> Iterator[list]:
  """While it is open, a block is given these inputs wherever it runs.

  Args:
    block: of a network that runs meanwhile.
    inputs: feature maps in place of its own.

  Yields:
    A list, which gets the block's output at every call.
  """
  outputs: list = []
  token = _cuts.set((*_cuts.get(), (block.path, inputs, outputs)))
  try:
    yield outputs
  finally:
    _cuts.reset(token)


class Interceptor:
  """Hands the calls of a network's modules to hooks, during one pass.

  Attributes:
    hooks: what is called.
    kinds: classes of the library.
    batch: frames of the pass.
  """

  def __init__(self, hooks: Hooks, kinds: Kinds, batch: int):
    self.hooks = hooks
    self.kinds = kinds
    self.batch = batch
    self.paths = {unit.path for unit in hooks.units if unit.ends is None}
    self.spans = [unit for unit in hooks.units if unit.ends is not None]
    self.begun: dict[str, Array] = {}  # the first input of every span
    self.calls: collections.Counter[str] = collections.Counter()

  def __call__(self, module: Any, path: str, call, args, kwargs) -> Any:
    """Runs one call of a module, or what a hook has in its place.

    Args:
      module: that is called.
      path: of the module, joined by '/'; empty for the network itself.
      call: of the module, without hooks.
      args: of the call.
      kwargs: of the call.
    """
    for cut_path, inputs, outputs in _cuts.get():
      if path == cut_path:
        _, with_maps = maps_of((args, kwargs))
        args, kwargs = with_maps(inputs)
        outputs.append(self.call(module, path, call, args, kwargs))
        return outputs[-1]
    return self.call(module, path, call, args, kwargs)

  def call(self, module: Any, path: str, call, args, kwargs) -> Any:
    """One call, its arguments as they are by now."""
    hooks, kinds = self.hooks, self.kinds
    layer = self.layer_of(module, path, args)
    if layer is not None:
      return self.layer(layer, lambda x: call(x, **kwargs), args[0])
    if path in self.paths:
      return self.block(path, call, args, kwargs)
    is_norm = isinstance(module, kinds.norm) and module.axis == -1
    if hooks.norm and is_norm and len(args) == 1:
      return hooks.norm(
        path, module.epsilon, lambda x: call(x, **kwargs), args[0]
      )
    if hooks.submodule and path:
      maps, _ = maps_of((args, kwargs))
      return hooks.submodule(
        path, type(module).__name__, lambda: call(*args, **kwargs), maps
      )
    return call(*args, **kwargs)

  def layer_of(self, module: Any, path: str, args) -> Unit | None:
    """The layer that a call of a module is, if it is one."""
    kinds = [kind for kind in self.kinds.layers if isinstance(module, kind)]
    if not kinds or not path or len(args) != 1:
      return None
    (x,) = args
    layer = self.kinds.layers[kinds[0]](module, path, self.calls[path], x)
    windows, rest = divmod(x.shape[0], self.batch)
    # What does not have the frames in front cannot be followed over time.
    if layer is None or rest or not windows:
      return None
    if windows > 1:
      if not isinstance(layer, Dense):
        return None
      layer = layer._replace(windows=windows)
    self.calls[path] += 1
    return layer

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
    maps, with_maps = maps_of((args, kwargs))

    def teacher(*maps):
      args, kwargs = with_maps(maps)
      return call(*args, **kwargs)

    return self.hooks.unit(name, teacher, maps)


def calls_as_written(kind: type, written: Collection[type]) -> bool:
  """Whether a class that extends one of a library's computes as that does.

  Args:
    kind: class of a module.
    written: classes whose calls are known.
  """
  known = [base for base in written if issubclass(kind, base)]
  return not known or any(kind.__call__ is base.__call__ for base in known)


def maps_of(
  tree: Any,
) -> tuple[tuple[Array, ...], Callable[[Sequence[Array]], Any]]:
  """The feature maps among arguments, and how to put others in their place."""
  leaves, structure = jax.tree.flatten(tree)
  places = list(feature_maps(leaves))

  def with_maps(maps):
    replaced = list(leaves)
    for place, feature_map in zip(places, maps, strict=True):
      replaced[place] = feature_map
    return jax.tree.unflatten(structure, replaced)

  return tuple(leaves[i] for i in places), with_maps
