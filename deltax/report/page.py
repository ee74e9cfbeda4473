"""One self-contained HTML page about a run."""

import html
import os
from collections.abc import Sequence

from deltax.report import document, inputs, tables, times
from deltax.report.contents import (
  GateHistory,
  LayerChoice,
  Page,
  Results,
  Start,
)
from deltax.report.document import notes, panels, section
from deltax.report.pictures import plots
from deltax.report.pictures.film import strip
from deltax.report.style import colour
from deltax.report.summary import headline, number, sentence
from deltax.report.tables import candidate_colours, legend


def write(path: str | os.PathLike, page: Page) -> None:
  """Writes the page; what is empty or None is left out of it.

  Args:
    path: the HTML file, written beside itself and renamed. Missing folders are
      made.
    page: what it shows.

  Raises:
    ValueError: something needed is missing or has the wrong length or type.
    ImportError: matplotlib is not installed.
  """
  inputs.check(page)
  results, layers, gates, curves, film, starts = page
  parts = [
    _head(results),
    section('Teacher and delta', tables.results_table(results)),
    section('Milliseconds', times.section_of(results)),
    section('Classes', results.classes and tables.class_table(results)),
    section(
      'Accuracy after a key frame', results.delta and _distances(results)
    ),
    section('Where the cost went', layers and _depth(layers)),
    section('Students before the training', starts and _starts(starts)),
    section('Gates over training', gates and _gates(gates)),
    section('Training', curves and panels(plots.curves(curves), 'small')),
    section('Film', film and strip(film, results)),
    section('How it was measured', notes(results.notes)),
  ]
  document.write(path, results.title, parts)


def _head(results: Results) -> str:
  teacher, (height, width) = results.teacher, results.size
  about = (
    f'{teacher.name}, {number(teacher.params / 1e6, 2)} million '
    f'parameters, {height} x {width} pixels, {results.device}'
  )
  return (
    f'<header><h1>{html.escape(results.title)}</h1>'
    f'<p class="lead">{html.escape(headline(results))}</p>'
    f'<p class="about">{html.escape(about)}</p></header>'
  )


METHODS = {'teacher, same frames': colour('teacher'), 'delta': colour('delta')}
COPIED = {"the key frame's output copied": colour('muted')}


def _distances(results: Results) -> str:
  metric = html.escape(sentence(results.metric.text))
  copied = any(row.copied_per_distance for row in results.delta)
  shown = METHODS | (COPIED if copied else {})
  return (
    f'<p class="about">{metric} in per cent, by the number of frames since the '
    f'key frame.</p>{legend(shown)}{panels(plots.per_distance(results))}'
  )


def _depth(layers: Sequence[LayerChoice]) -> str:
  colours = candidate_colours(layers)
  shown = {"the teacher's cost": colour('rule')}
  for name, value in colours.items():
    chosen = sum(layer.chosen == name for layer in layers)
    shown[f'{name} ({chosen} of {len(layers)} layers)'] = colour(value)
  return (
    '<p class="about">The layers and blocks from the input to the output; bars '
    'and the strip below them show the candidate that each chose.</p>'
    f'{legend(shown)}'
    f'<figure>{plots.depth(layers)}</figure><details><summary>All layers as a '
    f'table</summary>{tables.layer_table(layers)}</details>'
  )


def _starts(starts: Sequence[Start]) -> str:
  rows = [
    [
      html.escape(start.path),
      html.escape(start.candidate),
      number(start.before, 2),
      number(start.after, 2),
    ]
    for start in starts
  ]
  return document.table(
    "Share of the squares of the network's own change that a student misses, "
    'weighted by how much the outputs mind, on training clips that it was not '
    'solved on, fed by the students before it: as its kernel alone makes it, '
    'and solved for by least squares. 0 is perfect, 1 as bad as no change.',
    ['layer', 'student', 'from the kernel', 'solved for'],
    rows,
    left=2,
  )


def _gates(gates: GateHistory) -> str:
  if not gates.probability:
    return ''
  heat, count = plots.gates(gates)
  return (
    '<p class="about">The probability of the first candidate, a row a layer '
    'from the input to the output; and the number of layers in which it is '
    'above one half (solid), and expected when the gates are sampled (dashed).'
    '</p>'
    '<p class="about">0 <span class="ramp"></span> 1</p>'
    f'<figure class="split"><div>{heat}</div><div>{count}</div></figure>'
  )
