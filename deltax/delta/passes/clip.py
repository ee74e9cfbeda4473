"""All frames of a clip: folded into one pass, scanned, or by the teacher.

A student needs the frames that it refers to, and these are all there in
training: so time is folded into the batch, `[B, T, ...]` to `[B * T, ...]`, and
every unit runs once, its teacher on the key frames and its students on all
later frames together. The scan over time gives the same, frame after frame.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deltax.delta.passes.frame import Gates, predict, run_keyframe, run_later
from deltax.delta.plan import Plan
from deltax.delta.references import Times, take_frames, times_of
from deltax.delta.schedule import fixed, key_frames, roll_fixed
from deltax.types import Array, Key, Params


def fold_time(x: Array, windows: int = 1) -> Array:
  """`[B, T, ...]` to `[B * T, ...]`, or `[B, T, W, ...]` to `[B * T * W, ...]`.

  Args:
    x: frames of clips, of each W windows if there are several.
    windows: W.
  """
  return x.reshape(-1, *x.shape[2 + (windows > 1) :])


def split_time(x: Array, batch: int, windows: int = 1) -> Array:
  """What `fold_time` folded, for B clips."""
  frame = x.shape[1:] if windows == 1 else (windows, *x.shape[1:])
  return x.reshape(batch, -1, *frame)


def divide(plan: Plan, clip: Array, interval: int) -> Times:
  """Key frames and later frames of a clip, one of `interval` a key frame."""
  keys = key_frames(fixed(interval), clip.shape[1])
  return times_of(clip.shape[1], keys, plan.reference)


def run_folded(
  plan: Plan,
  params: Params,
  clip: Array,
  interval: int,
  gates: Gates | None,
  *,
  train: bool,
  key: Key | None,
) -> tuple[Any, dict[str, Array], Any]:
  """A clip in one pass.

  Args:
    plan: for frames of this size.
    params: of the delta network.
    clip: `[B, T, H, W, C]`.
    interval: distance of key frames.
    gates: `[K]` weights of the candidates by path; None for the hard choice.
    train: whether batch norm takes the statistics of the batch.
    key: for whatever else draws in training.

  Returns:
    The outputs `[B, T, ...]`, the predicted changes `[B, T', ...]` by call, and
    the network's statistics after the pass.
  """
  batch, times, deltas = len(clip), divide(plan, clip, interval), {}

  def hook(name, teacher, inputs):
    windows = plan.unit(name)[0].windows
    fold = functools.partial(fold_time, windows=windows)
    maps = [split_time(x, batch, windows) for x in inputs]
    exactly, exact = plan.runs_exactly(name), None
    # One call, lest batch norm takes its statistics twice: on key frames, and
    # on all frames where the teacher itself may be the student.
    given = range(clip.shape[1]) if exactly else times.keys
    z = teacher(*(fold(take_frames(x, given)) for x in maps))
    if not times.others:
      return z
    z = split_time(z, batch, windows)
    if exactly:
      exact = fold(take_frames(z, times.others) - times.before(z))
      z = take_frames(z, times.keys)
    references = tuple(fold(times.before(x)) for x in maps)
    now = (fold(take_frames(x, times.others)) for x in maps)
    changes = tuple(x - y for x, y in zip(now, references, strict=True))
    delta = predict(
      plan, params, name, gates, changes, references, exact, z.dtype
    )
    delta = split_time(delta, batch, windows)
    if plan.is_distilled(name):
      deltas[name] = delta
    # What follows in the network sees every frame, key or not.
    return fold(times.assemble(z, delta))

  teacher, frames = params['teacher'], fold_time(clip)
  if train:
    outputs, statistics = plan.network.train(
      teacher, frames, plan.hooks(hook), key
    )
  else:
    outputs = plan.run(teacher, frames, hook)
    statistics = plan.network.statistics(teacher)
  outputs = jax.tree.map(lambda x: split_time(x, batch), outputs)
  return outputs, deltas, statistics


def run_scanned(
  plan: Plan, params: Params, clip: Array, interval: int, gates: Gates | None
) -> tuple[Any, dict[str, Array]]:
  """A clip by a scan over time: outputs, and changes of the later frames.

  Args and results are those of `run_folded`, with running statistics.
  """

  def keyframe(frame):
    carry, outputs = run_keyframe(plan, params, frame)
    # A key frame has no change; its zeros have the shape of a later frame's.
    shapes = jax.eval_shape(
      lambda carry, frame: run_later(plan, params, carry, frame, gates).deltas,
      carry,
      frame,
    )
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return carry, (outputs, nothing)

  def step(carry, frame):
    carry, outputs, deltas = run_later(plan, params, carry, frame, gates)
    return carry, (outputs, deltas)

  outputs, deltas = roll_fixed(keyframe, step, clip, interval)
  others = divide(plan, clip, interval).others
  if not others:
    return outputs, {}
  deltas = {name: take_frames(delta, others) for name, delta in deltas.items()}
  for name, delta in deltas.items():
    if (windows := plan.unit(name)[0].windows) > 1:
      apart = delta.reshape(len(clip), windows, *delta.shape[1:])
      deltas[name] = apart.swapaxes(1, 2)
  return outputs, deltas


def run_reference(
  plan: Plan, params: Params, clip: Array, interval: int
) -> tuple[Any, dict[str, Array]]:
  """The teacher on every frame, and its own changes, without a gradient.

  Args:
    plan: for frames of this size.
    params: of the delta network.
    clip: `[B, T, H, W, C]`.
    interval: distance of key frames.

  Returns:
    The outputs `[B, T, ...]`, and the changes `[B, T', ...]` by call.
  """
  batch, times, deltas = len(clip), divide(plan, clip, interval), {}

  def hook(name, teacher, inputs):
    z = teacher(*inputs)
    if times.others and plan.is_distilled(name):
      frames = split_time(z, batch, plan.unit(name)[0].windows)
      deltas[name] = take_frames(frames, times.others) - times.before(frames)
    return z

  teacher, frames = lax.stop_gradient((params['teacher'], fold_time(clip)))
  outputs = plan.run(teacher, frames, hook)
  return jax.tree.map(lambda x: split_time(x, batch), outputs), deltas
