"""Results on disk: named tuples as plain values, and back.

`results.json` of a run keeps its form: what earlier versions wrote can be read.
"""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from deltax import plain
from deltax.report.contents import (
  DeltaRow,
  FrameTimes,
  Gmacs,
  Measured,
  Metric,
  Milliseconds,
  Results,
  Smaller,
  StreamTimes,
  TeacherRow,
)

# Names on disk that are no names of Python.
_WRITTEN = {'at_once': 'at once'}

# What is on disk in the place of a field, by its type; NaN was not measured.
_MEASURED = plain.Form(
  'a number or null',
  lambda value: value is None or type(value) in (int, float),
)
_COUNT_OR_NONE = plain.Form(
  'a whole number or null', lambda x: x is None or plain.is_count(x)
)
_FORMS = {
  str: plain.TEXT,
  int: plain.COUNT,
  int | None: _COUNT_OR_NONE,
  float: _MEASURED,
  Measured: _MEASURED,
  Sequence[str]: [plain.TEXT],
  Sequence[int]: [plain.COUNT],
  Sequence[Sequence[int]]: [[plain.COUNT]],
  Sequence[Measured]: [_MEASURED],
  Sequence[Measured] | None: [_MEASURED],
  Mapping[str, Measured]: {str: _MEASURED},
}


def to_json(contents: Any) -> Any:
  """Plain values of named tuples, as `results.json` holds them.

  Args:
    contents: named tuples, mappings and sequences of numbers and texts. What is
      None by default and was not given is left out.

  Example:
    >>> to_json(Milliseconds(40.0, 44.0, 20.0))
    {'teacher': 40.0, 'key': 44.0, 'later': 20.0}
  """
  if isinstance(contents, tuple) and hasattr(contents, '_asdict'):
    defaults = contents._field_defaults
    return {
      _WRITTEN.get(name, name): to_json(value)
      for name, value in contents._asdict().items()
      if not (value is None and name in defaults)
    }
  if isinstance(contents, Mapping):
    return {name: to_json(value) for name, value in contents.items()}
  if isinstance(contents, (list, tuple)):
    return [to_json(value) for value in contents]
  return contents


def results_from_json(given: Mapping[str, Any]) -> Results:
  """The results that `to_json` wrote, or an earlier version.

  Args:
    given: what `results.json` of a run on video holds.

  Raises:
    ValueError: names what is missing, or of another type.
  """
  results = fields_of(Results, 'results', given)
  for name, kind in (
    ('metric', Metric),
    ('teacher', TeacherRow),
    ('ms', Milliseconds),
    ('gmacs', Gmacs),
  ):
    row = fields_of(kind, f"results['{name}']", results[name])
    results[name] = kind(**row)
  what = "a row of results['delta']"
  if not isinstance(results['delta'], list):
    raise ValueError("results['delta'] is no list of rows")
  results['delta'] = [
    DeltaRow(**fields_of(DeltaRow, what, row)) for row in results['delta']
  ]
  if results.get('smaller') is not None:
    what = "a row of results['smaller']"
    results['smaller'] = [
      Smaller(**fields_of(Smaller, what, row)) for row in results['smaller']
    ]
  if results.get('streams') is not None:
    streams = fields_of(StreamTimes, "results['streams']", results['streams'])
    for name in ('at_once', 'staggered'):
      row = fields_of(
        FrameTimes, f"results['streams']['{name}']", streams[name]
      )
      streams[name] = FrameTimes(**row)
    results['streams'] = StreamTimes(**streams)
  return Results(**results)


def needed(kind: type) -> list[str]:
  """Names on disk of the fields that a named tuple cannot do without."""
  return [
    _WRITTEN.get(name, name)
    for name in kind._fields
    if name not in kind._field_defaults
  ]


def fields_of(
  kind: type, what: str, given: Mapping[str, Any]
) -> dict[str, Any]:
  """The values that a mapping has for the fields of a named tuple.

  Raises:
    ValueError: names the fields that it lacks, or what is of another type, and
      what it is.
  """
  if not isinstance(given, Mapping):
    raise ValueError(f'{what} is no object')
  missing = [name for name in needed(kind) if name not in given]
  if missing:
    raise ValueError(f'{what} lacks {missing}; it needs {needed(kind)}')
  fields = {
    name: given[_WRITTEN.get(name, name)]
    for name in kind._fields
    if _WRITTEN.get(name, name) in given
  }
  types = typing.get_type_hints(kind)
  forms = {n: _FORMS[types[n]] for n in fields if types[n] in _FORMS}
  plain.check(fields, forms, what)
  return fields
