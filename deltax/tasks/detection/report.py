"""What a detection run won: scores, costs, times and pictures for a page."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.report.contents import Boxes, BoxShot, Metric, Page
from deltax.task import Task
from deltax.tasks.detection.detectors import make_detector
from deltax.tasks.detection.parts import precision_of, scores_of
from deltax.tasks.detection.task import make_task
from deltax.tasks.parts import teacher_beside, variables_of
from deltax.tasks.video import rivals
from deltax.tasks.video.evaluated import Kind
from deltax.tasks.video.report import gather
from deltax.tasks.video.rivals import Size
from deltax.types import ModelState, Params

METRIC = Metric(
  name='AP50',
  text='AP50',
  of_class='AP50',
  about='Average precision at IoU 0.5',
  absent='no ground truth',
)
OTHERS = {'AP': ('ap', 'AP: the same, the mean over IoU 0.5 to 0.95.')}
NOTES = (
  'AP50: average precision at IoU 0.5 over all frames, the mean over the '
  'classes that occur, as COCO defines it, with 100 detections a class and '
  'frame. Frames without detections count, frames that only fill a clip do '
  'not.',
  'MACs and ms are those of the network, without decoding and suppression.',
)
NETWORK = ('model', 'num_classes', 'size', 'detector')


def make_report(
  params: Params,
  model_state: ModelState,
  *,
  options: Mapping[str, Any],
  **others: Any,
) -> Page:
  """Evaluates a run, and gathers its page.

  Args:
    params: of the run.
    model_state: of the run.
    options: keyword arguments of `make_task` of the task.
    **others: see `deltax.tasks.video.report.gather`.
  """
  network = {key: options[key] for key in NETWORK if key in options}
  detector = make_detector(
    options['model'],
    num_classes=options['num_classes'],
    size=tuple(options['size']),
    **(options.get('detector') or {}),
  )
  own = variables_of(params, model_state)
  started_from = teacher_beside(options)
  teacher = own if started_from is None else started_from
  detect = jax.jit(detector.detect)

  def detections(variables, outs, size):
    one = detect(variables, outs, jnp.asarray(size)[None])
    return Boxes(
      *(np.asarray(x[0]) for x in (one.boxes, one.classes, one.scores))
    )

  def shot(batch, row, t, caption, outs):
    if not batch['real'][row, t]:
      return None
    size = batch['size'][row]
    return BoxShot(
      batch['frames'][row, t],
      caption,
      truth=Boxes(batch['boxes'][row, t], batch['classes'][row, t]),
      teacher=detections(teacher, outs.teacher, size),
      delta=detections(own, outs.delta, size),
    )

  classes = options['num_classes']
  kind = Kind(
    metric=METRIC,
    score='ap50',
    others=OTHERS,
    notes=NOTES,
    scores=lambda name, arrays, interval: scores_of(
      name, arrays, classes, interval
    ),
    by_class=lambda name, arrays: precision_of(name, arrays, classes)[
      'by_class'
    ],
    clips=_clips,
    shot=shot,
    smaller=functools.partial(_on_smaller, network),
  )
  return gather(
    params,
    model_state,
    kind=kind,
    net=detector.net,
    baseline=make_task(**network),
    options=options,
    **others,
  )


def _on_smaller(network: Mapping[str, Any], size: Size) -> Task | None:
  """The detector's task on frames made smaller, its boxes enlarged again."""
  name = rivals.name_of(size)
  try:
    task = make_task(**{**network, 'size': size})
  except ValueError:  # it takes no frames of that size
    return None
  rows, cols = (n / m for n, m in zip(network['size'], size, strict=True))

  def evaluate(params, model_state, batch):
    frames = rivals.shrunk(batch['frames'], size)
    picture = batch['size'] / jnp.array([[rows, cols]])
    small = {**batch, 'frames': frames, 'size': picture}
    arrays = task.evaluate(params, model_state, small)
    times = jnp.array([cols, rows, cols, rows]).reshape(1, 1, 1, 4)
    arrays['teacher/boxes'] *= times
    return {key.replace('teacher/', f'{name}/'): x for key, x in arrays.items()}

  def summarise(arrays):
    return scores_of(name, arrays, network['num_classes'])

  return task._replace(evaluate=evaluate, summarise=summarise)


def _clips(arrays: Mapping[str, np.ndarray], _) -> list[int]:
  """The first and the last clip in whose key frame there is an object."""
  seen = (arrays['truth/classes'][:, 0] >= 0).any(-1)
  seen &= arrays['truth/real'][:, 0] > 0
  numbers = np.flatnonzero(seen)
  return sorted({*numbers[:1].tolist(), *numbers[-1:].tolist()})
