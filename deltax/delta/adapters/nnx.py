"""`flax.nnx` networks: modules of a merged graph ask hooks when called."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deltax.delta.adapters.calls import default_call
from deltax.delta.adapters.network import NO_HOOKS, Call, Hooks
from deltax.delta.adapters.nnx_calls import ask_hooks, joined, parts_of
from deltax.types import Array, Key


@dataclasses.dataclass(frozen=True, eq=False)
class NnxNetwork:
  """An nnx module as a `Network`; `nnx_network` makes it.

  Its variables have the form of linen's: 'params', whatever is an `nnx.Param`,
  and 'batch_stats', all other floating-point arrays of the state, both as pure
  nested dicts that `nnx.update` takes. What else a state holds, such as streams
  of random numbers, stays with the network, as it was when that was made. The
  module itself is neither kept nor changed. Every function takes an `nnx.State`
  or its pure dict as well.

  Attributes:
    evaluating: its graph after `module.eval()`.
    training: its graph after `module.train()`.
    leaves: the keys of all entries of the state by path, in their order.
    learned: paths of the parameters.
    kept: entries that are no variables, by path.
    places: paths of a module's entries by their names, by path of the module.
      What is shared has the first of its paths, as in the state.
    call: see `as_network`.
  """

  evaluating: nnx.GraphDef
  training: nnx.GraphDef
  leaves: Mapping[str, tuple]
  learned: frozenset[str]
  kept: Mapping[str, Any]
  places: Mapping[str, Mapping[str, str]]
  call: Call

  @property
  def name(self) -> str:
    return self.evaluating.nodes[0].type.__name__

  def run(self, variables: Any, frames: Array, hooks: Hooks = NO_HOOKS) -> Any:
    module = self._merge(self.evaluating, variables, hooks, frames.shape[0])
    return self.call(module, frames, False)

  def train(
    self, variables: Any, frames: Array, hooks: Hooks, key: Key | None
  ) -> tuple[Any, Any]:
    module = self._merge(self.training, variables, hooks, frames.shape[0])
    streams = [part for _, part in parts_of(module, nnx.RngStream)]
    if key is not None:
      # One key a name, lest two streams draw the same numbers.
      names = sorted({stream.tag for stream in streams})
      keys = {n: jax.random.fold_in(key, i) for i, n in enumerate(names)}
      nnx.reseed(module, policy='match_shape', **keys)
    counts = [stream.count.get_raw_value() for stream in streams]
    outputs = self.call(module, frames, True)
    drawn = [
      stream.tag
      for stream, count in zip(streams, counts, strict=True)
      if stream.count.get_raw_value() is not count
    ]
    if drawn and key is None:
      raise ValueError(
        f'{self.name} draws random numbers in training ({drawn[0]!r}); it '
        'needs key='
      )
    return outputs, self.statistics(nnx.state(module))

  def taken(self, variables: Any) -> Any:
    values = _values(variables)
    for path in self.leaves:
      if path in self.kept:
        continue
      if path not in values:
        raise ValueError(
          f'the variables of {self.name} lack {path!r}; expected all of '
          'nnx.state(module), or its nnx.Param and nnx.BatchStat'
        )
      if not _is_trained(values[path]):
        raise ValueError(
          f'{path!r} of {self.name} is no floating-point array, so that it is '
          'not trained, and a GraphDef does not hold it; give the module itself'
        )
    return self._nested(values)

  def statistics(self, variables: Any) -> Any:
    return self._nested(_values(variables)).get('batch_stats', {})

  def layer(self, variables: Any, path: str) -> dict[str, Array]:
    values = _values(variables)
    return {name: values[p] for name, p in self.places[path].items()}

  def norm(self, variables: Any, path: str) -> dict[str, Array]:
    return self.layer(variables, path)

  def without(self, variables: Any, paths: Sequence[str], frame: Any) -> Any:
    gone, needed = set(), set()
    for path, places in self.places.items():
      (gone if path in paths else needed).update(places.values())
    values, gone = _values(variables), gone - needed
    hooks = Hooks(
      layer=lambda layer, _, x: jnp.zeros((len(x), *layer.outputs), x.dtype),
      norm=lambda path, epsilon, teacher, x: x if path in paths else teacher(x),
    )
    while True:
      left = self._nested({p: values[p] for p in values if p not in gone})
      run = functools.partial(self.run, hooks=hooks)
      try:
        jax.eval_shape(run, left, frame)
      except _MissingError as read:
        # The network looks at it outside of the layer.
        gone.discard(read.path)
      else:
        return left

  def _nested(self, values: Mapping[str, Any]) -> dict[str, Any]:
    """Variables from those of some paths."""
    parts = {'params': {}, 'batch_stats': {}}
    for path, keys in self.leaves.items():
      if path in values and path not in self.kept:
        part = 'params' if path in self.learned else 'batch_stats'
        parts[part][keys] = values[path]
    return {
      name: nnx.from_flat_state(part, cls=dict)
      for name, part in parts.items()
      if part
    }

  def _merge(
    self, graph: nnx.GraphDef, variables: Any, hooks: Hooks, batch: int
  ) -> Any:
    """The module, new in every pass, its parts with hooks."""
    values = {**_values(variables), **self.kept}
    # From arrays: a `Variable` of the caller's would be written to.
    module = nnx.merge(graph, [values.get(p, _Missing(p)) for p in self.leaves])
    ask_hooks(module, hooks, batch)
    return module


def nnx_network(
  net: nnx.Module | nnx.GraphDef, call: Call | None = None
) -> NnxNetwork:
  """An nnx module as a network.

  Args:
    net: the module; or its GraphDef alone, which does where the state has
      nothing but floating-point arrays and streams of random numbers.
    call: see `as_network`.

  Raises:
    TypeError: a GraphDef of something else.
  """
  graph, kept = net, {}
  if isinstance(net, nnx.Module):
    graph, state = nnx.split(net)
    kept = {p: v for p, v in _values(state).items() if not _is_trained(v)}
  # An array each, so that the graph tells one entry from another.
  empty = nnx.merge(graph, [np.zeros(0) for _ in range(graph.num_leaves)])
  if not isinstance(empty, nnx.Module):
    raise TypeError(
      f'expected the GraphDef of an nnx module, got that of a '
      f'{type(empty).__name__}'
    )
  graphs = []
  for set_mode in (empty.eval, empty.train):
    set_mode()
    graphs.append(nnx.graphdef(empty))
  state = nnx.to_flat_state(nnx.state(empty))
  entries = {joined(keys): entry for keys, entry in state}
  path_of = {id(entry): path for path, entry in entries.items()}
  places = {
    path: {
      name: path_of[id(value)]
      for name, value in vars(part).items()
      if id(value) in path_of
    }
    for path, part in parts_of(empty, nnx.Module)
  }
  return NnxNetwork(
    *graphs,
    leaves={joined(keys): keys for keys, _ in state},
    learned=frozenset(p for p in entries if isinstance(entries[p], nnx.Param)),
    kept=_streams(entries) | kept,
    places=places,
    call=call or default_call(type(empty)),
  )


class _MissingError(RuntimeError):
  """An entry is read that the variables do not have."""

  def __init__(self, path: str):
    super().__init__(f'the network reads {path!r}, which its variables lack')
    self.path = path


class _Missing:
  """Stands where a frozen network has no weights any more; not to be read."""

  def __init__(self, path: str):
    self._path = path

  def __getitem__(self, index: Any) -> Any:
    raise _MissingError(self._path)

  def __getattr__(self, name: str) -> Any:
    del name
    raise _MissingError(self._path)


def _streams(entries: Mapping[str, Any]) -> dict[str, Any]:
  """Streams of random numbers; those of training get another key each time."""
  start = {nnx.RngKey: jax.random.key(0), nnx.RngCount: jnp.uint32(0)}
  return {p: start[type(e)] for p, e in entries.items() if type(e) in start}


def _values(variables: Any) -> dict[str, Any]:
  """Arrays of variables, of an `nnx.State` or of its pure dict, by path."""
  parts = [variables]
  if isinstance(variables, dict) and set(variables) <= {
    'params',
    'batch_stats',
  }:
    parts = list(variables.values())
  return {
    joined(keys): entry.get_raw_value()
    if isinstance(entry, nnx.Variable)
    else entry
    for part in parts
    for keys, entry in nnx.to_flat_state(nnx.State(part))
  }


def _is_trained(value: Any) -> bool:
  return hasattr(value, 'dtype') and jnp.issubdtype(value.dtype, jnp.floating)
