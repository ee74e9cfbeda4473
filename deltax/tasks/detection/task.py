"""Object detection in video: a per-frame teacher, or its delta network."""

from collections.abc import Mapping
from typing import Any

import jax

from deltax.models.inputs import normalise
from deltax.task import Task
from deltax.tasks.detection.delta import make_delta_task
from deltax.tasks.detection.detectors import make_detector
from deltax.tasks.detection.parts import (
  detections_on,
  frame_losses,
  scores_of,
  truths,
)
from deltax.tasks.parts import fold, variables_of
from deltax.tasks.start import check_one_start, start


def make_task(
  *,
  model: str,
  num_classes: int,
  size: tuple[int, int],
  detector: Mapping[str, Any] | None = None,
  pretrained: str = '',
  batch_statistics: bool = True,
  delta: Mapping[str, Any] | None = None,
  teacher: Any = None,
  axis_name: str | None = None,
) -> Task:
  """The task of a detector on single frames, or of its delta network on clips.

  Batches hold 'frames' uint8 `[B, T, H, W, 3]`, 'boxes' float32 `[B, T, N, 4]`
  (x0, y0, x1, y1 in pixels), 'classes' int32 `[B, T, N]`, -1 where there is no
  box, 'size' float32 `[B, 2]`, rows and columns of the picture inside the
  frame, and 'real' bool `[B, T]`; frames that are not real never count.

  Args:
    model: name of the network.
    num_classes: K.
    size: (H, W) of the frames.
    detector: options of `detectors.make_detector`.
    pretrained: name of packaged weights for the backbone; '' for none.
    batch_statistics: whether the teacher trains with batch statistics; a delta
      network has an option of that name in `delta`.
    delta: None for the teacher; else options of `make_delta_task`.
    teacher: variables of a run that the training starts from; a teacher of
      another number of classes gets a new head. None draws them.
    axis_name: mapped axis over which batch statistics are pooled.

  Returns:
    The task. Its evaluation stacks detections, since average precision is no
    function of sums.

  Raises:
    ValueError: for options that do not go together; from `init`, for a teacher
      that is another network.
  """
  check_one_start(pretrained, teacher)
  if delta is not None and not batch_statistics:
    raise ValueError(
      'batch_statistics=False is for a detector without delta=; a delta '
      'network takes delta.batch_statistics'
    )
  made = make_detector(
    model,
    num_classes=num_classes,
    size=tuple(size),
    axis_name=axis_name,
    **(detector or {}),
  )
  if delta is not None:
    return make_delta_task(
      *(made, num_classes),
      pretrained=pretrained,
      teacher=teacher,
      axis_name=axis_name,
      **delta,
    )

  def init(key, batch):
    frame = normalise(batch['frames'][:1, 0])
    variables = start(
      made.net, key, frame, pretrained=pretrained, teacher=teacher
    )
    return (
      {'teacher': variables['params']},
      {'batch_stats': variables['batch_stats']},
    )

  def losses(params, model_state, batch, key):
    variables = variables_of(params, model_state)
    frames = fold(normalise(batch['frames']))
    key, dropout = jax.random.split(key)
    outs, updates = _trained(
      made.training_net, variables, frames, dropout, batch_statistics
    )
    model_state = {**model_state, **updates}
    return frame_losses(made, variables, outs, batch, key), model_state

  def evaluate(params, model_state, batch):
    variables = variables_of(params, model_state)
    outs = made.net.apply(variables, fold(normalise(batch['frames'])))
    return {
      **truths(batch),
      **detections_on('teacher', made, variables, outs, batch),
    }

  def summarise(arrays):
    return scores_of('teacher', arrays, num_classes)

  return Task(init, losses, evaluate, summarise, stack=True)


def _trained(net, variables, frames, dropout, batch_statistics):
  """Outputs of a network in training, and its new statistics, if any."""
  if not batch_statistics:
    return net.apply(variables, frames), {}
  return net.apply(
    *(variables, frames),
    train=True,
    mutable=['batch_stats'],
    rngs={'dropout': dropout},
  )
