"""The results of a run, as one sentence and as a table for the terminal."""

import math

from deltax.report.contents import (
  DeltaRow,
  Gmacs,
  Milliseconds,
  Results,
  TeacherRow,
)

MISSING = '-'


def number(value: float | None, digits: int) -> str:
  """A rounded number, never -0; a dash for None, NaN and infinity.

  >>> number(-1.26, 1), number(-0.01, 1), number(float('nan'), 1)
  ('-1.3', '0.0', '-')
  """
  if value is None or not math.isfinite(value):
    return MISSING
  return f'{round(value, digits) + 0.0:.{digits}f}'


def points(share: float | None) -> float:
  """A share, 0 to 1, in per cent; NaN if there is none."""
  return math.nan if share is None else 100 * share


def ratio(a: float | None, b: float | None) -> float:
  """`a / b`, NaN if either is missing or b is 0."""
  return math.nan if a is None or not b else a / b


def floor_gap(ms: Milliseconds, gmacs: Gmacs) -> float:
  """Time of a later frame in times of what its multiply-accumulates would take.

  That floor is the teacher's time by the share of the teacher's
  multiply-accumulates that a later frame needs; 1 is the floor itself.

  Args:
    ms: of single frames.
    gmacs: of single frames.

  Returns:
    The ratio, NaN where something was not measured or nothing is needed.

  Example:
    >>> floor_gap(Milliseconds(40.0, 44.0, 20.0), Gmacs(key=4.0, later=1.0))
    2.0
  """
  return ratio(ms.later, floor(ms, gmacs))


def floor(ms: Milliseconds, gmacs: Gmacs) -> float:
  """Milliseconds of a later frame if time were multiply-accumulates."""
  share = ratio(gmacs.later, gmacs.key)
  return math.nan if ms.teacher is None else ms.teacher * share


def sentence(text: str) -> str:
  """`text` with a capital letter, as it begins a sentence."""
  return text[:1].upper() + text[1:]


def headline(results: Results) -> str:
  """One sentence on cost and score against the teacher, at the first interval.

  Args:
    results: of a run; without intervals, the sentence is on the teacher.
  """
  teacher, ms = results.teacher, results.ms
  metric = results.metric.text
  if not results.delta:
    score = number(points(teacher.score), 1)
    return f'{sentence(metric)} of {score} on every frame.'
  if any(row.copied_score is not None for row in results.delta):
    return _beside_copying(results)
  delta = results.delta[0]
  claims = _claim_macs(delta.share), _claim_score(_lost(delta), metric)
  needs = ' and '.join(filter(None, claims))
  parts = needs and f'delta {needs}', _claim_speed(ms.teacher, ms.later)
  said = '; '.join(filter(None, parts)) or 'nothing was measured'
  return f'With a key frame every {delta.interval} frames, {said}.'


def _beside_copying(results: Results) -> str:
  """Milliseconds and score at the first interval, and what copying has."""
  row = results.delta[0]
  took, whole = row.ms, results.teacher.ms
  places = digits(whole)
  said = [f'With a key frame every {row.interval} frames']
  faster = number(ratio(whole, took), 1)
  if faster != MISSING:
    said.append(
      f'a frame takes {number(took, places)} ms where the network takes '
      f'{number(whole, places)} ({faster} times as fast)'
    )
  score = number(points(row.score), 1)
  if row.teacher_score < 1:  # it is not the measure of itself
    score += f' (the network: {number(points(row.teacher_score), 1)})'
  said.append(
    f"{results.metric.text} is {score}, where copying the key frame's output "
    f'has {number(points(row.copied_score), 1)}'
  )
  return f'{", ".join(said[:2])}{"; " if said[2:] else ""}{"".join(said[2:])}.'


def _claim_macs(share: float | None) -> str:
  if number(share, 2) == MISSING:
    return ''
  claim = f"needs {share:.2f} of the teacher's multiply-accumulates"
  return claim + (' (more, not fewer)' if round(share, 2) > 1 else '')


def _claim_score(lost: float, metric: str) -> str:
  size = number(abs(lost), 1)
  if size == MISSING:
    return ''
  if size == '0.0':
    return f'keeps its {metric}'
  return f'{"loses" if lost > 0 else "gains"} {size} points of {metric}'


def _claim_speed(teacher: float | None, later: float | None) -> str:
  speed = number(ratio(teacher, later), 1)
  if speed == MISSING:
    return ''
  if speed == '1.0':
    return 'a later frame takes as long as the teacher'
  if teacher > later:
    return f'a later frame runs {speed} times as fast as the teacher'
  return (
    f'a later frame takes {later / teacher:.1f} times as long as the teacher'
  )


def _lost(delta: DeltaRow) -> float:
  """Points of the score below the teacher on the same frames."""
  return points(delta.teacher_score) - points(delta.score)


def digits(value: float | None) -> int:
  """Decimals that show three significant digits of a column's first value.

  >>> digits(3.2), digits(0.0123), digits(None)
  (2, 4, 1)
  """
  if not value or not math.isfinite(value):
    return 1
  return max(0, 2 - math.floor(math.log10(abs(value))))


def columns(results: Results) -> list[str]:
  """Names of the cells of `rows`."""
  others = results.teacher.others
  return [results.metric.name, 'lost', 'GMACs', 'share', 'ms', *others]


def rows(results: Results) -> list[tuple[str, list[str]]]:
  """A name and the cells of `columns` for the teacher and every interval."""
  teacher = results.teacher
  macs, ms = digits(teacher.gmacs), digits(teacher.ms)

  def cells(
    row: TeacherRow | DeltaRow, lost: str, share: float | None
  ) -> list[str]:
    return [
      number(points(row.score), 1),
      lost,
      number(row.gmacs, macs),
      number(share, 2),
      number(row.ms, ms),
      *(number(points(other), 1) for other in row.others.values()),
    ]

  lines = [('teacher, every frame', cells(teacher, '', 1.0))]
  for delta in results.delta:
    lost = number(_lost(delta), 1)
    name = f'delta, interval {delta.interval}'
    lines.append((name, cells(delta, lost, delta.share)))
    if delta.copied_score is not None:
      copied = copied_row(results, delta)
      lost = number(_lost(copied), 1)
      name = f'copied, interval {delta.interval}'
      lines.append((name, cells(copied, lost, copied.share)))
  for row in results.smaller or ():
    name = f'network on {row.size[0]} x {row.size[1]}'
    lost = number(points(teacher.score) - points(row.score), 1)
    other = DeltaRow(
      *(1, row.score, teacher.score, row.gmacs, row.ms),
      others=dict.fromkeys(teacher.others),
    )
    lines.append((name, cells(other, lost, ratio(row.gmacs, teacher.gmacs))))
  return lines


def copied_row(results: Results, delta: DeltaRow) -> DeltaRow:
  """What it is to copy the key frame's output at the interval of a row."""
  teacher, share = results.teacher, 1 / delta.interval
  return DeltaRow(
    interval=delta.interval,
    score=delta.copied_score,
    teacher_score=delta.teacher_score,
    gmacs=None if teacher.gmacs is None else share * teacher.gmacs,
    ms=None if teacher.ms is None else share * teacher.ms,
    share=share,
    others=dict.fromkeys(delta.others),
  )


def table(results: Results) -> str:
  """The teacher against delta at every interval, as text for a terminal.

  Args:
    results: of a run.

  Returns:
    Lines without a trailing newline. The scores are in per cent, `lost` in
    points against the teacher on the same frames, GMACs and ms per frame,
    amortised over an interval; `share` is that of the teacher's GMACs.
  """
  return aligned([('', columns(results)), *rows(results)])


def details(results: Results) -> str:
  """Classes, distances to the key frame and times, as text for a terminal.

  Args:
    results: of a run.

  Returns:
    The score of every class in per cent, teacher and delta at every interval;
    below, that of all classes at every distance to the key frame, of the
    teacher on the same frames and of delta; last, milliseconds and GMACs of a
    single frame.
  """
  runs = [results.teacher, *results.delta]
  heads = [f'interval {row.interval}' for row in results.delta]
  metric = results.metric
  classes = [(metric.of_class, ['teacher', *heads])] + [
    (name, [number(points(run.by_class[k]), 1) for run in runs])
    for k, name in enumerate(results.classes)
  ]
  longest = max((row.interval for row in results.delta), default=0)
  head = f'{metric.text} at distance'
  shown = [d for d in range(longest) if d < 10 or d % 5 == 4]
  distances = [(head, [str(d) for d in shown])]
  for row in results.delta:
    for name, scores in (
      ('teacher', row.teacher_per_distance),
      ('delta', row.per_distance),
      *([('copied', copied)] if (copied := row.copied_per_distance) else []),
    ):
      cells = [
        number(points(scores[d]), 1) if d < len(scores) else '' for d in shown
      ]
      distances.append((f'interval {row.interval}, {name}', cells))
  ms, gmacs = results.ms, results.gmacs
  frames = [('one frame', ['ms', 'GMACs'])] + [
    (name, [number(took, 1), number(macs, 3)])
    for name, took, macs in (
      ('teacher', ms.teacher, results.teacher.gmacs),
      ('key', ms.key, gmacs.key),
      ('later', ms.later, gmacs.later),
    )
    if took is not None
  ]
  tables = [classes] if results.classes else []
  tables += [distances, frames] if longest else [frames]
  return '\n\n'.join(aligned(table) for table in tables)


def aligned(lines: list[tuple[str, list[str]]]) -> str:
  """Lines of a name and cells, names to the left and cells to the right."""
  first = max(len(name) for name, _ in lines)
  columns = zip(*(cells for _, cells in lines), strict=True)
  widths = [max(map(len, column)) for column in columns]
  return '\n'.join(
    '  '.join([name.ljust(first), *map(str.rjust, cells, widths)])
    for name, cells in lines
  )
