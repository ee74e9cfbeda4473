"""Segmentation by a delta network, trained on clips.

Source: Habibian et al., ECCV 2022, section 4.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax import models
from deltax.delta.run.keyframes import phase_at
from deltax.losses.segmentation import divergence
from deltax.models.inputs import normalise
from deltax.task import Task
from deltax.tasks.parts import delta_params
from deltax.tasks.segmentation.parts import judge, make_loss, scores_of
from deltax.tasks.start import start
from deltax.tasks.video.objective import make_objective
from deltax.tasks.video.rivals import copied
from deltax.types import Array


def make_delta_task(
  *,
  model: str,
  num_classes: int,
  loss: Mapping[str, Any] | None,
  teacher: Any,
  pretrained: str = '',
  axis_name: str | None,
  intervals: Sequence[int] = (3, 5, 10),
  task_weight: float = 1.0,
  imitation_weight: float = 0.0,
  judge_last: bool = False,
  **options: Any,
) -> Task:
  """The task of a delta network, trained on clips whose frame 0 is the key.

  Args:
    model: name of the network.
    num_classes: K.
    loss: options of the task loss.
    teacher: variables of a run to start from; None draws them.
    pretrained: name of packaged weights for the backbone of variables that are
      drawn; '' for none.
    axis_name: mapped axis over which batch statistics are pooled.
    intervals: key-frame intervals to evaluate.
    task_weight: of the task loss on labelled frames.
    imitation_weight: of the divergence of later frames' class probabilities
      from the teacher's own on those frames.
    judge_last: for data whose clips are labelled in their last frame only:
      evaluation lets that frame follow the key frame at every distance below
      the interval, as published, on clips of at least as many frames.
    **options: see `deltax.tasks.video.objective.make_objective`.

  Returns:
    The task.

  Raises:
    ValueError: for options that do not go together.
  """
  net = models.create(model, num_classes=num_classes)
  training_net = models.create(
    model, num_classes=num_classes, axis_name=axis_name
  )
  objective = make_objective(net, training_net, axis_name=axis_name, **options)
  delta = objective.delta
  task_loss = make_loss(**(loss or {}))

  def init(key, batch):
    frame = normalise(batch['frames'][:1, 0])
    variables = start(
      *(net, key, frame),
      pretrained=pretrained,
      teacher=teacher,
      new_head=False,
    )
    return objective.init(key, variables, frame)

  def losses(params, model_state, batch, key):
    clip = normalise(batch['frames'])
    passed = objective.losses(params, model_state, clip, key)
    named = {'task': task_weight * task_loss(passed.outs, batch['labels'])}
    if imitation_weight:
      named['imitation'] = imitation_weight * divergence(
        passed.outs[:, 1:], passed.targets[:, 1:]
      )
    return {**named, **passed.losses}, passed.model_state

  def evaluate(params, model_state, batch):
    clip = normalise(batch['frames'])
    runs = runs_of(intervals, clip.shape[1], judge_last)
    whole = delta_params(params, model_state)
    # All runs are one compiled rollout.
    outs = jax.lax.map(
      lambda run: delta.rollout(whole, clip, run[0], phase=run[1]),
      jnp.array(runs),
    )
    copies = [copied(outs[0], *run) for run in runs[1:]]
    if judge_last:
      outs, copies = outs[:, :, -1:], [x[:, -1:] for x in copies]
      batch = {'labels': batch['labels'][:, -1:]}
    judged = [judge('', out, batch, num_classes) for out in outs]
    copies = [judge('', out, batch, num_classes) for out in copies]
    return {
      **counts_of('delta', runs, judged),
      **counts_of('copied', runs, [judged[0], *copies]),
    }

  def summarise(counts):
    scores = scores_of('teacher', counts)
    for interval in intervals:
      for name in (f'delta_{interval}', f'copied_{interval}'):
        scores |= scores_of(name, counts, interval)
    return scores

  return Task(
    *(init, losses, evaluate, summarise, objective.watch),
    fit=objective.fitting(normalise),
    choose=objective.choosing(normalise),
  )


def runs_of(
  intervals: Sequence[int], time: int, judge_last: bool
) -> list[tuple[int, int]]:
  """The rollouts that an evaluation needs: an interval and a phase of each.

  Args:
    intervals: of key frames.
    time: T, frames of a clip.
    judge_last: whether only the last frame counts, which is then put at
      distance 0, 1, ... to its key frame.

  Returns:
    The first is the teacher's, of interval 1.

  Raises:
    ValueError: clips too short to have the last frame at every distance.

  Example:
    >>> runs_of((2,), 5, judge_last=False)
    [(1, 0), (2, 0)]
    >>> runs_of((2,), 5, judge_last=True)
    [(1, 0), (2, 0), (2, 1)]
  """
  if judge_last and time < max(intervals):
    raise ValueError(
      f'clips of {time} frames have no key frame {max(intervals) - 1} frames '
      'before the last; give evaluation clips as many frames as the interval'
    )
  runs = [(1, 0)]
  for interval in intervals:
    phases = [0]
    if judge_last:
      phases = [phase_at(time - 1, d, interval) for d in range(interval)]
    runs += [(interval, phase) for phase in phases]
  return runs


def counts_of(
  network: str,
  runs: Sequence[tuple[int, int]],
  judged: Sequence[Mapping[str, Array]],
) -> dict[str, Array]:
  """Counts by network, from those of every run.

  Args:
    network: 'delta', or what stands in its place.
    runs: as `runs_of` gives them.
    judged: for each what `judge` counts, by '/<name>'.

  Returns:
    The counts by 'teacher/<name>' and '<network>_<interval>/<name>'; several
    runs of an interval stand for its distances, along the axis of frames.
  """
  counts = {f'teacher{name}': value for name, value in judged[0].items()}
  by_interval = {}
  for (interval, _), counted in zip(runs[1:], judged[1:], strict=True):
    by_interval.setdefault(interval, []).append(counted)
  for interval, several in by_interval.items():
    for name in several[0]:
      values = [counted[name] for counted in several]
      counts[f'{network}_{interval}{name}'] = (
        jnp.concatenate(values, 1) if len(values) > 1 else values[0]
      )
  return counts
