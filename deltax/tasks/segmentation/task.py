"""Semantic segmentation of video: a per-frame teacher, or its delta network."""

from collections.abc import Mapping
from typing import Any

from deltax import models
from deltax.models.inputs import normalise
from deltax.task import Task
from deltax.tasks.parts import (
  check_options,
  fold,
  options_of,
  unfold,
  variables_of,
)
from deltax.tasks.segmentation.delta import make_delta_task
from deltax.tasks.segmentation.parts import judge, make_loss, scores_of
from deltax.tasks.start import check_one_start, start


def make_task(
  *,
  model: str,
  num_classes: int,
  loss: Mapping[str, Any] | None = None,
  pretrained: str = '',
  delta: Mapping[str, Any] | None = None,
  teacher: Any = None,
  axis_name: str | None = None,
) -> Task:
  """The task of a teacher on single frames, or of its delta network on clips.

  Batches hold 'frames' uint8 `[B, T, H, W, 3]` and 'labels' `[B, T, H, W]`, 255
  where there is none. Evaluation batches may hold the motion to the frame
  before, 'flow' float32 `[B, T, H, W, 2]` in pixels, and 'visible' bool `[B, T,
  H, W]`, whether the pixel was seen there.

  Args:
    model: name of the network.
    num_classes: K.
    loss: options of the task loss: `hard` keeps hard pixels only, with
      `threshold` and `min_kept`; `class_weights` are K factors.
    pretrained: name of packaged weights for the backbone; '' for none.
    delta: None for the teacher; else options of `make_delta_task`.
    teacher: variables of a run that the training starts from; a teacher of
      another number of classes gets a new head. None draws them.
    axis_name: mapped axis over which batch statistics are pooled.

  Returns:
    The task.

  Raises:
    ValueError: for options that do not go together; from `init`, for a teacher
      that is another network.
  """
  check_one_start(pretrained, teacher)
  check_options('the loss', loss or {}, options_of(make_loss))
  if delta is not None:
    return make_delta_task(
      model=model,
      num_classes=num_classes,
      loss=loss,
      pretrained=pretrained,
      teacher=teacher,
      axis_name=axis_name,
      **delta,
    )
  net = models.create(model, num_classes=num_classes)
  training_net = models.create(
    model, num_classes=num_classes, axis_name=axis_name
  )
  task_loss = make_loss(**(loss or {}))

  def init(key, batch):
    frame = normalise(batch['frames'][:1, 0])
    variables = start(net, key, frame, pretrained=pretrained, teacher=teacher)
    return (
      {'teacher': variables['params']},
      {'batch_stats': variables['batch_stats']},
    )

  def losses(params, model_state, batch, key):
    del key
    frames = normalise(batch['frames'])
    logits, updates = training_net.apply(
      variables_of(params, model_state),
      fold(frames),
      train=True,
      mutable=['batch_stats'],
    )
    logits = unfold(logits, len(frames))
    return {'task': task_loss(logits, batch['labels'])}, {
      **model_state,
      'batch_stats': updates['batch_stats'],
    }

  def evaluate(params, model_state, batch):
    frames = normalise(batch['frames'])
    logits = net.apply(variables_of(params, model_state), fold(frames))
    logits = unfold(logits, len(frames))
    return judge('teacher', logits, batch, num_classes)

  def summarise(counts):
    return scores_of('teacher', counts)

  return Task(init, losses, evaluate, summarise)
