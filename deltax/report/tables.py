"""The figures of a run as HTML tables."""

import html
import math
import re
from collections.abc import Mapping, Sequence

from deltax.report.contents import LayerChoice, Results
from deltax.report.style import CANDIDATES, colour
from deltax.report.summary import (
  MISSING,
  columns,
  number,
  points,
  ratio,
  rows,
)

HEADS = {
  'lost': 'points lost',
  'GMACs': 'GMACs a frame',
  'share': 'share of GMACs',
  'ms': 'ms a frame',
}

# Of candidates that are no network of their own, by their names.
OWN_COLOURS = {'teacher': 'teacher', 'skip': 'muted'}


def swatch(background: str) -> str:
  return f'<span class="swatch" style="background:{background}"></span>'


def legend(colours: Mapping[str, str], title: str = '') -> str:
  """A list of names beside their colours, after a title."""
  items = [f'<li class="about">{title}</li>'] if title else []
  items += [
    f'<li>{swatch(value)}{html.escape(name)}</li>'
    for name, value in colours.items()
  ]
  return f'<ul class="legend">{"".join(items)}</ul>'


def candidate_colours(layers: Sequence[LayerChoice]) -> dict[str, str]:
  """A colour name for each candidate: full first, then those chosen.

  Where there are more than colours, those that no layer chose share one.
  """
  chosen = dict.fromkeys(layer.chosen for layer in layers)
  names = dict.fromkeys(name for layer in layers for name in layer.candidates)
  ordered = sorted(names, key=lambda n: (n != 'full', n not in chosen))
  drawn = [name for name in ordered if name not in OWN_COLOURS]
  return {
    name: OWN_COLOURS.get(name) or f'candidate{drawn.index(name) % CANDIDATES}'
    for name in ordered
  }


def _cells(cells: Sequence[str]) -> str:
  return ''.join(f'<td>{cell}</td>' for cell in cells)


def _typeset(text: str) -> str:
  """A number with a true minus, a missing one as a dash."""
  return '&ndash;' if text == MISSING else re.sub(r'^-', '&minus;', text)


def _shown(value: float | None, digits: int) -> str:
  return _typeset(number(value, digits))


def _table(caption: str, head: str, body: str, total: str = '') -> str:
  total = total and f'<tbody class="total">{total}</tbody>'
  return (
    f'<p class="about">{caption}</p><div class="scroll"><table>'
    f'<thead>{head}</thead><tbody>{body}</tbody>{total}</table></div>'
  )


def _head(names: Sequence[str], left: int = 1) -> str:
  kinds = ['left'] * left + ['right'] * (len(names) - left)
  cells = (
    f'<th scope="col" class="{kind}">{name}</th>'
    for kind, name in zip(kinds, names, strict=True)
  )
  return f'<tr>{"".join(cells)}</tr>'


def results_table(results: Results) -> str:
  """The teacher against delta at every interval."""
  body = ''.join(
    f'<tr><th scope="row"><span class="{name.split(",")[0]}">{name}</span></th>'
    f'{_cells([_typeset(cell) for cell in cells])}</tr>'
    for name, cells in rows(results)
  )
  caption = (
    'The teacher runs on every frame. At interval N every N-th frame is a key '
    'frame, on which the teacher runs; GMACs and milliseconds are the mean '
    'over an interval.'
  )
  names = [results.metric.text, *columns(results)[1:]]
  heads = [HEADS.get(name, html.escape(f'{name}, %')) for name in names]
  return _table(caption, _head(['', *heads]), body)


def class_table(results: Results) -> str:
  """Score of every class: the teacher, delta at every interval, the change."""
  teacher, deltas = results.teacher, results.delta

  def row(name: str, one: float, others: Sequence[float]) -> str:
    cells = [_shown(points(one), 1)]
    for other in others:
      change = points(other) - points(one)
      sign = '+' if change >= 0.05 else ''
      small = f'<small>{sign}{_shown(change, 1)}</small>'
      cells += [_shown(points(other), 1), small]
    cells.append(_dots(one, others))
    return f'<tr><th scope="row">{name}</th>{_cells(cells)}</tr>'

  body = ''
  for k, name in enumerate(results.classes):
    red, green, blue = (int(level) for level in results.palette[k])
    label = swatch(f'rgb({red},{green},{blue})') + html.escape(name)
    body += row(label, teacher.by_class[k], [run.by_class[k] for run in deltas])
  total = row('mean', teacher.score, [delta.score for delta in deltas])
  groups = ''.join(
    f'<th scope="colgroup" colspan="2"><span class="delta">delta, interval '
    f'{delta.interval}</span></th>'
    for delta in deltas
  )
  head = (
    '<tr><th class="left" scope="col">class</th><th scope="col">'
    f'<span class="teacher">teacher</span></th>{groups}'
    '<th class="axis" scope="col"><span>0</span><span>50</span><span>100</span>'
    '</th></tr>'
  )
  caption = (
    f'{html.escape(results.metric.about)} in per cent, and the change '
    'from the teacher in points; beside them as marks, a ring for the teacher '
    'and bars for delta, the fainter the longer the interval. A dash stands '
    f'for a class that occurs in {html.escape(results.metric.absent)}.'
  )
  return _table(caption, head, body, total)


def _dots(teacher: float | None, deltas: Sequence[float | None]) -> str:
  """The scores of a row as marks on a line from 0 to 1 (100 units)."""
  known = [
    (points(score), f'opacity="{1 - 0.65 * place / len(deltas):.2f}"')
    for place, score in enumerate(deltas)
    if math.isfinite(points(score))
  ]
  marks = ''.join(
    f'<rect x="{2 * score - 1.5:.1f}" y="3" width="3" height="10" '
    f'fill="{colour("delta")}" {faint}/>'
    for score, faint in reversed(known)
  )
  if math.isfinite(points(teacher)):
    marks += (
      f'<circle cx="{2 * points(teacher):.1f}" cy="8" r="3.5" fill="none" '
      f'stroke-width="1.6" stroke="{colour("teacher")}"/>'
    )
  return (
    '<svg class="marks" viewBox="-5 0 210 16" aria-hidden="true">'
    f'<path d="M0 8H200M0 5V11M100 5V11M200 5V11" stroke="{colour("rule")}"/>'
    f'{marks}</svg>'
  )


def layer_table(layers: Sequence[LayerChoice]) -> str:
  """What every layer costs and which candidate it chose."""
  colours = candidate_colours(layers)
  body = ''
  for layer in layers:
    name, macs = layer.chosen, layer.candidates[layer.chosen]
    chosen = swatch(colour(colours[name])) + html.escape(name)
    cells = [
      _shown(layer.teacher / 1e6, 2),
      _shown(macs / 1e6, 2),
      _shown(ratio(macs, layer.teacher), 2),
      _shown(layer.probability[name], 2),
    ]
    body += (
      f'<tr><th scope="row">{html.escape(layer.path)}</th>'
      f'<td class="left">{chosen}</td>{_cells(cells)}</tr>'
    )
  before = sum(layer.teacher for layer in layers)
  after = sum(layer.candidates[layer.chosen] for layer in layers)
  sums = [_shown(before / 1e6, 2), _shown(after / 1e6, 2)]
  sums += [_shown(ratio(after, before), 2), '']
  total = f'<tr><th scope="row">all of them</th><td></td>{_cells(sums)}</tr>'
  names = ['layer', 'chosen', 'teacher', 'chosen', 'share', 'probability']
  caption = (
    'Millions of multiply-accumulates on a later frame; the probability is '
    'that of the chosen candidate when the gates are sampled.'
  )
  return _table(caption, _head(names, left=2), body, total)
