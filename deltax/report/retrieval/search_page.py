"""What a search found, as one self-contained HTML page with pictures."""

import base64
import html
import os
from collections.abc import Sequence

from deltax.report import document
from deltax.report.retrieval.search_contents import (
  ShownMatch,
  ShownQuery,
  ShownSegment,
)
from deltax.report.style import CANDIDATES, colour
from deltax.report.summary import number
from deltax.report.tables import swatch

WIDTH, HEIGHT = 1000, 74  # of the timelines, in units of their view box
LINES = (16, 58)  # heights at which the query's and the target's line lie

STYLE = """
.match { border-top: 1px solid var(--rule); padding-top: 1.5rem;
  margin-top: 2rem; break-inside: avoid; }
.match h2 { display: flex; gap: .75rem; align-items: baseline; margin: 0;
  overflow-wrap: anywhere; }
.match h2 .score { margin-left: auto; font-variant-numeric: tabular-nums; }
.match h2 .rank { color: var(--muted); font-weight: 400; }
.meter { height: 4px; background: var(--rule); border-radius: 2px;
  margin: .5rem 0; }
.meter > div { height: 100%; background: var(--delta); border-radius: 2px; }
.path { overflow-wrap: anywhere; max-width: none; }
.lines { display: grid; grid-template-columns: 4.5rem 1fr 4.5rem;
  gap: 0 3px; margin-top: .75rem; font-size: .8rem; color: var(--muted); }
.lines svg { grid-row: 1 / 3; grid-column: 2; width: 100%; height: 4.6rem; }
.lines span { align-self: center; }
.lines .end { grid-column: 3; text-align: right;
  font-variant-numeric: tabular-nums; }
.pairs { font-variant-numeric: tabular-nums; margin-top: .75rem; }
.pairs img { border-radius: 2px; }
.pairs .mark { height: 4px; border-radius: 2px; }
"""


def write_search_page(
  path: str | os.PathLike,
  *,
  query: ShownQuery,
  matches: Sequence[ShownMatch],
  notes: Sequence[str] = (),
) -> None:
  """Writes the page of one query.

  Args:
    path: the HTML file, written beside itself and renamed.
    query: what was searched for.
    matches: best first.
    notes: sentences on how the search was done.
  """
  title = f'Matches of {query.name}'
  parts = [
    _head(title, query, matches),
    *(_match(i, query, match) for i, match in enumerate(matches, 1)),
    document.section('How it was searched', document.notes(notes)),
  ]
  document.write(path, title, parts, style=STYLE)


def clock(seconds: float) -> str:
  """A moment or a length of time.

  >>> clock(7.25), clock(83), clock(3723.5)
  ('0:07.2', '1:23.0', '1:02:03.5')
  """
  tenths = round(10 * seconds)
  minutes, tenths = divmod(tenths, 600)
  hours, minutes = divmod(minutes, 60)
  whole = f'{hours}:{minutes:02d}' if hours else f'{minutes}'
  return f'{whole}:{tenths // 10:02d}.{tenths % 10}'


def _head(title, query, matches) -> str:
  best = (
    f'Best of {len(matches)}: {matches[0].name}, with a score of '
    f'{number(matches[0].score, 2)}.'
    if matches
    else 'Nothing was found.'
  )
  cells = []
  for second, picture in query.pictures.items():
    cells.append(
      f'<div>{_picture(picture, f"query at {clock(second)}")}{clock(second)}'
      '</div>'
    )
  return (
    f'<header><h1>{html.escape(title)}</h1>'
    f'<p class="lead">{html.escape(best)}</p>'
    f'<p class="about">The query, {clock(query.duration)} long:</p>'
    f'{_grid(cells, len(cells))}</header>'
  )


def _match(rank: int, query: ShownQuery, match: ShownMatch) -> str:
  score = min(max(match.score, 0), 1)
  how = (
    f'compared frame by frame; the coarse score is {number(match.coarse, 2)}'
    if match.reranked
    else 'by the coarse score alone, its frames were not compared'
  )
  return (
    f'<section class="match"><h2><span class="rank">{rank}</span>'
    f'<span>{html.escape(match.name)}</span>'
    f'<span class="score">{number(match.score, 3)}</span></h2>'
    f'<div class="meter"><div style="width:{100 * score:.1f}%"></div></div>'
    f'<p class="about path">{html.escape(match.path)}<br>{how}</p>'
    f'{compared(query, match, ("query", "match"))}</section>'
  )


def compared(
  query: ShownQuery, match: ShownMatch, sides: tuple[str, str]
) -> str:
  """Two videos: the parts that match as lines, and pictures side by side.

  Args:
    query: the one video.
    match: the other.
    sides: what the two are called.
  """
  lines = _timelines(query, match, sides)
  return f'{lines}{_segments(match, sides[0])}{_pairs(match, sides)}'


def _timelines(query: ShownQuery, match: ShownMatch, sides) -> str:
  """Both videos as lines, and the parts of them that belong together."""
  lengths = [max(video.duration, 1e-6) for video in (query, match)]
  top, bottom = LINES
  marks = ''.join(
    f'<path d="M0 {y}H{WIDTH}" stroke="{colour("rule")}" stroke-width="10"/>'
    for y in LINES
  )
  for i, segment in enumerate(match.segments):
    (a, b), (c, d) = (
      [WIDTH * min(second / length, 1) for second in stretch]
      for stretch, length in zip(
        (segment.query, segment.target), lengths, strict=True
      )
    )
    left, right = (d, c) if segment.backward else (c, d)
    fill = _segment_colour(i)
    marks += (
      f'<g fill="{fill}"><title>{_told(segment, sides[0])}</title>'
      f'<path opacity=".25" d="M{a:.1f} {top}H{b:.1f}L{right:.1f} {bottom}'
      f'H{left:.1f}Z"/><path d="{_bar(a, b, top)}{_bar(c, d, bottom)}"/></g>'
    )
  return (
    f'<div class="lines"><span>{sides[0]}</span>'
    f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
    'role="img" aria-label="matching parts of '
    f'{html.escape(match.name)}">{marks}</svg>'
    f'<span class="end">{clock(query.duration)}</span><span>{sides[1]}</span>'
    f'<span class="end">{clock(match.duration)}</span></div>'
  )


def _told(segment: ShownSegment, first: str) -> str:
  (a, b), (c, d) = segment.query, segment.target
  return (
    f'{clock(a)} to {clock(b)} of the {first} is {clock(c)} to {clock(d)}'
    f'{" in reverse" * segment.backward}, '
    f'likeness {number(segment.score, 2)}'
  )


def _segments(match: ShownMatch, first: str) -> str:
  items = ''.join(
    f'<li>{swatch(_segment_colour(i))}{_told(segment, first)}</li>'
    for i, segment in enumerate(match.segments)
  )
  return items and f'<ul class="legend">{items}</ul>'


def _bar(start: float, end: float, y: float) -> str:
  return f'M{start:.1f} {y - 5}H{max(end, start + 3):.1f}V{y + 5}H{start:.1f}Z'


def _segment_colour(place: int) -> str:
  return colour(f'candidate{place % CANDIDATES}')


def _pairs(match: ShownMatch, sides) -> str:
  """The query's pictures above those of the match."""
  pairs = match.pairs
  if not pairs:
    return ''
  cells = []
  for side, key in zip(sides, ('query', 'target'), strict=True):
    cells.append(f'<div class="row">{side}</div>')
    for pair in pairs:
      second, picture = getattr(pair, key)
      about = f'{side} at {clock(second)}'
      cells.append(f'<div>{_picture(picture, about)}{clock(second)}</div>')
  cells.append('<div class="row"></div>')
  for pair in pairs:
    place = pair.segment
    shown = '' if place is None else f'background:{_segment_colour(place)}'
    cells.append(f'<div class="mark" style="{shown}"></div>')
  return _grid(cells, len(pairs), row=True)


def _grid(cells: Sequence[str], count: int, *, row: bool = False) -> str:
  columns = f'repeat({max(count, 1)},minmax(4.5rem,8rem))'
  return (
    '<div class="scroll"><div class="film pairs" style="grid-template-columns:'
    f'{"4.5rem " if row else ""}{columns}">{"".join(cells)}</div></div>'
  )


def _picture(jpeg: bytes, about: str) -> str:
  source = 'data:image/jpeg;base64,' + base64.b64encode(jpeg).decode()
  return f'<img alt="{html.escape(about)}" src="{source}">'
