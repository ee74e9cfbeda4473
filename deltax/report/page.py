"""One self-contained HTML page about a run."""

import html
import os
from collections.abc import Mapping, Sequence

from deltax.report import document, inputs, tables, times
from deltax.report.document import notes, panels, section
from deltax.report.pictures import plots
from deltax.report.pictures.film import strip
from deltax.report.style import colour
from deltax.report.summary import headline, number, sentence
from deltax.report.tables import candidate_colours, legend


def write(
  path: str | os.PathLike,
  *,
  results: Mapping,
  layers: Sequence[Mapping] | None = None,
  gates: Mapping | None = None,
  curves: Mapping | None = None,
  film: Sequence[Mapping] | None = None,
) -> None:
  """Writes the page; what is None or empty is left out of it.

  All but the film can come from JSON. A score, time or cost that was not
  measured is None or NaN and shown as a dash.

  Args:
    path: the HTML file, written beside itself and renamed. Missing folders are
      made.
    results: `title`, `device` (text), `notes` (list of text), `size` (height
      and width of a frame in pixels), `classes` (K names), `palette` ([K, 3],
      0 to 255), `metric` (texts: `name` of the score in a column, `text` in a
      sentence, `of_class`; `about`, what a class's score is; `absent`, where a
      class without one is missing) and
      `teacher`: `name`, `params` (a count), `gmacs` and `ms` a frame, `score`,
      `by_class` (K scores) and perhaps `others` ({name: score}), 0 to 1;
      `delta`: a list with the same scores at each `interval`, `teacher_score`
      on the same frames, `gmacs` and `ms` amortised over the interval, `share`
      of the teacher's GMACs, and `per_distance`, `teacher_per_distance`: the
      score 0 to `interval` - 1 frames after the key frame, on the same frames;
      `ms`: `teacher`, `key` and `later`, a frame each, and perhaps `predicted`,
      that of a later frame;
      `gmacs`: `key` and `later`, a frame each;
      perhaps `streams`: `count` of them, `interval`, and the ms of a frame of
      all, `p50`, `p95`, `p99` and `mean`, with the key frames `at once` and
      `staggered`.
    layers: in order of depth: `path`, `candidates` ({name: MACs}), `teacher`
      (MACs), `chosen` (a name), `probability` ({name: 0 to 1}).
    gates: `steps` (S) and `probability` ({path: S probabilities of the full
      copy}).
    curves: `steps` (S) and any number of names with S values each; None where
      nothing was logged.
    film: `frame` uint8 [H, W, 3], `caption`, and either `label`, `teacher` and
      `delta` integer [H, W] (255 = no label, black), or `truth`, `teacher` and
      `delta`: `boxes` [N, 4] (x0, y0, x1, y1 in pixels), `classes` [N] (-1 = no
      box) and, but for the truth, `scores` [N].

  Raises:
    ValueError: something needed is missing or has the wrong length or type.
    ImportError: matplotlib is not installed.
  """
  inputs.check(results, layers or (), gates, curves, film or ())
  parts = [
    _head(results),
    section('Teacher and delta', tables.results_table(results)),
    section('Milliseconds', times.section_of(results)),
    section('Classes', tables.class_table(results)),
    section(
      'Accuracy after a key frame', results['delta'] and _distances(results)
    ),
    section('Where the cost went', layers and _depth(layers)),
    section('Gates over training', gates and _gates(gates)),
    section('Training', curves and panels(plots.curves(curves), 'small')),
    section('Film', film and strip(film, results)),
    section('How it was measured', notes(results['notes'])),
  ]
  document.write(path, results['title'], parts)


def _head(results: Mapping) -> str:
  teacher, (height, width) = results['teacher'], results['size']
  about = (
    f'{teacher["name"]}, {number(teacher["params"] / 1e6, 2)} million '
    f'parameters, {height} x {width} pixels, {results["device"]}'
  )
  return (
    f'<header><h1>{html.escape(results["title"])}</h1>'
    f'<p class="lead">{html.escape(headline(results))}</p>'
    f'<p class="about">{html.escape(about)}</p></header>'
  )


METHODS = {'teacher, same frames': colour('teacher'), 'delta': colour('delta')}


def _distances(results: Mapping) -> str:
  metric = html.escape(sentence(results['metric']['text']))
  return (
    f'<p class="about">{metric} in per cent, by the number of frames since the '
    f'key frame.</p>{legend(METHODS)}{panels(plots.per_distance(results))}'
  )


def _depth(layers: Sequence[Mapping]) -> str:
  colours = candidate_colours(layers)
  shown = {"the teacher's cost": colour('rule')}
  for name, value in colours.items():
    chosen = sum(layer['chosen'] == name for layer in layers)
    shown[f'{name} ({chosen} of {len(layers)} layers)'] = colour(value)
  return (
    '<p class="about">The layers and blocks from the input to the output; bars '
    'and the strip below them show the candidate that each chose.</p>'
    f'{legend(shown)}'
    f'<figure>{plots.depth(layers)}</figure><details><summary>All layers as a '
    f'table</summary>{tables.layer_table(layers)}</details>'
  )


def _gates(gates: Mapping) -> str:
  if not gates['probability']:
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
