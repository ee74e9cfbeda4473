"""Milliseconds of every layer, block and student of a network, measured here.

Each is compiled alone, in what surrounds it when deployed: the teacher's layer
with its folded bias, a student with the cached tensor added to it, a ReLU
behind either; a teacher's block is cut out of the network as it is, of a span
the convolutions are timed one by one. Their sum leaves out what no student
touches, which is measured as the rest of a whole frame.
"""

import json
import os
import pathlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax import files
from deltax.delta import cost
from deltax.delta.adapters.linen import Block, is_span
from deltax.delta.search import operations
from deltax.delta.search.operations import Operation
from deltax.delta.spec import Selected, Spec
from deltax.delta.students.layers import Teacher
from deltax.delta.survey import survey

VERSION = 1
_KIND = 'deltax latencies'


class Entry(NamedTuple):
  """What a layer, a block or a student takes of a frame, all calls together.

  Attributes:
    ms: milliseconds.
    macs: multiply-accumulates.
    bytes: of the arguments and the result: what must be moved at least.
  """

  ms: float
  macs: int
  bytes: int


class Latencies(NamedTuple):
  """Measured milliseconds of a network's teacher and of its candidates.

  Attributes:
    network: its name.
    shape: (B, H, W, C) of the frames.
    dtype: of frames and parameters.
    backend: of jax: 'cpu', 'gpu' or 'tpu'.
    device: what the device calls itself.
    cores: processor cores that the process may use.
    frame: milliseconds of the whole teacher on a frame, batch norm folded.
    teacher: of its own layers and blocks, by path.
    candidates: of each by name, in the order of the spec, by path.
  """

  network: str
  shape: tuple[int, ...]
  dtype: str
  backend: str
  device: str
  cores: int
  frame: float
  teacher: dict[str, Entry]
  candidates: dict[str, dict[str, Entry]]

  @property
  def rest(self) -> float:
    """Milliseconds of a frame that no student touches."""
    return max(0.0, self.frame - sum(own.ms for own in self.teacher.values()))

  def predicted(self, choices: Mapping[str, int]) -> float:
    """Milliseconds of a later frame.

    Whatever only feeds layers that are skipped does not run when deployed; that
    is not taken off.

    Args:
      choices: index of the candidate by path, as `Delta.choose` gives them.

    Raises:
      ValueError: if they are not of the layers that were measured.
    """
    _check_paths(self, choices)
    lacking = [path for path in self.candidates if path not in choices]
    if lacking:
      raise ValueError(f'nothing is chosen for {lacking[0]!r}')
    return self.rest + sum(
      list(self.candidates[path].values())[index].ms
      for path, index in choices.items()
    )


def measure(
  net: nn.Module,
  variables: Any,
  spec: Spec,
  shape: tuple[int, ...],
  *,
  name: str = '',
  dtype: str = 'float32',
  repeats: int = 20,
  progress: Callable[[int, int], None] | None = None,
) -> Latencies:
  """Measures the candidates of a network on jax's default device.

  Layers of equal shapes are measured once. Everything is timed in turns.

  Args:
    net: the network.
    variables: of the network; only shapes matter.
    spec: which layers and blocks, which candidates.
    shape: (B, H, W, C) of the frames.
    name: of the network; its class when empty.
    dtype: of frames and parameters.
    repeats: turns; the median over them is taken.
    progress: told how many of how many operations are compiled.

  Returns:
    The latencies.

  Raises:
    ValueError: from `Spec.select`, or by a candidate that a layer cannot have.
  """
  frame = jax.ShapeDtypeStruct(shape, dtype)
  found = survey(net, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
  network = operations.whole(net, variables, frame)
  queue: dict[Hashable, Operation] = {'frame': network}

  def enqueue(calls, key, build):
    """Keys of the operations of some calls, each of which is queued once."""
    keys = [key(call) for call in calls]
    for own, call in zip(keys, calls, strict=True):
      if own not in queue:
        queue[own] = build(call)
    return keys

  def teacher(calls):
    # A span is nothing that can be called: its layers are timed one by one.
    return enqueue(
      [
        part
        for call in calls
        for part in (cost.parts(found, call) if is_span(call) else [call])
      ],
      lambda call: (_form(call), *map(_form, cost.parts(found, call))),
      lambda call: _teacher(call, network, frame),
    )

  def student(calls, candidate):
    if isinstance(candidate, Teacher):
      return teacher(calls)
    return enqueue(
      calls,
      lambda call: (_form(call), candidate),
      lambda call: _student(candidate, call, frame),
    )

  selected = spec.select(found)
  units = cost.units(found, selected)
  costs, whole = cost.prices(found, selected)
  plan = {}  # by path: keys and multiply-accumulates of teacher and candidates
  for path, (_, candidates) in selected.items():
    calls = [unit for unit in units if unit.path == path]
    own = teacher(calls), int(whole[path])
    plan[path] = (
      own,
      {
        c.name: (student(calls, c), int(macs))
        for c, macs in zip(candidates, costs[path], strict=True)
      },
    )
  times = operations.measured(queue, repeats=repeats, progress=progress)

  def entry(keys, macs):
    parts = [times[key] for key in keys]
    return Entry(sum(t.ms for t in parts), macs, sum(t.bytes for t in parts))

  return Latencies(
    network=name or type(net).__name__,
    shape=tuple(shape),
    dtype=dtype,
    backend=jax.default_backend(),
    device=_device(),
    cores=_cores(),
    frame=times['frame'].ms,
    teacher={path: entry(*own) for path, (own, _) in plan.items()},
    candidates={
      path: {name: entry(*each) for name, each in others.items()}
      for path, (_, others) in plan.items()
    },
  )


def table(
  latencies: Latencies, selected: Selected
) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
  """Milliseconds in the form of `deltax.delta.cost.prices`.

  Args:
    latencies: of the network, at whatever size it will run.
    selected: `Spec.select` of the network's survey.

  Returns:
    Milliseconds of the candidates, in the order of the spec, and of the
    teacher's own layer or block, both by path.

  Raises:
    ValueError: if a layer, a block or a candidate was not measured.
  """
  _check_paths(latencies, selected)
  costs, teacher = {}, {}
  for path, (_, candidates) in selected.items():
    known = latencies.candidates[path]
    missing = [c.name for c in candidates if c.name not in known]
    if missing:
      raise ValueError(
        f'no candidate {missing[0]!r} of {path!r} in {_described(latencies)}; '
        f'there are {", ".join(known)}'
      )
    costs[path] = tuple(known[c.name].ms for c in candidates)
    teacher[path] = latencies.teacher[path].ms
  return costs, teacher


def write(path: str | os.PathLike, latencies: Latencies) -> None:
  """Writes latencies as JSON, beside the file and renamed."""
  content = {'kind': _KIND, 'version': VERSION, **latencies._asdict()}
  content['teacher'] = {k: e._asdict() for k, e in latencies.teacher.items()}
  content['candidates'] = {
    path: {name: entry._asdict() for name, entry in own.items()}
    for path, own in latencies.candidates.items()
  }
  files.write_json(path, content)


def read(path: str | os.PathLike) -> Latencies:
  """Reads what `write` wrote.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is damaged, of another kind or of another version.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(
      f'no latencies at {path}; `deltax profile` measures and writes them'
    )
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
    kind, version = content.pop('kind'), content.pop('version')
  except (ValueError, KeyError, AttributeError, TypeError) as error:
    raise ValueError(f'{path} holds no latencies, or is damaged') from error
  if (kind, version) != (_KIND, VERSION):
    raise ValueError(
      f'{path} is {kind!r} of version {version!r}, expected {_KIND!r} of '
      f'version {VERSION}; measure again'
    )
  try:
    content['shape'] = tuple(content['shape'])
    content['teacher'] = {k: Entry(**e) for k, e in content['teacher'].items()}
    content['candidates'] = {
      path: {name: Entry(**entry) for name, entry in own.items()}
      for path, own in content['candidates'].items()
    }
    return Latencies(**content)
  except (KeyError, AttributeError, TypeError) as error:
    raise ValueError(f'{path} holds no latencies, or is damaged') from error


def _teacher(unit, network: Operation, frame) -> Operation:
  if isinstance(unit, Block):
    return operations.block_alone(unit, network)
  return operations.layer_alone(unit, frame)


def _student(candidate, unit, frame) -> Operation:
  if isinstance(unit, Block):
    return operations.block_student(candidate, unit, frame)
  return operations.layer_student(candidate, unit, frame)


def _form(unit):
  """What a layer or a block is, wherever it stands."""
  if isinstance(unit, Block):
    return unit._replace(path='', call=0, layers=())
  return unit._replace(path='', call=0, bias=False)


def _check_paths(latencies, paths):
  missing = [path for path in paths if path not in latencies.candidates]
  if missing:
    raise ValueError(
      f'no layer or block {missing[0]!r} in {_described(latencies)}, which has '
      f'{len(latencies.candidates)} of them'
    )


def _described(latencies):
  size = 'x'.join(map(str, latencies.shape))
  return f'the latencies of {latencies.network} measured for frames of {size}'


def _device():
  """What the device calls itself; for a processor its model, where known."""
  kind = jax.devices()[0].device_kind
  listed = pathlib.Path('/proc/cpuinfo')
  if kind == 'cpu' and listed.is_file():
    for line in listed.read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return kind


def _cores():
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
