"""The copies of a collection, as one self-contained HTML page with pictures."""

import html
import os
from collections.abc import Sequence

from deltax.report import document
from deltax.report.retrieval.duplicates_contents import (
  ListedCopies,
  ListedPair,
  ListedVideo,
)
from deltax.report.retrieval.search_contents import (
  ShownMatch,
  ShownQuery,
  SideBySide,
  same_moment,
)
from deltax.report.retrieval.search_page import STYLE, clock, compared
from deltax.report.summary import MISSING, number

SHOWN = 6  # pairs of pictures, at most
SIDES = 'first', 'second'
RELATIONS = {
  'same': '{} and {} are the same',
  'contained': '{} is contained in {}',
  'part': '{} and {} have a part in common',
}
_STYLE = """
details { border-top: 1px solid var(--rule); padding: .75rem 0;
  break-inside: avoid; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary .score { float: right; font-variant-numeric: tabular-nums; }
"""


def write_duplicates_page(
  path: str | os.PathLike, listed: ListedCopies
) -> None:
  """Writes the page.

  Args:
    path: the HTML file, written beside itself and renamed.
    listed: what was found.
  """
  title = 'Copies'
  within = [{video.name for video in group} for group in listed.groups]
  parts = [_head(title, listed)]
  for place, (group, names) in enumerate(
    zip(listed.groups, within, strict=True), 1
  ):
    pairs = [
      pair
      for pair in listed.pairs
      if {pair.first.name, pair.second.name} <= names
    ]
    parts.append(_group(place, group, pairs))
  for relation, heading in (
    ('contained', 'Contained in another'),
    ('part', 'A part in common'),
  ):
    pairs = [
      pair
      for pair in listed.pairs
      if pair.relation == relation
      and not any({pair.first.name, pair.second.name} <= n for n in within)
    ]
    parts.append(document.section(heading, ''.join(map(_pair, pairs))))
  parts.append(
    document.section('How they were found', document.notes(listed.notes))
  )
  document.write(path, title, parts, style=STYLE + _STYLE)


def _head(title: str, listed: ListedCopies) -> str:
  of = {
    relation: sum(pair.relation == relation for pair in listed.pairs)
    for relation in RELATIONS
  }
  counts = (
    f'{len(listed.groups)} groups of videos that are the same, '
    f'{of["contained"]} times one contained in another, {of["part"]} pairs '
    'that share a part.'
  )
  lead = counts if listed.groups or listed.pairs else 'No copies were found.'
  return (
    f'<header><h1>{title}</h1><p class="lead">{lead}</p><p class="about">A '
    'score of 1 is that of a video and itself; 0.5 and more is rare among '
    'videos that have nothing to do with each other. Nothing was deleted.</p>'
    '</header>'
  )


def _group(
  place: int, group: Sequence[ListedVideo], pairs: Sequence[ListedPair]
) -> str:
  rows = []
  for video in group:
    rows.append(_row(video))
    for path in video.same_bytes:
      told = f'the same bytes: {html.escape(path)}'
      rows.append(('', told, *[MISSING] * 5))
  names = 'video', 'path', 'length', 'pixels', 'Mbit/s', 'MB', 'of these'
  table = document.table('', names, rows, left=2)
  best = next((video.name for video in group if 'best' in video.praise), '')
  shown = ''.join(
    # Of large groups only the pairs with the best video lie open.
    _pair(pair, opened=best in ('', pair.first.name, pair.second.name))
    for pair in pairs
  )
  return document.section(f'Group {place}', table + shown)


def _row(video: ListedVideo) -> tuple[str, ...]:
  known = video.bytes > 0
  state = f' ({video.state})' if video.state else ''
  return (
    html.escape(video.name + state),
    html.escape(video.path),
    clock(video.duration),
    f'{video.width} x {video.height}' if known else MISSING,
    number(video.bits_per_second / 1e6, 1) if known else MISSING,
    number(video.bytes / 1e6, 1) if known else MISSING,
    ', '.join(f'<strong>{word}</strong>' for word in video.praise) or MISSING,
  )


def _pair(pair: ListedPair, *, opened: bool = True) -> str:
  first, second = pair.first, pair.second
  told = RELATIONS[pair.relation].format(
    f'<em>{html.escape(first.name)}</em>',
    f'<em>{html.escape(second.name)}</em>',
  )
  shares = ' and '.join(f'{100 * share:.0f}%' for share in pair.shares)
  match = ShownMatch(
    name=second.name,
    path=second.path,
    score=pair.score,
    coarse=0.0,
    reranked=True,
    duration=second.duration,
    segments=pair.segments,
    pairs=side_by_side(pair),
  )
  query = ShownQuery(first.name, first.duration, first.pictures)
  return (
    f'<details{" open" * opened}><summary>{told}<span class="score">'
    f'{number(pair.score, 2)}</span></summary><p class="about">{shares} of '
    'them, counted so that what many videos share counts little.</p>'
    f'{compared(query, match, SIDES)}</details>'
  )


def side_by_side(pair: ListedPair) -> list[SideBySide]:
  """Pictures of two videos that show the same moment, as near as there are."""
  near = []
  for place, segment in enumerate(pair.segments):
    for second, picture in pair.second.pictures.items():
      if not segment.target[0] <= second <= segment.target[1]:
        continue
      asked = same_moment(segment, second)
      time = min(
        pair.first.pictures, key=lambda t: abs(t - asked), default=None
      )
      if time is not None:
        shown = SideBySide(
          (time, pair.first.pictures[time]), (second, picture), place
        )
        near.append((abs(time - asked), second, shown))
  nearest = sorted(near, key=lambda one: one[:2])[:SHOWN]
  return [shown for _, _, shown in sorted(nearest, key=lambda one: one[1])]
