"""Detection by a delta network, trained on clips.

Source: Habibian et al., ECCV 2022, section 4.1.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax.delta import Delta
from deltax.models.inputs import normalise
from deltax.task import Task
from deltax.tasks.detection.detectors import Detector
from deltax.tasks.detection.parts import (
  detections_on,
  frame_losses,
  imitation,
  scores_of,
  truths,
)
from deltax.tasks.parts import delta_params, fold
from deltax.tasks.start import start
from deltax.tasks.video.objective import make_objective
from deltax.tasks.video.rivals import copied
from deltax.types import Array, Batch, Params


def make_delta_task(
  detector: Detector,
  num_classes: int,
  *,
  teacher: Any,
  pretrained: str = '',
  axis_name: str | None,
  intervals: Sequence[int] = (3, 5, 10),
  task_weight: float = 1.0,
  imitation_weight: float = 0.0,
  **options: Any,
) -> Task:
  """The task of a delta network, trained on clips whose frame 0 is the key.

  Args:
    detector: the teacher.
    num_classes: K.
    teacher: variables of a run to start from; None draws them.
    pretrained: name of packaged weights for the backbone of variables that are
      drawn; '' for none.
    axis_name: mapped axis over which batch statistics are pooled.
    intervals: key-frame intervals to evaluate.
    task_weight: of the detector's own losses, on all frames of the clip.
    imitation_weight: of the difference of a later frame's outputs from the
      teacher's own, as the detector measures it.
    **options: see `deltax.tasks.video.objective.make_objective`.

  Returns:
    The task.
  """
  objective = make_objective(
    detector.net, detector.training_net, axis_name=axis_name, **options
  )
  delta = objective.delta

  def init(key, batch):
    frame = normalise(batch['frames'][:1, 0])
    variables = start(
      *(detector.net, key, frame),
      pretrained=pretrained,
      teacher=teacher,
      new_head=False,
    )
    return objective.init(key, variables, frame)

  def losses(params, model_state, batch, key):
    key, sampling = jax.random.split(key)
    clip = normalise(batch['frames'])
    passed = objective.losses(params, model_state, clip, key)
    outs = jax.tree.map(fold, passed.outs)
    own = frame_losses(detector, passed.teacher, outs, batch, sampling)
    named = {name: task_weight * value for name, value in own.items()}
    if imitation_weight:
      named['imitation'] = imitation_weight * imitation(
        detector, passed.outs, passed.targets
      )
    return {**named, **passed.losses}, passed.model_state

  def evaluate(params, model_state, batch):
    whole = delta_params(params, model_state)
    clip = normalise(batch['frames'])
    # An interval of 1 is the teacher. All runs are one compiled rollout.
    detections = jax.lax.map(
      functools.partial(detections_at, detector, delta, whole, clip, batch),
      jnp.array([1, *intervals]),
    )
    arrays = truths(batch)
    for field, (exact, *found) in detections.items():
      arrays[f'teacher{field}'] = exact
      for interval, value in zip(intervals, found, strict=True):
        arrays[f'delta_{interval}{field}'] = value
        arrays[f'copied_{interval}{field}'] = copied(exact, interval)
    return arrays

  def summarise(arrays):
    scores = scores_of('teacher', arrays, num_classes)
    for interval in intervals:
      for name in (f'delta_{interval}', f'copied_{interval}'):
        scores |= scores_of(name, arrays, num_classes, interval)
    return scores

  return Task(
    *(init, losses, evaluate, summarise, objective.watch),
    fit=objective.fitting(normalise),
    choose=objective.choosing(normalise),
    stack=True,
  )


def detections_at(
  detector: Detector,
  delta: Delta,
  whole: Params,
  clip: Array,
  batch: Batch,
  interval: Array,
) -> dict[str, Array]:
  """Detections of a rollout by '/<field>', as `detections_on` gives them.

  Args:
    detector: the teacher.
    delta: its delta network.
    whole: parameters of the delta network.
    clip: float32 `[B, T, H, W, 3]`.
    batch: see `deltax.tasks.detection.task.make_task`.
    interval: `[]` distance of key frames; may be traced.
  """
  outs = jax.tree.map(fold, delta.rollout(whole, clip, interval))
  return detections_on('', detector, whole['teacher'], outs, batch)
