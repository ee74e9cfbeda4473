"""Semantic segmentation of video: a per-frame teacher, or its delta network.

Source: Habibian et al., ECCV 2022, section 4.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax import delta as delta_wing
from deltax import models
from deltax.delta import gates as gating
from deltax.layers import resize_bilinear
from deltax.losses import segmentation as losses_of
from deltax.metrics import segmentation as metrics_of
from deltax.metrics.temporal import consistency
from deltax.task import Task
from deltax.training.parallel import mean_over_devices
from deltax.types import Array, Params

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(frames: Array) -> Array:
  """uint8 RGB, 0 to 255, to float32 of about zero mean and unit variance."""
  mean, std = (jnp.asarray(x, jnp.float32) * 255 for x in (MEAN, STD))
  axes = tuple(range(frames.ndim - 1))
  mean, std = jnp.expand_dims(mean, axes), jnp.expand_dims(std, axes)
  return (frames.astype(jnp.float32) - mean) / std


def predict(logits: Array, size: tuple[int, int]) -> Array:
  """Classes of every pixel.

  Args:
    logits: `[B, T, h, w, K]` scores.
    size: (H, W) of the labels, to which the scores are resized.

  Returns:
    int32 `[B, T, H, W]`.
  """
  return upsample(logits, size).argmax(-1).astype(jnp.int32)


def upsample(logits: Array, size: tuple[int, int]) -> Array:
  """`[B, T, h, w, K]` scores at (H, W), bilinearly."""
  flat = logits.reshape(-1, *logits.shape[2:])
  return resize_bilinear(flat, size).reshape(
    *logits.shape[:2], *size, logits.shape[-1]
  )


def make_task(
  *,
  model: str,
  num_classes: int,
  loss: Mapping[str, Any] | None = None,
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
    delta: None for the teacher; else options of `make_delta_task`.
    teacher: variables that the delta network starts from.
    axis_name: mapped axis over which batch statistics are pooled.

  Returns:
    The task.
  """
  if delta is not None:
    return make_delta_task(
      model=model,
      num_classes=num_classes,
      loss=loss,
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
    variables = jax.jit(net.init)(key, frame)
    return (
      {'teacher': variables['params']},
      {'batch_stats': variables['batch_stats']},
    )

  def losses(params, model_state, batch, key):
    del key
    frames = normalise(batch['frames'])
    logits, updates = training_net.apply(
      variables_of(params, model_state),
      frames.reshape(-1, *frames.shape[2:]),
      train=True,
      mutable=['batch_stats'],
    )
    logits = logits.reshape(*frames.shape[:2], *logits.shape[1:])
    return {'task': task_loss(logits, batch['labels'])}, {
      **model_state,
      'batch_stats': updates['batch_stats'],
    }

  def evaluate(params, model_state, batch):
    frames = normalise(batch['frames'])
    logits = net.apply(
      variables_of(params, model_state), frames.reshape(-1, *frames.shape[2:])
    )
    logits = logits.reshape(*frames.shape[:2], *logits.shape[1:])
    return judge('teacher', logits, batch, num_classes)

  def summarise(counts):
    return scores_of('teacher', counts)

  return Task(init, losses, evaluate, summarise)


def make_loss(
  *,
  hard: bool = False,
  threshold: float = 0.9,
  min_kept: int = 131072,
  class_weights: Sequence[float] | None = None,
):
  """`(logits [B, T, h, w, K], labels [B, T, H, W]) -> [B]`, see `make_task`."""

  def loss(logits, labels):
    logits = upsample(logits, labels.shape[2:])
    if hard:
      return losses_of.hard_cross_entropy(
        logits,
        labels,
        class_weights,
        threshold=threshold,
        min_kept=min_kept,
      )
    return losses_of.cross_entropy(logits, labels, class_weights)

  return loss


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
    published_cost: whether only the full copies have a price.
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
      prices = {path: (own[path], 0.0) for path in prices}
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


def judge(
  name: str, logits: Array, batch: Mapping[str, Array], num_classes: int
) -> dict[str, Array]:
  """Counts of one network's predictions on clips.

  Args:
    name: prefix of the counts.
    logits: `[B, T, h, w, K]` scores.
    batch: with 'labels', and with 'flow' and 'visible' where motion is known.
    num_classes: K.

  Returns:
    '<name>/confusion' `[B, T, K, K]`, and '<name>/kept' and '<name>/moved'
    `[B]` where motion is known.
  """
  labels = batch['labels']
  predictions = predict(logits, labels.shape[2:])
  counts = {'confusion': metrics_of.confusion(predictions, labels, num_classes)}
  if 'flow' in batch:
    motion = batch['flow'][:, 1:], batch['visible'][:, 1:]
    counts |= consistency(predictions, *motion)
  return {f'{name}/{key}': value for key, value in counts.items()}


def scores_of(
  name: str, counts: Mapping[str, np.ndarray], interval: int = 1
) -> dict[str, float]:
  """Scores from the summed counts of `judge`.

  Args:
    name: prefix of the counts.
    counts: summed over clips: '<name>/confusion' `[T, K, K]` and the others.
    interval: distance of key frames in the clips.

  Returns:
    '<name>/miou': mean over distances to the key frame of the mean IoU at that
    distance (over all frames, for interval 1); '<name>/miou_<d>' at each
    distance; '<name>/consistency' where motion is known. All are 0 to 1.
  """
  by_distance = by_distance_of(counts[f'{name}/confusion'], interval)
  mious = [float(metrics_of.mean_iou(c)) for c in by_distance]
  scores = {f'{name}/miou': float(np.mean(mious))}
  if interval > 1:
    scores |= {f'{name}/miou_{d}': miou for d, miou in enumerate(mious)}
  if f'{name}/moved' in counts:
    moved = np.maximum(counts[f'{name}/moved'], 1)
    scores[f'{name}/consistency'] = float(counts[f'{name}/kept'] / moved)
  return scores


def intervals_of(counts: Mapping[str, Any]) -> list[int]:
  """Key-frame intervals that a task's counts were made at, smallest first."""
  names = (name.split('/')[0] for name in counts)
  return sorted(
    {int(n.removeprefix('delta_')) for n in names if n.startswith('delta_')}
  )


def by_distance_of(confusion: np.ndarray, interval: int) -> list[np.ndarray]:
  """`[T, K, K]` confusions of a clip's frames, summed by distance to the key.

  A single frame (the only labelled one) stands for every distance.
  """
  if len(confusion) == 1:
    return [confusion[0]] * interval
  return [confusion[d::interval].sum(0) for d in range(interval)]


def variables_of(params: Params, model_state: Any) -> dict[str, Any]:
  """The teacher's variables, from what is trained and what is tracked."""
  return {
    'params': params['teacher'],
    'batch_stats': model_state['batch_stats'],
  }
