"""Segmentation by a delta network, trained on clips.

Source: Habibian et al., ECCV 2022, section 4.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax import models
from deltax.delta import gates as gating
from deltax.task import Task
from deltax.tasks.segmentation_parts import (
  judge,
  make_loss,
  normalise,
  scores_of,
  variables_of,
)
from deltax.training.parallel import mean_over_devices
from deltax.types import Array


def make_delta_task(
  *,
  model: str,
  num_classes: int,
  loss: Mapping[str, Any] | None,
  teacher: Any,
  axis_name: str | None,
  spec: Mapping[str, Any] | None = None,
  intervals: Sequence[int] = (3, 5, 10),
  task_weight: float = 1.0,
  imitation_weight: float = 0.0,
  distillation_weight: float = 0.01,
  distillation_steps: int | None = None,
  budget_weight: float = 0.1,
  published_cost: bool = False,
  train_teacher: bool = True,
  batch_statistics: bool = True,
  scan: bool = False,
  judge_last: bool = False,
) -> Task:
  """The task of a delta network, trained on clips whose frame 0 is the key.

  Args:
    model: name of the network.
    num_classes: K.
    loss: options of the task loss.
    teacher: variables to start from; None draws them.
    axis_name: mapped axis over which batch statistics are pooled.
    spec: options of `deltax.delta.make_spec`; absent, the published setting.
    intervals: key-frame intervals to evaluate.
    task_weight: of the task loss on labelled frames.
    imitation_weight: of the divergence of later frames' class probabilities
      from the teacher's own on those frames.
    distillation_weight: of the mean over layers of the squared error of the
      predicted changes, divided by its value at the first step.
    distillation_steps: the distillation loss ends after so many steps.
    budget_weight: of the expected cost of the later frames, as a share.
    published_cost: whether only the first candidate, the full copy, has a
      price: the teacher's.
    train_teacher: whether gradients reach the teacher's weights.
    batch_statistics: whether batch norm uses and updates batch statistics, or
      the teacher's running ones.
    scan: whether clips roll through `lax.scan` in training; needs running
      statistics.
    judge_last: for data whose clips are labelled in their last frame only:
      evaluation lets that frame follow the key frame at every distance below
      the interval, as published, on clips of at least as many frames.

  Returns:
    The task.

  Raises:
    ValueError: for `scan` with batch statistics.
  """
  if scan and batch_statistics:
    raise ValueError(
      'scan=True trains frame by frame, where there are no batch statistics; '
      'set batch_statistics=False'
    )
  net = models.create(model, num_classes=num_classes)
  spec = delta_wing.make_spec(**(spec or {}))
  delta = delta_wing.distill(net, spec)
  training_net = models.create(
    model, num_classes=num_classes, axis_name=axis_name
  )
  training_delta = delta_wing.distill(training_net, spec)
  task_loss = make_loss(**(loss or {}))

  def init(key, batch):
    frame = normalise(batch['frames'][:1, 0])
    variables = jax.jit(net.init)(key, frame) if teacher is None else teacher
    params = jax.jit(delta.init)(key, variables, frame)
    return {**params, 'teacher': params['teacher']['params']}, {
      'batch_stats': variables['batch_stats'],
      'distillation_scale': jnp.zeros(()),
      'step': jnp.zeros((), jnp.int32),
    }

  def losses(params, model_state, batch, key):
    if not train_teacher:
      params = {**params, 'teacher': jax.lax.stop_gradient(params['teacher'])}
    whole = {**params, 'teacher': variables_of(params, model_state)}
    clip = normalise(batch['frames'])
    if clip.shape[1] < 2:
      raise ValueError(
        'a delta network trains on clips of two frames or more, got clips of '
        'one; set clip_length=2'
      )
    gates = delta.sample(key, whole)
    outs, aux = training_delta.clip(
      whole, clip, key=key, train=batch_statistics, gates=gates, scan=scan
    )
    targets, changes = delta.reference(whole, clip)
    errors = delta_wing.losses.distillation(aux.deltas, changes)
    distillation = delta_wing.losses.average(errors)
    # The first batch in which anything moves fixes the scale, over all
    # devices; 0 is "not yet".
    size = jax.lax.stop_gradient(
      mean_over_devices(distillation.mean(), axis_name)
    )
    first = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)
    scale = model_state['distillation_scale']
    scale = jnp.where(scale > 0, scale, first)
    active = 1.0
    if distillation_steps is not None:
      active = jnp.where(model_state['step'] < distillation_steps, 1.0, 0.0)
    prices, own = delta.costs(whole, clip)
    if published_cost:
      prices = {
        path: (own[path], *[0.0] * (len(costs) - 1))
        for path, costs in prices.items()
      }
    terms = {
      'task': task_weight * task_loss(outs, batch['labels']),
      'distillation': distillation_weight * active * scale * distillation,
      'budget': budget_weight * delta_wing.losses.budget(gates, prices, own),
    }
    if imitation_weight:
      terms['imitation'] = imitation_weight * imitation(
        outs[:, 1:], targets[:, 1:]
      )
    return terms, {
      'batch_stats': aux.batch_stats,
      'distillation_scale': scale,
      'step': model_state['step'] + 1,
    }

  def evaluate(params, model_state, batch):
    whole = {**params, 'teacher': variables_of(params, model_state)}
    clip, labels = normalise(batch['frames']), batch['labels']
    time = clip.shape[1]
    if judge_last and time < max(intervals):
      raise ValueError(
        f'clips of {time} frames have no key frame {max(intervals) - 1} frames '
        'before the last; give evaluation clips as many frames as the interval'
      )
    # An interval of 1 is the teacher. All runs are one compiled rollout.
    runs = [(1, 0)] + [
      (interval, phase)
      for interval in intervals
      for phase in (phases(time, interval) if judge_last else [0])
    ]
    outs = jax.lax.map(
      lambda run: delta.rollout(whole, clip, run[0], phase=run[1]),
      jnp.array(runs),
    )
    if judge_last:
      outs, batch = outs[:, :, -1:], {'labels': labels[:, -1:]}
    judged = [judge('', out, batch, num_classes) for out in outs]
    counts = {f'teacher{name}': value for name, value in judged[0].items()}
    for interval in intervals:
      own = [
        found
        for found, (n, _) in zip(judged, runs, strict=True)
        if n == interval
      ]
      for name in own[0]:
        values = [found[name] for found in own]
        counts[f'delta_{interval}{name}'] = (
          jnp.concatenate(values, 1) if judge_last else values[0]
        )
    return counts

  def phases(time, interval):
    """Phases that put the last frame at distance 0, 1, ... to its key frame."""
    return [(d + 1 - time) % interval for d in range(interval)]

  def summarise(counts):
    scores = scores_of('teacher', counts)
    for interval in intervals:
      scores |= scores_of(f'delta_{interval}', counts, interval)
    return scores

  def watch(params, model_state):
    del model_state
    return {
      f'gate/{path}': gating.probabilities(logits)[0]
      for path, logits in params['gates'].items()
    }

  return Task(init, losses, evaluate, summarise, watch)


def imitation(logits: Array, target: Array) -> Array:
  """Divergence of class probabilities from a target's, at every place.

  Args:
    logits: `[B, T, h, w, K]` scores.
    target: `[B, T, h, w, K]` scores to be matched; no gradient flows to them.

  Returns:
    `[B]` Kullback-Leibler divergence of the target from the scores, in nats.
  """
  target = jax.nn.log_softmax(jax.lax.stop_gradient(target))
  divergence = jnp.exp(target) * (target - jax.nn.log_softmax(logits))
  return divergence.sum(-1).mean((1, 2, 3))
