"""Time: which frames are key frames, and how a clip is rolled out."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deltax.types import Array, Carry


def references(
  time: int, interval: int, reference: str
) -> tuple[list[int], list[int], list[int | None]]:
  """Key frames of a clip, later frames, and what each of those refers to.

  Args:
    time: T, frames of the clip.
    interval: distance of key frames; frame 0 is one.
    reference: 'key', 'previous' or 'none'.

  Returns:
    Indices of the key frames, of the T' later frames, and of the frame against
    which each later frame's change is measured; None where it is against zero.

  Raises:
    ValueError: if the interval is below 1.

  Example:
    >>> references(5, 3, 'key')
    ([0, 3], [1, 2, 4], [0, 0, 3])
  """
  check_interval(interval)
  keys = list(range(0, time, interval))
  others = [t for t in range(time) if t % interval]
  if reference == 'none':
    return keys, others, [None] * len(others)
  if reference == 'previous':
    return keys, others, [t - 1 for t in others]
  return keys, others, [t - t % interval for t in others]


def take_frames(x: Array, frames: Sequence[int]) -> Array:
  """Frames of a `[B, T, ...]` array, along its second axis.

  A run of frames is a slice, whose gradient is cheaper than that of a gather.
  """
  first, count = frames[0], len(frames)
  if list(frames) == list(range(first, first + count)):
    return x[:, first : first + count]
  if set(frames) == {first}:
    return x[:, first : first + 1].repeat(count, 1)
  return jnp.stack([x[:, t] for t in frames], 1)


def assemble(
  z: Array,
  deltas: Array,
  keys: Sequence[int],
  others: Sequence[int],
  sources: Sequence[int | None],
) -> Array:
  """Outputs of all frames from those of the key frames and the changes.

  Args:
    z: `[B, T'', ...]` outputs on key frames.
    deltas: `[B, T', ...]` changes on the later frames.
    keys: index in the clip of each key frame.
    others: index in the clip of each later frame.
    sources: the frame that each change is added to; None for none.

  Returns:
    `[B, T, ...]`.
  """
  if set(sources) == {0}:
    later = z + deltas  # broadcasts the only key frame
    return jnp.concatenate([z, later], 1)
  frames = {t: z[:, i] for i, t in enumerate(keys)}
  for i, (t, source) in enumerate(zip(others, sources, strict=True)):
    start = 0.0 if source is None else frames[source]
    frames[t] = start + deltas[:, i]
  return jnp.stack([frames[t] for t in sorted(frames)], 1)


def unroll(
  keyframe: Callable[[Array], tuple[Carry, Any]],
  step: Callable[[Carry, Array], tuple[Carry, Any]],
  clip: Array,
  interval: Any,
  phase: Any,
) -> Any:
  """Runs a clip frame by frame under `lax.scan`.

  Args:
    keyframe: `frame -> (carry, out)`.
    step: `(carry, frame) -> (carry, out)`.
    clip: `[B, T, H, W, C]`.
    interval: distance of key frames; may be traced.
    phase: frame t is a key frame when t + phase is a multiple of the interval;
      frame 0 always is. May be traced, for streams out of step.

  Returns:
    The outputs, `[B, T, ...]`.

  Raises:
    ValueError: if the interval is below 1.
  """
  frames = jnp.moveaxis(clip, 1, 0)
  carry, first = keyframe(frames[0])
  one_key = False
  if isinstance(interval, int):
    check_interval(interval)
    one_key = isinstance(phase, int) and phase == 0 and interval >= len(frames)

  def body(carry, timed):
    t, frame = timed
    if one_key:
      return step(carry, frame)
    return lax.cond(
      (t + phase) % interval == 0,
      lambda carry, frame: keyframe(frame),
      step,
      carry,
      frame,
    )

  times = jnp.arange(1, len(frames))
  _, rest = lax.scan(body, carry, (times, frames[1:]))
  outs = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
  return jax.tree.map(lambda out: jnp.moveaxis(out, 0, 1), outs)


def check_interval(interval: int) -> None:
  """Raises a ValueError if `interval` is not a positive number of frames."""
  if interval < 1:
    raise ValueError(f'the key-frame interval is at least 1, got {interval}')


def check_frames(frames: Any, rank: int) -> None:
  """Raises a ValueError unless `frames` has the rank of frames or of clips."""
  if frames.ndim != rank:
    letters = '[B, H, W, C]' if rank == 4 else '[B, T, H, W, C]'
    raise ValueError(f'expected {letters}, got an array of {frames.shape}')
