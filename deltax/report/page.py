"""One self-contained HTML page about a run."""

import html
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from deltax.report import inputs, pictures, plots, tables
from deltax.report.style import SHEET, colour
from deltax.report.summary import headline, number
from deltax.report.tables import candidate_colours, swatch


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
      0 to 255) and
      `teacher`: `name`, `params` (a count), `gmacs` and `ms` a frame, `miou`,
      `iou` (K) and `consistency`, each 0 to 1;
      `delta`: a list with the same scores at each `interval`, `gmacs` and `ms`
      amortised over the interval, `share` of the teacher's GMACs, and
      `per_distance`, `teacher_per_distance`: mean IoU 0 to `interval` - 1
      frames after the key frame, on the same frames;
      `ms`: `teacher`, `key` and `later`, a frame each;
      `gmacs`: `key` and `later`, a frame each.
    layers: in order of depth: `path`, `candidates` ({name: MACs}), `teacher`
      (MACs), `chosen` (a name), `probability` ({name: 0 to 1}).
    gates: `steps` (S) and `probability` ({path: S probabilities of the full
      copy}).
    curves: `steps` (S) and any number of names with S values each; None where
      nothing was logged.
    film: `frame` uint8 [H, W, 3], `label`, `teacher` and `delta` integer [H, W]
      (255 = no label, black), `caption`.

  Raises:
    ValueError: something needed is missing or has the wrong length or type.
    ImportError: matplotlib is not installed.
  """
  inputs.check(results, layers or (), gates, curves, film or ())
  parts = [
    _head(results),
    _section('Teacher and delta', _results(results)),
    _section('Classes', tables.class_table(results)),
    _section(
      'Accuracy after a key frame', results['delta'] and _distances(results)
    ),
    _section('Where the cost went', layers and _depth(layers)),
    _section('Gates over training', gates and _gates(gates)),
    _section('Training', curves and _panels(plots.curves(curves), 'small')),
    _section('Film', film and _film(film, results)),
    _section('How it was measured', _notes(results)),
  ]
  page = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(results["title"])}</title><style>{SHEET}</style>'
    f'</head><body><main>{"".join(parts)}</main></body></html>\n'
  )
  _write_beside(pathlib.Path(path), page)


def _write_beside(path: pathlib.Path, text: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, beside = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
  try:
    with os.fdopen(handle, 'w', encoding='utf-8') as file:
      file.write(text)
    os.chmod(beside, 0o644)  # mkstemp's file is for its owner only
    os.replace(beside, path)
  except BaseException:
    os.unlink(beside)
    raise


def _section(title: str, body: str | None) -> str:
  return f'<section><h2>{title}</h2>{body}</section>' if body else ''


def _panels(panels: Iterable[str], kind: str = '') -> str:
  figures = ''.join(f'<div>{panel}</div>' for panel in panels)
  return figures and f'<figure class="panels {kind}">{figures}</figure>'


def _legend(colours: Mapping[str, str], title: str = '') -> str:
  items = [f'<li class="about">{title}</li>'] if title else []
  items += [
    f'<li>{swatch(value)}{html.escape(name)}</li>'
    for name, value in colours.items()
  ]
  return f'<ul class="legend">{"".join(items)}</ul>'


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


def _results(results: Mapping) -> str:
  ms, gmacs = results['ms'], results['gmacs']
  if not results['delta']:
    return tables.results_table(results)
  split = (
    f'One key frame: {number(gmacs["key"], 2)} GMACs, '
    f'{number(ms["key"], 1)} ms. '
    f'One later frame: {number(gmacs["later"], 2)} GMACs, '
    f'{number(ms["later"], 1)} ms. The teacher alone: '
    f'{number(results["teacher"]["gmacs"], 2)} GMACs, '
    f'{number(ms["teacher"], 1)} ms.'
  )
  return tables.results_table(results) + f'<p class="about">{split}</p>'


METHODS = {'teacher, same frames': colour('teacher'), 'delta': colour('delta')}


def _distances(results: Mapping) -> str:
  return (
    '<p class="about">Mean IoU in per cent, by the number of frames since the '
    f'key frame.</p>{_legend(METHODS)}{_panels(plots.per_distance(results))}'
  )


def _depth(layers: Sequence[Mapping]) -> str:
  colours = candidate_colours(layers)
  legend = {'teacher': colour('rule')}
  for name, value in colours.items():
    chosen = sum(layer['chosen'] == name for layer in layers)
    legend[f'{name} ({chosen} of {len(layers)} layers)'] = colour(value)
  return (
    '<p class="about">The layers from the input to the output; each bar shows '
    f'the candidate that the layer chose.</p>{_legend(legend)}'
    f'<figure>{plots.depth(layers)}</figure><details><summary>All layers as a '
    f'table</summary>{tables.layer_table(layers)}</details>'
  )


def _gates(gates: Mapping) -> str:
  if not gates['probability']:
    return ''
  heat, count = plots.gates(gates)
  return (
    '<p class="about">The probability of the full copy, a row for each layer '
    'from the input to the output; and the number of layers in which it is '
    'above one half (solid), and expected when the gates are sampled (dashed).'
    '</p>'
    '<p class="about">0 <span class="ramp"></span> 1</p>'
    f'<figure class="split"><div>{heat}</div><div>{count}</div></figure>'
  )


def _film(film: Sequence[Mapping], results: Mapping) -> str:
  palette = results['palette']
  rows = {
    'frame': lambda shot: shot['frame'],
    'label': lambda shot: pictures.colourise(shot['label'], palette),
    'teacher': lambda shot: pictures.colourise(shot['teacher'], palette),
    'delta': lambda shot: pictures.colourise(shot['delta'], palette),
    'errors': lambda shot: pictures.errors(
      shot['label'], shot['teacher'], shot['delta']
    ),
    'delta against teacher': lambda shot: pictures.changes(
      shot['teacher'], shot['delta']
    ),
  }
  cells = ['<div class="corner"></div>']
  cells += [
    f'<div class="caption">{html.escape(s["caption"])}</div>' for s in film
  ]
  for name, paint in rows.items():
    cells.append(f'<div class="row">{name}</div>')
    for shot in film:
      alt = html.escape(f'{name}: {shot["caption"]}')
      source = pictures.data_uri(np.asarray(paint(shot), np.uint8))
      cells.append(f'<img alt="{alt}" src="{source}">')
  classes = {
    name: f'rgb({red},{green},{blue})'
    for name, (red, green, blue) in zip(
      results['classes'], palette, strict=True
    )
  }
  columns = (
    f'grid-template-columns:4.5rem repeat({len(film)},minmax(9.5rem,1fr))'
  )
  return (
    f'{_legend({**classes, "no label": "#000000"})}'
    f'<div class="scroll"><div class="film" style="{columns}">{"".join(cells)}'
    f'</div></div>{_legend(pictures.ERRORS, "errors:")}'
    f'{_legend(pictures.CHANGES, "delta against teacher:")}'
  )


def _notes(results: Mapping) -> str:
  notes = ''.join(f'<li>{html.escape(note)}</li>' for note in results['notes'])
  return notes and f'<ul class="notes">{notes}</ul>'
