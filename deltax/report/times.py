"""Milliseconds of single frames, beside what their multiply-accumulates say."""

import html

from deltax.report.contents import Results, StreamTimes
from deltax.report.document import table
from deltax.report.summary import digits, floor, floor_gap, number, ratio

CAPTION = (
  'Single frames, as they are timed; shares are those of the teacher. At the '
  'floor a later frame would take the share of the time that it needs of the '
  'multiply-accumulates.'
)


def rows(results: Results) -> list[list[str]]:
  """Cells of a table of frames: a name, GMACs, share, ms, share.

  Args:
    results: of a run, with intervals.
  """
  ms, gmacs = results.ms, results.gmacs
  macs, time = digits(gmacs.key), digits(ms.teacher)

  def row(name: str, own: float | None, took: float | None) -> list[str]:
    return [
      name,
      number(own, macs),
      number(ratio(own, gmacs.key), 2),
      number(took, time),
      number(ratio(took, ms.teacher), 2),
    ]

  frames = [
    row('teacher', results.teacher.gmacs, ms.teacher),
    row('key frame', gmacs.key, ms.key),
    row('later frame', gmacs.later, ms.later),
  ]
  if ms.predicted is not None:
    frames.append(row('later frame, predicted', None, ms.predicted))
  return [*frames, row('later frame, floor', None, floor(ms, gmacs))]


def sentences(results: Results) -> str:
  """How far a later frame is from its floor and from what was predicted."""
  ms = results.ms
  gap, off = floor_gap(ms, results.gmacs), ratio(ms.predicted, ms.later)
  said = []
  if number(gap, 2) != number(None, 2):
    said.append(
      f'A later frame takes {number(gap, 2)} times its floor: the gap is what '
      'multiply-accumulates do not tell of time.'
    )
  if number(off, 2) != number(None, 2):
    away = number(100 * abs(off - 1), 0)
    side = 'above' if off > 1 else 'below'
    said.append(
      f'The time predicted from its layers is {away} per cent {side} the '
      'measured one.'
    )
  return ' '.join(said)


def section_of(results: Results) -> str:
  """The table and the sentences as HTML; nothing without intervals."""
  if not results.delta:
    return ''
  heads = ['', 'GMACs', 'share of GMACs', 'ms', 'share of ms']
  body = [[html.escape(name), *cells] for name, *cells in rows(results)]
  return (
    f'<p>{sentences(results)}</p>{table(CAPTION, heads, body)}'
    f'{_streams(results.streams)}'
  )


def _streams(streams: StreamTimes | None) -> str:
  """A table of the frame times of parallel streams."""
  if streams is None:
    return ''
  caption = (
    f'Milliseconds until all of {streams.count} parallel streams have their '
    f'next frame, at interval {streams.interval}: with the key frames of all '
    'in the same step, and spread over the interval.'
  )
  heads = ['key frames', 'median', '95%', '99%', 'mean']
  body = [
    [name, *(number(value, 1) for value in times)]
    for name, times in (
      ('at once', streams.at_once),
      ('staggered', streams.staggered),
    )
  ]
  return table(caption, heads, body)
