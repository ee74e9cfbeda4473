"""What a retrieval evaluation won, as one sentence and tables for a terminal.

`results` is everywhere what `retrieval_page.write_retrieval_page` takes.
"""

import math
from collections.abc import Sequence

from deltax.report.retrieval.contents import RetrievalResults, Share
from deltax.report.summary import MISSING, aligned, number, points, ratio

KEPT = 0.98  # of the fine student's score; what the headline asks for


def headline(results: RetrievalResults) -> str:
  """One sentence: the smallest share of pairs that keeps the fine score."""
  metric = results.metric
  for name, rows in results.trade_off.items():
    full = points(rows[-1].scores[metric])
    for row in rows:
      if points(row.scores[metric]) >= KEPT * full:
        return _claim(metric, name, row, rows[-1])
  known = [
    (points(student.scores[metric]), student.name)
    for student in results.students
    if number(student.scores[metric], 1) != MISSING
  ]
  if not known:
    return 'Nothing was measured.'
  score, name = max(known)
  return f'{metric} of {number(score, 1)} with {name}.'


def _claim(metric: str, name: str, row: Share, whole: Share) -> str:
  score, full = (points(part.scores[metric]) for part in (row, whole))
  claim = (
    f'Re-ranking {percent(row.share)} of the pairs keeps '
    f'{number(points(ratio(score, full)), 1)}% of the {metric} of re-ranking '
    f'them all, {number(score, 1)} of {number(full, 1)}'
  )
  time = number(ratio(row.seconds, whole.seconds), 2)
  spent = '' if time == MISSING else f', in {time} of the time'
  return f'{claim}{spent} ({name}).'


def percent(share: float) -> str:
  """A share without needless decimals.

  >>> percent(0.05), percent(0.125)
  ('5%', '12.5%')
  """
  return f'{100 * share:.4g}%'


def size(count: float | None) -> str:
  """A number of bytes.

  >>> size(4100), size(2_064_384), size(None)
  ('4.00 KB', '1.97 MB', '-')
  """
  if count is None or not math.isfinite(count):
    return MISSING
  if count < 1000:
    return f'{count:.0f} B'
  units = ('KB', 'MB', 'GB', 'TB')
  place = min(int(math.log(count / 1000, 1024)), len(units) - 1)
  return f'{_three(count / 1024 ** (place + 1))} {units[place]}'


def duration(seconds: float | None) -> str:
  """A time.

  >>> duration(8.727), duration(0.00009), duration(0.0554)
  ('8.73 s', '0.09 ms', '55.4 ms')
  """
  if seconds is None or not math.isfinite(seconds):
    return MISSING
  if seconds >= 1:
    return f'{_three(seconds)} s'
  return f'{_three(1000 * seconds)} ms'


def _three(value: float) -> str:
  """At most two decimals, and about three digits."""
  return f'{value:.{2 if value < 10 else 1 if value < 100 else 0}f}'


def columns(results: RetrievalResults) -> list[str]:
  """Names of the cells of `rows`."""
  scores = dict.fromkeys(
    name for student in results.students for name in student.scores
  )
  return [*scores, 'stored a video', 'time a query']


def rows(results: RetrievalResults) -> list[tuple[str, list[str]]]:
  """A name and the cells of `columns` for each student."""
  *scores, _, _ = columns(results)
  return [
    (
      student.name,
      [
        *(number(points(student.scores.get(name)), 1) for name in scores),
        size(student.bytes),
        duration(student.seconds),
      ],
    )
    for student in results.students
  ]


def steps(results: RetrievalResults) -> list[tuple[str, list[str]]]:
  """Names of columns first, then a line for each share that is re-ranked."""
  metric, curves = results.metric, results.trade_off
  shares = dict.fromkeys(r.share for rows in curves.values() for r in rows)
  heads = [cell for name in curves for cell in (f'{name}, {metric}', 'a query')]
  lines = [('re-ranked', heads)]
  for share in shares:
    cells: list[str] = []
    for rows in curves.values():
      row = next((row for row in rows if row.share == share), None)
      cells += (
        [number(points(row.scores[metric]), 1), duration(row.seconds)]
        if row
        else [MISSING, MISSING]
      )
    lines.append((percent(share), cells))
  return lines


def table(results: RetrievalResults) -> str:
  """Scores in per cent, storage and time of each student, for a terminal."""
  return aligned([('', columns(results)), *rows(results)])


def trade_off(results: RetrievalResults) -> str:
  """The score in per cent and the time for each share, for a terminal."""
  return aligned(steps(results)) if results.trade_off else ''


def worst(results: RetrievalResults, count: int) -> Sequence[tuple[str, float]]:
  """The queries with the lowest scores, lowest first; those that have any."""
  metric = results.metric
  known = [
    (query, scores[metric])
    for query, scores in results.by_query.items()
    if number(scores[metric], 3) != MISSING
  ]
  return sorted(known, key=lambda row: row[1])[:count]


def text(results: RetrievalResults) -> str:
  """Headline, students, trade-off and what is missing, for a terminal."""
  parts = [headline(results), table(results), trade_off(results)]
  if results.missing:
    parts.append('Queries without features: ' + ', '.join(results.missing))
  if results.failed:
    parts.append(f'{len(results.failed)} videos could not be read.')
  return '\n\n'.join(part for part in parts if part)
