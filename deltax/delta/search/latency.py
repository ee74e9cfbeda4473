"""Milliseconds of every layer, block and student of a network, measured here.

Each is compiled alone, in what surrounds it when deployed: the teacher's layer
with its folded bias, a student with the cached tensor added to it, a ReLU
behind either; a teacher's block is cut out of the network as it is, of a span
the convolutions are timed one by one. What lies between them is the rest of a
later frame that is deployed as a whole, with a student for every unit.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax import files, plain
from deltax.delta import cost
from deltax.delta.adapters import Network, as_network
from deltax.delta.search import operations
from deltax.delta.search.operations import Operation
from deltax.delta.spec import Selected, Spec
from deltax.delta.students.layers import Teacher, is_teacher
from deltax.delta.survey import Survey, survey
from deltax.delta.units import Unit
from deltax.layers import forms
from deltax.plain import COUNT, NUMBER, TEXT

VERSION = 2
_KIND = 'deltax latencies'
_ENTRY = {'ms': NUMBER, 'macs': NUMBER, 'bytes': NUMBER}
_FORM = {
  **dict.fromkeys(('network', 'dtype', 'backend', 'device'), TEXT),
  'shape': 4 * (COUNT,),
  'cores': COUNT,
  'frame': NUMBER,
  'rest': NUMBER,
  'teacher': {str: _ENTRY},
  'candidates': {str: {str: _ENTRY}},
}


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
    rest: of a later frame, beside its layers and students: of one in which
      every unit has the candidate in the middle of its list.
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
  rest: float
  teacher: dict[str, Entry]
  candidates: dict[str, dict[str, Entry]]

  def predicted(self, choices: Mapping[str, int]) -> float:
    """Milliseconds of a later frame.

    Whatever only feeds layers that are skipped does not run when deployed; that
    is not subtracted.

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
  net: Any,
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
  network = as_network(net)
  frame = jax.ShapeDtypeStruct(shape, dtype)
  listed = survey(network, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
  selected = spec.select(listed)
  calls = cost.units(listed, selected)
  macs, teacher_macs = cost.prices(listed, selected)
  queue = _Queue(network, listed, variables, frame)
  teacher, candidates = {}, {}
  for path, (_, students) in selected.items():
    units = [unit for unit in calls if unit.path == path]
    teacher[path] = queue.teacher(units), int(teacher_macs[path])
    candidates[path] = {
      student.name: (queue.student(units, student), int(student_macs))
      for student, student_macs in zip(students, macs[path], strict=True)
    }
  queue.operations['later'] = operations.later(
    network, variables, frame, _middle_of(spec, selected)
  )
  times = operations.measured(
    queue.operations, repeats=repeats, progress=progress
  )

  def entry(keys, macs):
    timings = [times[key] for key in keys]
    return Entry(
      sum(t.ms for t in timings), macs, sum(t.bytes for t in timings)
    )

  measured = {
    path: {name: entry(*planned) for name, planned in students.items()}
    for path, students in candidates.items()
  }
  parts = sum(_middle([*own.values()]).ms for own in measured.values())
  return Latencies(
    network=name or network.name,
    shape=tuple(shape),
    dtype=dtype,
    backend=jax.default_backend(),
    device=_device(),
    cores=forms.cores(),
    frame=times['frame'].ms,
    rest=max(0.0, times['later'].ms - parts),
    teacher={path: entry(*planned) for path, planned in teacher.items()},
    candidates=measured,
  )


def _middle_of(spec: Spec, selected: Selected) -> Spec:
  """The spec whose units have one candidate: the one in the middle."""

  def one(unit):
    _, students = selected.get(unit.path, (unit, (Teacher(),)))
    return (_middle(students),)

  return dataclasses.replace(spec, candidates=one, block_candidates=one)


def _middle(several: Sequence[Any]) -> Any:
  return several[len(several) // 2]


class _Queue:
  """Operations to be timed, each kind once."""

  def __init__(self, network: Network, listed: Survey, variables, frame):
    self.listed, self.frame = listed, frame
    self.whole = operations.whole(network, variables, frame)
    self.operations: dict[Hashable, Operation] = {'frame': self.whole}

  def teacher(self, units: Sequence[Unit]) -> list[Hashable]:
    """Keys of the operations of the teacher's own units."""
    # A span is nothing that can be called: its layers are timed one by one.
    parts = [
      part
      for unit in units
      for part in (self.listed.parts(unit) if unit.ends else [unit])
    ]
    return self._enqueued(
      parts,
      lambda unit: (unit.form, *(p.form for p in self.listed.parts(unit))),
      lambda unit: operations.alone(unit, self.whole, self.frame),
    )

  def student(self, units: Sequence[Unit], student: Any) -> list[Hashable]:
    """Keys of the operations of a candidate of some units."""
    if is_teacher(student):
      return self.teacher(units)
    return self._enqueued(
      units,
      lambda unit: (unit.form, student),
      lambda unit: operations.student(student, unit, self.frame),
    )

  def _enqueued(self, units, key, build) -> list[Hashable]:
    keys = [key(unit) for unit in units]
    for own_key, unit in zip(keys, units, strict=True):
      if own_key not in self.operations:
        self.operations[own_key] = build(unit)
    return keys


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
    path: {name: entry._asdict() for name, entry in students.items()}
    for path, students in latencies.candidates.items()
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
  problem = 'holds no latencies, or is damaged'
  content = plain.read_json(path, problem=problem)
  try:
    kind, version = content.pop('kind'), content.pop('version')
  except (KeyError, AttributeError, TypeError) as error:
    raise ValueError(f'{path} {problem}') from error
  if (kind, version) != (_KIND, VERSION):
    raise ValueError(
      f'{path} is {kind!r} of version {version!r}, expected {_KIND!r} of '
      f'version {VERSION}; measure again'
    )
  plain.check(content, _FORM, path, problem=problem)
  if not all(content['candidates'].values()):
    raise ValueError(f'{path} {problem}: a layer has no candidates')
  content['shape'] = tuple(content['shape'])
  content['teacher'] = _entries(content['teacher'])
  content['candidates'] = {
    path: _entries(students) for path, students in content['candidates'].items()
  }
  return Latencies(**{name: content[name] for name in Latencies._fields})


def _entries(rows: Mapping[str, Any]) -> dict[str, Entry]:
  return {
    name: Entry(**{field: row[field] for field in Entry._fields})
    for name, row in rows.items()
  }


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
