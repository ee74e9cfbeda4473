"""One self-contained HTML page that puts runs side by side."""

import html
import os
from collections.abc import Sequence

import numpy as np

from deltax.report import document
from deltax.report.compare.pareto import (
  Comparison,
  Point,
  columns,
  later_rows,
  rows,
)
from deltax.report.document import notes, panels, section, table
from deltax.report.pictures import svg
from deltax.report.style import LIGHT, colour
from deltax.report.summary import digits, number, points, sentence
from deltax.report.tables import legend

PAINTS = ('delta', *(f'candidate{i}' for i in range(6)), 'ink')
SHAPES = 'osD^v'
TICKS = (1, 1.5, 2, 3, 5, 7)  # and these times powers of ten
AXES = {'gmacs': 'GMACs a frame', 'ms': 'ms a frame'}
STYLE = """
.wide { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr));
  display: grid; gap: 1.25rem; }
"""
NOTES = (
  'Scores are means over the frames of an interval, GMACs and ms amortised '
  'over it: one key frame, the others later frames.',
  'Lost: points below the own teacher on the same frames.',
  "Floor of a later frame: the teacher's milliseconds by the share of its "
  'multiply-accumulates that a later frame needs.',
)


def write_comparison(
  path: str | os.PathLike, compared: Comparison, title: str
) -> None:
  """Writes the page.

  Args:
    path: the HTML file, written beside itself and renamed. Missing folders are
      made.
    compared: from `deltax.report.compare.pareto.compare`.
    title: of the page.

  Raises:
    ValueError: no point has a score and a cost.
    ImportError: matplotlib is not installed.
  """
  if not any(compared.fronts.values()):
    raise ValueError('no run has both a score and a cost')
  remarks = list(NOTES)
  if len(compared.devices) > 1:
    remarks.append('The runs were timed on different devices.')
  heads, cells = later_rows(compared)
  parts = [
    _head(compared, title),
    section('Score against cost', _plots(compared)),
    section('All points', _points(compared)),
    section(
      'Later frames',
      cells
      and table(
        'A later frame beside the teacher of the same run; and how far it is '
        'from its floor.',
        ['run', *heads[1:]],
        _escaped(cells),
      ),
    ),
    section('How to read it', notes(remarks)),
  ]
  document.write(path, title, parts, style=STYLE)


def _head(compared: Comparison, title: str) -> str:
  counts = [
    f'{len(front)} by {name}'
    for front, name in zip(
      compared.fronts.values(), ('multiply-accumulates', 'time'), strict=True
    )
    if front
  ]
  lead = (
    f'Of {len(compared.points)} points, those on the front: '
    f'{", ".join(counts)}.'
  )
  about = f'{compared.about}; timed on {", ".join(compared.devices)}'
  remark = compared.uneven and f'<p>{html.escape(compared.uneven)}</p>'
  return (
    f'<header><h1>{html.escape(title)}</h1>'
    f'<p class="lead">{html.escape(lead)}</p>'
    f'<p class="about">{html.escape(about)}</p>'
    f'{remark}</header>'
  )


def _points(compared: Comparison) -> str:
  first, metric, *others = columns(compared)
  return table(
    'Each run at each distance of key frames; costs are means over all frames.',
    ['', first, f'{metric}, %', *others],
    _escaped(rows(compared)),
  )


def _escaped(cells):
  return [[html.escape(cell) for cell in row] for row in cells]


def _plots(compared: Comparison) -> str:
  runs = _runs(compared)
  shown = {name: colour(paint) for name, (paint, _) in runs.items()}
  metric = html.escape(sentence(compared.metric.text))
  rings = {'teachers': colour('teacher')}
  plots = [_plot(compared, cost) for cost in AXES if compared.fronts[cost]]
  return (
    f'<p class="about">{metric} in per cent against the cost (logarithmic); a '
    'line is a run, each point one distance of its key frames; rings are '
    'teachers on every frame. Up and to the left is better. Dashed is the '
    'front, of points that no other one beats, with their distances.</p>'
    f'{legend(rings | shown)}{panels(plots, "wide")}'
  )


def _runs(compared: Comparison) -> dict[str, tuple[str, str]]:
  """Colour and shape of every run that is not a teacher's."""
  names = dict.fromkeys(p.run for p in compared.points if p.interval > 1)
  return {
    name: (
      PAINTS[place % len(PAINTS)],
      SHAPES[(place + place // len(PAINTS)) % len(SHAPES)],
    )
    for place, name in enumerate(names)
  }


def _plot(compared: Comparison, cost: str) -> str:
  """The score against one cost, as inline SVG."""
  front, runs = compared.fronts[cost], _runs(compared)

  def at(chosen: Sequence[Point]):
    return np.array([(getattr(p, cost), points(p.score)) for p in chosen]).T

  def draw(figure):
    axes = figure.subplots()
    axes.step(
      *at(front), '--', where='post', color=LIGHT['muted'], linewidth=1.2
    )
    for name, (paint, _) in runs.items():
      own = [point for point in compared.points if point.run == name]
      axes.plot(*at(own), color=LIGHT[paint], linewidth=1, alpha=0.5)
    titles = {}
    for place, point in enumerate(compared.points):
      if not np.isfinite(at([point])).all():
        continue
      gid = f'mark{place}'
      where = at([point])
      _mark(axes, where, runs.get(point.run), gid)
      if point in front and point.interval > 1:
        _label(axes, where[:, 0], str(point.interval))
      titles[gid] = _told(point, compared.metric.name)
    axes.set_title(f'{compared.metric.name}, %')
    axes.set_xlabel(AXES[cost])
    axes.set_xscale('log')
    axes.xaxis.get_major_locator().set_params(subs=TICKS)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter(lambda *_: '')
    axes.margins(0.07)
    return titles

  ends = '; '.join(_told(point, compared.metric.name) for point in front)
  label = f'{compared.metric.name} against {AXES[cost]}. The front: {ends}'
  return svg.plot(draw, name=cost, label=label, size=(560, 400), least=340)


def _mark(axes, where, look: tuple[str, str] | None, gid: str) -> None:
  """The mark of a run, or a teacher's ring."""
  paint, shape = look or ('teacher', 'o')
  ring = {} if look else {'markerfacecolor': 'none', 'markersize': 9}
  (mark,) = axes.plot(*where, shape, color=LIGHT[paint], **ring)
  mark.set_gid(gid)


def _label(axes, where, text: str) -> None:
  axes.annotate(
    text,
    where,
    xytext=(-4, 5),
    textcoords='offset points',
    ha='right',
    fontsize=9,
    color=LIGHT['muted'],
  )


def _told(point: Point, metric: str) -> str:
  every = 'every frame'
  if point.interval > 1:
    every = f'interval {point.interval}'
  gmacs = number(point.gmacs, digits(point.gmacs))
  return (
    f'{point.run}, {every}: {metric} {number(points(point.score), 1)}, '
    f'{gmacs} GMACs, {number(point.ms, 1)} ms a frame'
  )
