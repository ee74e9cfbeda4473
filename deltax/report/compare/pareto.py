"""Several runs side by side: what each scores, and what it costs for it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deltax.report import stored
from deltax.report.contents import DeltaRow, Metric, Results
from deltax.report.summary import (
  aligned,
  copied_row,
  digits,
  floor_gap,
  number,
  points,
  ratio,
)

COSTS = ('gmacs', 'ms')
EVEN = 1.15  # times as long as in another run: what a teacher may take


class Point(NamedTuple):
  """A network at one key-frame interval, or a teacher.

  Attributes:
    run: its name.
    interval: 1 for a teacher.
    score: 0 to 1, NaN where not measured.
    lost: points below the teacher on the same frames; 0 for a teacher.
    gmacs: a frame, amortised over the interval.
    ms: the same.
  """

  run: str
  interval: int
  score: float
  lost: float
  gmacs: float
  ms: float


class Comparison(NamedTuple):
  """What is drawn and told of several runs.

  Attributes:
    metric: texts about the score.
    about: what all runs have in common.
    devices: that they were timed on.
    points: teachers first, then the runs as given, smallest interval first.
    later: `{run: {'share', 'ms', 'speed', 'gap', 'predicted', 'off'}}` of a
      later frame: share of the teacher's multiply-accumulates, milliseconds,
      times faster than the teacher, times its floor; NaN where not measured.
    fronts: points that no other one beats, by cost: 'gmacs', 'ms'.
    uneven: a sentence where one teacher took other times in other runs, as on
      a machine with other work, or ''.
  """

  metric: Metric
  about: str
  devices: tuple[str, ...]
  points: tuple[Point, ...]
  later: dict[str, dict[str, float]]
  fronts: dict[str, list[Point]]
  uneven: str


def compare(written: Mapping[str, Any]) -> Comparison:
  """Puts the results of runs side by side.

  Args:
    written: by a run's name what its `results.json` holds, whichever version
      of `eval.py` wrote it.

  Returns:
    The comparison. A teacher of several runs is one point, its milliseconds
    the median over them.

  Raises:
    ValueError: there are none, something is no results of a run on video, or
      they are of different metrics, data, classes or sizes of frames.
  """
  if not written:
    raise ValueError('there are no results to compare')
  runs = {name: _read(name, given) for name, given in written.items()}
  first, *others = runs
  for name in others:
    _check_same(first, runs[first], name, runs[name])
  results = runs[first]
  height, width = results.size
  every_point = (
    *_teachers(runs.values()),
    *_rivals(runs),
    *_points(runs),
  )
  return Comparison(
    results.metric,
    f'{results.data}, {height} x {width} pixels',
    tuple(dict.fromkeys(each.device for each in runs.values())),
    every_point,
    {name: _later(own) for name, own in runs.items() if own.delta},
    {cost: front(every_point, cost) for cost in COSTS},
    _uneven(runs),
  )


def front(among: Sequence[Point], cost: str) -> list[Point]:
  """Points that no other one beats, cheapest first.

  One beats another that costs no less and scores no more, and is not its equal
  in both.

  Args:
    among: all of them; those without score or cost are passed over.
    cost: 'gmacs' or 'ms'.

  Example:
    >>> at = lambda cost, score: Point('', 3, score, 0.0, cost, cost)
    >>> known = [at(2.0, 0.5), at(1.0, 0.4), at(3.0, 0.45)]
    >>> [point.gmacs for point in front(known, 'gmacs')]
    [1.0, 2.0]
  """
  known = [
    point
    for point in among
    if math.isfinite(point.score) and math.isfinite(getattr(point, cost))
  ]
  best, kept = -math.inf, []
  for point in sorted(known, key=lambda p: (getattr(p, cost), -p.score)):
    equal = kept and point.score == best == kept[-1].score
    if point.score > best or (
      equal and getattr(point, cost) == getattr(kept[-1], cost)
    ):
      kept.append(point)
      best = point.score
  return kept


def columns(compared: Comparison) -> list[str]:
  """Names of the cells of `rows`."""
  name = compared.metric.name
  return ['interval', name, 'lost', 'GMACs', 'ms', 'on the front of']


def rows(compared: Comparison) -> list[list[str]]:
  """A name and the cells of `columns` for every point."""
  first = compared.points[0]
  macs, time = digits(first.gmacs), digits(first.ms)
  return [
    [
      point.run,
      'every frame' if point.interval == 1 else str(point.interval),
      number(points(point.score), 1),
      '' if point.interval == 1 else number(point.lost, 1),
      number(point.gmacs, macs),
      number(point.ms, time),
      ', '.join(
        text
        for cost, text in zip(COSTS, ('GMACs', 'ms'), strict=True)
        if point in compared.fronts[cost]
      ),
    ]
    for point in compared.points
  ]


LATER = {
  'share': ('share of GMACs', 2),
  'ms': ('ms', 1),
  'speed': ('times as fast', 2),
  'gap': ('times its floor', 2),
  'predicted': ('predicted ms', 1),
  'off': ('predicted / measured', 2),
}


def later_rows(compared: Comparison) -> tuple[list[str], list[list[str]]]:
  """Heads and cells of a table of later frames, a row for every run."""
  shown = [
    key
    for key in LATER
    if any(number(own[key], 1) != '-' for own in compared.later.values())
  ]
  cells = [
    [name, *(number(own[key], LATER[key][1]) for key in shown)]
    for name, own in compared.later.items()
  ]
  return ['later frame', *(LATER[key][0] for key in shown)], cells


def text(compared: Comparison) -> str:
  """Both tables for a terminal, and a remark, without a trailing newline."""
  tables = [(['', *columns(compared)], rows(compared))]
  if compared.later:
    tables.append(later_rows(compared))
  shown = [
    aligned([(name, cells) for name, *cells in [head, *body]])
    for head, body in tables
  ]
  return '\n\n'.join([*shown, *filter(None, [compared.uneven])])


def _read(name: str, written: Any) -> Results:
  """Raises a ValueError where that is no result of a run on video."""
  missing = stored.needed(Results)
  if isinstance(written, Mapping):
    missing = [key for key in missing if key not in written]
  if missing:
    raise ValueError(
      f'{name} holds no results of a run on video, it lacks '
      f'{", ".join(missing)}; eval.py writes them'
    )
  try:
    results = stored.results_from_json(written)
    if len(results.size) != 2 or any(row.interval < 1 for row in results.delta):
      raise ValueError('a size or an interval in it cannot be')
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from error
  return results


def _check_same(first: str, one: Results, name: str, other: Results) -> None:
  """Raises a ValueError where scores or costs cannot be compared."""
  for what, key in (
    ('the metric', lambda r: r.metric.name),
    ('data', lambda r: r.data),
    ('classes', lambda r: ', '.join(r.classes)),
    ('frames of', lambda r: ' x '.join(map(str, r.size))),
  ):
    if key(one) != key(other):
      raise ValueError(
        f'{first} and {name} cannot be compared: {first} has {what} '
        f'{key(one)}, {name} {key(other)}'
      )


def _number(value: float | None) -> float:
  return math.nan if value is None else value


def _teachers(runs) -> list[Point]:
  """Each teacher once, however many runs it has."""
  times = {}
  for results in runs:
    own = results.teacher
    key = own.name, _number(own.score), _number(own.gmacs)
    times.setdefault(key, []).append(_number(own.ms))
  return [
    Point(f'teacher {name}', 1, score, 0.0, gmacs, statistics.median(ms))
    for (name, score, gmacs), ms in times.items()
  ]


def _uneven(runs: Mapping[str, Results]) -> str:
  """Tells where milliseconds of runs do not go together."""
  times: dict[tuple, dict[str, float]] = {}
  for name, results in runs.items():
    teacher = results.teacher
    if teacher.ms is not None:
      times.setdefault((teacher.name, teacher.gmacs), {})[name] = teacher.ms
  for (teacher, _), ms in times.items():
    fast, slow = min(ms, key=ms.__getitem__), max(ms, key=ms.__getitem__)
    if ms[slow] > EVEN * ms[fast]:
      return (
        f'The teacher {teacher} took {ms[slow]:.1f} ms in {slow} and '
        f'{ms[fast]:.1f} ms in {fast}: milliseconds of these runs cannot be '
        'compared. Evaluate them anew, with nothing else running.'
      )
  return ''


def _point(name: str, row: DeltaRow) -> Point:
  return Point(
    name,
    row.interval,
    _number(row.score),
    points(row.teacher_score) - points(row.score),
    _number(row.gmacs),
    _number(row.ms),
  )


def _points(runs: Mapping[str, Results]) -> list[Point]:
  return [
    _point(name, row)
    for name, results in runs.items()
    for row in sorted(results.delta, key=lambda row: row.interval)
  ]


def _rivals(runs: Mapping[str, Results]) -> list[Point]:
  """Copying, and the teacher on smaller frames; of the first run that has any.

  They are the same for all runs of one teacher.
  """
  measured = [r for r in runs.values() if r.smaller is not None]
  found = []
  for results in measured[:1]:
    teacher = results.teacher
    for row in results.delta:
      if row.copied_score is not None:
        copied = copied_row(results, row)
        found.append(_point('copied', copied))
    for row in results.smaller:
      found.append(
        Point(
          f'teacher on {row.size[0]} x {row.size[1]}',
          1,
          _number(row.score),
          points(teacher.score) - points(row.score),
          _number(row.gmacs),
          _number(row.ms),
        )
      )
  return found


def _later(results: Results) -> dict[str, float]:
  ms, gmacs = results.ms, results.gmacs
  return {
    'share': ratio(gmacs.later, gmacs.key),
    'ms': _number(ms.later),
    'speed': ratio(ms.teacher, ms.later),
    'gap': floor_gap(ms, gmacs),
    'predicted': _number(ms.predicted),
    'off': ratio(ms.predicted, ms.later),
  }
