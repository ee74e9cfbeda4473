"""What a segmentation run won: scores, costs, times and pictures for a page."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltax import models
from deltax.metrics.segmentation import iou
from deltax.report.contents import LabelShot, Metric, Page
from deltax.task import Task
from deltax.tasks.segmentation.parts import predict, scores_of
from deltax.tasks.segmentation.task import make_task
from deltax.tasks.video import rivals
from deltax.tasks.video.evaluated import Kind
from deltax.tasks.video.report import gather
from deltax.tasks.video.rivals import Size
from deltax.types import Batch, ModelState, Params

METRIC = Metric(
  name='mIoU',
  text='mean IoU',
  of_class='IoU',
  about='Intersection over union',
  absent='neither labels nor predictions',
)
NOTES = (
  'mIoU: mean over the distances to the key frame of the mean IoU at that '
  'distance, on the same frames for teacher and delta.',
)
OTHERS = {
  'consistency': (
    'consistency',
    'Consistency: share of pixels whose class persists along the motion.',
  )
}


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
  model, classes = options['model'], options['num_classes']
  baseline = make_task(model=model, num_classes=classes)
  if (options.get('delta') or {}).get('judge_last'):
    baseline = baseline._replace(evaluate=_last_frame(baseline.evaluate))
  kind = Kind(
    metric=METRIC,
    score='miou',
    others=OTHERS,
    notes=NOTES,
    scores=scores_of,
    by_class=_by_class,
    clips=_clips,
    shot=_shot,
    smaller=functools.partial(on_smaller, baseline),
  )
  return gather(
    params,
    model_state,
    kind=kind,
    net=models.create(model, num_classes=classes),
    baseline=baseline,
    options=options,
    **others,
  )


def on_smaller(baseline: Task, size: Size) -> Task:
  """The network's task on frames made smaller, against the labels as before."""
  name = rivals.name_of(size)

  def small(batch):
    return {**batch, 'frames': rivals.shrunk(batch['frames'], size)}

  def losses(params, model_state, batch, key):
    return baseline.losses(params, model_state, small(batch), key)

  def evaluate(params, model_state, batch):
    counts = baseline.evaluate(params, model_state, small(batch))
    return {f'{name}/{key.split("/")[1]}': x for key, x in counts.items()}

  def summarise(counts):
    return scores_of(name, counts)

  return baseline._replace(
    losses=losses, evaluate=evaluate, summarise=summarise
  )


def _last_frame(evaluate):
  """Counts of the last frame alone, the only one that has labels."""

  def run(*given):
    name = 'teacher/confusion'
    return {name: evaluate(*given)[name][:, -1:]}

  return run


def _by_class(name: str, counts: Mapping[str, np.ndarray]) -> np.ndarray:
  return np.asarray(iou(counts[f'{name}/confusion'].sum(0)))


def _clips(_, dataset: Sequence[Batch]) -> list[int]:
  """The first clip of the first batch, and of the last."""
  return sorted({0, (len(dataset) - 1) * len(dataset[0]['mask'])})


def _shot(batch, row, t, caption, outs) -> LabelShot:
  label = batch['labels'][row, t]
  seen = (
    np.asarray(predict(out[None], label.shape)[0, 0], np.uint8)
    for out in (outs.teacher, outs.delta)
  )
  return LabelShot(batch['frames'][row, t], caption, label, *seen)
