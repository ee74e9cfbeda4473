"""Imitation: a delta network of any network, on videos without labels.

What it should give on a later frame, the network itself tells.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from deltax.layers import resize_bilinear
from deltax.task import Task
from deltax.tasks.imitation import outputs as outputs_of
from deltax.tasks.network import Brought, bring
from deltax.tasks.parts import delta_params
from deltax.tasks.video import rivals
from deltax.tasks.video.objective import Objective, make_objective
from deltax.types import Array, Batch


def make_task(
  *,
  model: str,
  size: Sequence[int],
  options: Mapping[str, Any] | None = None,
  preparation: Mapping[str, Any] | None = None,
  outputs: Mapping[str, str] | None = None,
  draw: str = '',
  delta: Mapping[str, Any],
  teacher: Any = None,
  axis_name: str | None = None,
) -> Task:
  """The task of a delta network that agrees with its teacher, which stays.

  Batches hold 'frames' uint8 `[B, T, H, W, 3]`; frame 0 is the key frame.

  Args:
    model: the network, see `deltax.models.brought.load`.
    size: (H, W) of the frames of an evaluation.
    options: keyword arguments of what makes the network.
    preparation: options of `deltax.models.inputs.make_preparation`: from uint8
      frames to what the network takes.
    outputs: kinds by output, of which the first stands for all; see
      `deltax.tasks.imitation.kinds.KINDS`. Absent or empty, guessed.
    draw: what draws the outputs in a report and in `deltax run`, see
      `deltax.tasks.imitation.drawing`; '' for a drawing by their kind.
    delta: options of the delta network: `intervals` of key frames to evaluate;
      `imitation_weight` of the losses of the outputs; and see
      `deltax.tasks.video.objective.make_objective`.
    teacher: the network's variables; None draws them.
    axis_name: mapped axis of the devices.

  Returns:
    The task. Its scores are agreement with the teacher on later frames, of the
    delta network ('delta_<interval>') and of the key frame's outputs in place
    of the later frame's own ('copied_<interval>'); and on all frames, of the
    network on smaller ones ('smaller_<rows>x<columns>').

  Raises:
    ValueError: for options that do not go together, or an output or a kind that
      there is not.
  """
  del draw
  brought = bring(model, options, preparation)
  if outputs:
    _check_told(brought, outputs, size)
  # A guess takes a pass of the network: not before something is computed.
  kinds = functools.cache(lambda: kinds_of(brought, outputs, size, teacher))
  return _task(brought, kinds, teacher, axis_name, **delta)


def kinds_of(
  brought: Brought,
  outputs: Mapping[str, str] | None,
  size: Sequence[int],
  teacher: Any,
) -> dict[str, str]:
  """The kinds of a network's outputs: those that were told, or a guess.

  Args:
    brought: the network.
    outputs: kinds by output, or nothing.
    size: (H, W) of frames that it takes.
    teacher: its variables; None for such as it starts with.

  Raises:
    ValueError: an output or a kind that there is not.
  """
  if outputs:
    _check_told(brought, outputs, size)
    return dict(outputs)
  # Also where a step is traced that asks first.
  with jax.ensure_compile_time_eval():
    # Soft blobs, the same in every process: outputs of noise say little.
    coarse = np.random.default_rng(0).integers(0, 256, (1, 6, 8, 3), np.uint8)
    frame = jax.image.resize(coarse.astype(np.float32), (1, *size, 3), 'linear')
    frame = brought.prepare(jnp.asarray(frame, jnp.uint8))
    if teacher is None:
      teacher = brought.variables(jax.random.key(0), frame)
    kinds = outputs_of.guessed(jax.jit(brought.net.run)(teacher, frame))
  logging.info('the kinds of the outputs are a guess: %s', kinds)
  return kinds


def _check_told(
  brought: Brought, outputs: Mapping[str, str], size: Sequence[int]
) -> None:
  """Raises a ValueError for an output or a kind that there is not."""
  pixels = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
  frame = jax.eval_shape(brought.prepare, pixels)
  shapes = brought.shapes(frame)
  outputs_of.check(outputs, jax.eval_shape(brought.net.run, shapes, frame))


def _task(
  brought: Brought,
  kinds: Callable[[], Mapping[str, str]],
  teacher: Any,
  axis_name: str | None,
  *,
  intervals: Sequence[int] = (3, 10, 30),
  imitation_weight: float = 1.0,
  **options: Any,
) -> Task:
  """See `make_task`."""
  objective = make_objective(
    *(brought.net, brought.net),
    axis_name=axis_name,
    **{'batch_statistics': False, **options, 'train_teacher': False},
  )
  prepare = brought.prepare

  def init(key, batch):
    frame = prepare(jnp.asarray(batch['frames'][:1, 0]))
    kinds()  # an output that there is not is told before a step
    variables = teacher
    if variables is None:
      variables = brought.variables(jax.random.fold_in(key, 1), frame)
    return objective.init(key, variables, frame)

  def losses(params, model_state, batch, key):
    clip = prepare(batch['frames'])
    passed = objective.losses(params, model_state, clip, key)
    own, target = (
      jax.tree.map(lambda x: x[:, 1:], outs)
      for outs in (passed.outs, passed.targets)
    )
    named = outputs_of.losses(kinds(), own, target, axis_name)
    imitated = {
      f'imitation/{name}': imitation_weight * loss
      for name, loss in named.items()
    }
    return {**imitated, **passed.losses}, passed.model_state

  def evaluate(params, model_state, batch):
    whole = delta_params(params, model_state)
    clip = prepare(batch['frames'])
    runs = _runs(objective, intervals, whole, clip)
    counts = {}
    for name, own in runs.items():
      counts |= outputs_of.judge(name, kinds(), own, runs['teacher'])
      counts |= outputs_of.follow(name, kinds(), own, batch)
    for size in rivals.sizes_below(clip.shape[2:4]):
      if rivals.takes(brought.net, prepare, whole['teacher'], size):
        own = _on_smaller(brought, whole['teacher'], batch, size, runs)
        name = rivals.name_of(size)
        counts |= outputs_of.judge(name, kinds(), own, runs['teacher'])
    return counts

  def summarise(counts):
    scores = outputs_of.scores_of('teacher', kinds(), counts)
    for name in {name.partition('/')[0] for name in counts}:
      if name.startswith('smaller_'):
        scores |= outputs_of.scores_of(name, kinds(), counts)
    for interval in intervals:
      for name in (f'delta_{interval}', f'copied_{interval}'):
        scores |= outputs_of.scores_of(name, kinds(), counts, interval)
    return scores

  return Task(
    *(init, losses, evaluate, summarise, objective.watch),
    fit=objective.fitting(prepare),
    choose=objective.choosing(prepare),
  )


def _runs(
  objective: Objective, intervals: Sequence[int], whole: Any, clip: Array
) -> dict[str, Any]:
  """Outputs `[B, T, ...]` on a clip, by network and interval."""
  net = objective.delta.net
  frames = clip.swapaxes(0, 1)
  exact = jax.lax.map(lambda x: net.run(whole['teacher'], x), frames)
  exact = jax.tree.map(lambda x: x.swapaxes(0, 1), exact)
  # All rollouts are one compiled program.
  outs = jax.lax.map(
    lambda interval: objective.delta.rollout(whole, clip, interval),
    jnp.array(intervals),
  )
  runs = {'teacher': exact}
  for place, interval in enumerate(intervals):
    own = jax.tree.map(lambda x, place=place: x[place], outs)
    runs[f'delta_{interval}'] = own
    runs[f'copied_{interval}'] = rivals.copied(exact, interval)
  return runs


def _on_smaller(
  brought: Brought,
  variables: Any,
  batch: Batch,
  size: Sequence[int],
  runs: Mapping[str, Any],
) -> Any:
  """Outputs `[B, T, ...]` on smaller frames, at the teacher's size again."""

  def run(frames):
    return brought.net.run(variables, brought.prepare(frames))

  small = rivals.shrunk(batch['frames'], size)
  outs = jax.lax.map(run, small.swapaxes(0, 1))

  def back(own, exact):
    own = own.swapaxes(0, 1)
    flat = resize_bilinear(own.reshape(-1, *own.shape[2:]), exact.shape[2:4])
    return flat.reshape(exact.shape)

  return jax.tree.map(back, outs, runs['teacher'])
