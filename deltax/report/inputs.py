"""What a page needs to be given, checked before anything is drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deltax.report.contents import (
  BoxShot,
  DeltaRow,
  Metric,
  Page,
  PictureShot,
  Results,
  Shot,
  TeacherRow,
)


def check(page: Page) -> None:
  """Raises a ValueError that names what a page lacks or cannot use."""
  _check_results(page.results)
  for layer in page.layers:
    if layer.chosen not in layer.candidates:
      raise ValueError(
        f'layer {layer.path} chose {layer.chosen!r}, which is none of its '
        f'candidates {sorted(layer.candidates)}'
      )
  for shot in page.film:
    _check_shot(shot)
  if page.gates:
    for path, values in page.gates.probability.items():
      _length(f'gate {path}', values, len(page.gates.steps), 'steps')
  if page.curves:
    for name, values in page.curves.values.items():
      _length(f'curve {name}', values, len(page.curves.steps), 'steps')


def _length(what: str, values: Sequence, expected: int, of: str) -> None:
  if len(values) != expected:
    raise ValueError(f'{what} has {len(values)} values for {expected} {of}')


def _given(what: str, row: Metric | TeacherRow, names: Sequence[str]) -> None:
  """Results that are only compared need less than a page shows."""
  missing = [name for name in names if not getattr(row, name)]
  if missing:
    raise ValueError(f'{what} lacks {missing}')


def _check_results(results: Results) -> None:
  # A metric without classes has no words for one of them.
  words = Metric._fields if results.classes else ('name', 'text', 'about')
  _given('the metric', results.metric, words)
  _given('the teacher', results.teacher, ['params'])
  classes = len(results.classes)
  _length('palette', results.palette, classes, 'classes')
  teacher = results.teacher
  _length('by_class of the teacher', teacher.by_class, classes, 'classes')
  for row in results.delta:
    at = f'at interval {row.interval}'
    _length(f'by_class {at}', row.by_class, classes, 'classes')
    _same_others(row, teacher)
    for name in ('per_distance', 'teacher_per_distance'):
      scores = getattr(row, name)
      _length(f'{name} {at}', scores, row.interval, 'distances')


def _same_others(row: DeltaRow, teacher: TeacherRow) -> None:
  if list(row.others) != list(teacher.others):
    raise ValueError(
      f'others at interval {row.interval} are {list(row.others)}, those of the '
      f'teacher {list(teacher.others)}'
    )


def _check_shot(shot: Shot) -> None:
  pictures = shot.pictures if isinstance(shot, PictureShot) else {}
  for frame in (shot.frame, *pictures.values()):
    _check_picture(frame, shot.caption)
  if isinstance(shot, BoxShot):
    for name in ('teacher', 'delta'):
      if getattr(shot, name).scores is None:
        raise ValueError(f'{name} of frame {shot.caption!r} lacks scores')


def _check_picture(frame: Any, caption: str) -> None:
  if frame.dtype != np.uint8 or frame.shape[2:] != (3,):
    raise ValueError(
      f'frame {caption!r} is {frame.dtype} {frame.shape}, expected uint8 '
      '[H, W, 3]'
    )
