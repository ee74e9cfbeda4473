"""Frames of the evaluation as pictures, side by side."""

import functools
import html
from collections.abc import Sequence

import numpy as np

from deltax.report.contents import BoxShot, Film, PictureShot, Results, Shot
from deltax.report.pictures import labels
from deltax.report.summary import number
from deltax.report.tables import legend


def strip(film: Film, results: Results) -> str:
  """The film as HTML; of label maps, of boxes or of pictures.

  Args:
    film: at least one frame.
    results: of the run, for the classes and their colours.
  """
  if isinstance(film[0], PictureShot):
    return _pictures(film)
  colours = {
    name: f'rgb({red},{green},{blue})'
    for name, (red, green, blue) in zip(
      results.classes, results.palette, strict=True
    )
  }
  if isinstance(film[0], BoxShot):
    return _boxes(film, results, colours)
  return _labels(film, results.palette, colours)


def _pictures(film) -> str:
  """A column for each frame, the frame itself above."""
  rows = {'frame': lambda shot: shot.frame} | {
    name: functools.partial(lambda shot, name: shot.pictures[name], name=name)
    for name in film[0].pictures
  }
  colours = film[0].colours
  return _columns(film, rows) + (
    legend(colours, 'differences:') if colours else ''
  )


def _labels(film, palette, colours) -> str:
  """A column for each frame, as films run."""
  rows = {
    'frame': lambda shot: shot.frame,
    'label': lambda shot: labels.colourise(shot.label, palette),
    'teacher': lambda shot: labels.colourise(shot.teacher, palette),
    'delta': lambda shot: labels.colourise(shot.delta, palette),
    'errors': lambda shot: labels.errors(shot.label, shot.teacher, shot.delta),
    'delta against teacher': lambda shot: labels.changes(
      shot.teacher, shot.delta
    ),
  }
  return (
    f'{legend({**colours, "no label": "#000000"})}{_columns(film, rows)}'
    f'{legend(labels.ERRORS, "errors:")}'
    f'{legend(labels.CHANGES, "delta against teacher:")}'
  )


def _columns(film, rows) -> str:
  """A grid: a column for each shot, a row for each picture of it."""
  cells = ['<div class="corner"></div>', *(_caption(s) for s in film)]
  for name, paint in rows.items():
    cells.append(f'<div class="row">{html.escape(name)}</div>')
    for shot in film:
      picture = labels.thin(np.asarray(paint(shot), np.uint8))
      cells.append(_picture(picture, f'{name}: {shot.caption}'))
  columns = f'4.5rem repeat({len(film)},minmax(9.5rem,1fr))'
  return _grid(cells, columns)


def _boxes(film, results, colours) -> str:
  """A row for each frame, since boxes need room."""
  columns = {'truth': 'ground truth', 'teacher': 'teacher', 'delta': 'delta'}
  cells = ['<div class="corner"></div>']
  cells += [f'<div class="caption">{name}</div>' for name in columns.values()]
  for shot in film:
    cells.append(f'<div class="row">{html.escape(shot.caption)}</div>')
    for key, name in columns.items():
      picture = labels.draw_boxes(
        shot.frame,
        *getattr(shot, key),
        palette=results.palette,
        names=results.classes,
      )
      cells.append(_picture(picture, f'{name}: {shot.caption}'))
  about = f'Detections with a score of {number(labels.SHOWN, 1)} or more.'
  return (
    f'<p class="about">{about}</p>{legend(colours)}'
    f'{_grid(cells, "6rem repeat(3,minmax(16rem,1fr))")}'
  )


def _caption(shot: Shot) -> str:
  return f'<div class="caption">{html.escape(shot.caption)}</div>'


def _picture(picture: np.ndarray, about: str) -> str:
  source = labels.data_uri(picture)
  return f'<img alt="{html.escape(about)}" src="{source}">'


def _grid(cells: Sequence[str], columns: str) -> str:
  return (
    f'<div class="scroll"><div class="film" style="grid-template-columns:'
    f'{columns}">{"".join(cells)}</div></div>'
  )
