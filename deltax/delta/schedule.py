"""Schedules: when is a frame a key frame?

One rule answers for clips, scans, streams and evaluation. It is pure, over what
is seen of every frame: features that the caller computes or measures cheaply,
or nothing for key frames at fixed distances. Rules that look at the video are
in `deltax.delta.keyframes`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deltax.types import Array, Carry


class Schedule(NamedTuple):
  """A rule for key frames; its functions are pure and may be traced.

  The first frame of a stream always is a key frame.

  Attributes:
    hold: `features -> held`: what to remember of a key frame.
    follow: `(features, held, since) -> (is_key, held)`, for every frame after
      one: whether it is a key frame itself, bool `[]`, and what to remember if
      it is not. `since`, int32 `[]`, is its distance to the last key frame.
    first: the `since` of the first frame; above 0 for a stream that starts
      within an interval, and so out of step with others.
  """

  hold: Callable[[Any], Any]
  follow: Callable[[Any, Any, Any], tuple[Any, Any]]
  first: Any = 0


class Moment(NamedTuple):
  """Where a stream stands in its schedule after a frame.

  Attributes:
    held: what the schedule remembers.
    since: distance of the frame to the last key frame.
  """

  held: Any
  since: Any


def fixed(interval: Any, phase: Any = 0) -> Schedule:
  """Every `interval`-th frame; takes no features.

  Args:
    interval: distance of key frames; may be traced.
    phase: frame t is a key frame when t + phase is a multiple of the interval,
      besides frame 0. May be traced, for streams out of step.

  Raises:
    ValueError: if the interval is below 1.

  Example:
    >>> key_frames(fixed(3), 8), key_frames(fixed(3, phase=1), 8)
    ([0, 3, 6], [0, 2, 5])
  """
  if isinstance(interval, int):
    check_interval(interval)

  def follow(features, held, since):
    del features
    return since >= interval, held

  return Schedule(lambda _: (), follow, phase % interval)


def when(is_due: Callable[[Any, Any], Any]) -> Schedule:
  """A key frame wherever a function says so.

  Args:
    is_due: `(features, since) -> is_key`, for every frame but the first.
  """
  return Schedule(
    lambda _: (),
    lambda features, held, since: (is_due(features, since), held),
  )


def start(schedule: Schedule, features: Any = None) -> Moment:
  """After the first frame."""
  return Moment(schedule.hold(features), schedule.first)


def restart(schedule: Schedule, features: Any = None) -> Moment:
  """After another key frame."""
  return Moment(schedule.hold(features), 0)


def advance(
  schedule: Schedule, moment: Moment, features: Any = None
) -> tuple[Any, Moment]:
  """Asks about the next frame.

  Args:
    schedule: the rule.
    moment: after the frame before.
    features: of the next frame.

  Returns:
    Whether it is a key frame, and the moment after it if it is not; else
    `restart` gives that.
  """
  since = moment.since + 1
  is_key, held = schedule.follow(features, moment.held, since)
  return is_key, Moment(held, since)


def ask(
  schedule: Schedule, moment: Moment | None, features: Any = None
) -> tuple[bool, Moment]:
  """Asks about the next frame of a stream that Python runs.

  Args:
    schedule: the rule.
    moment: after the frame before; None for the first frame.
    features: of the next frame; not traced.

  Returns:
    Whether it is a key frame, and the moment after it.
  """
  if moment is None:
    return True, start(schedule, features)
  is_key, later = advance(schedule, moment, features)
  return bool(is_key), restart(schedule, features) if is_key else later


def key_frames(schedule: Schedule, count: int) -> list[int]:
  """Key frames among the first `count` frames, of a rule without features."""
  keys, moment = [], None
  for t in range(count):
    is_key, moment = ask(schedule, moment)
    keys += [t] if is_key else []
  return keys


def roll(
  keyframe: Callable[[Array], tuple[Carry, Any]],
  step: Callable[[Carry, Array], tuple[Carry, Any]],
  schedule: Schedule | None,
  clip: Array,
  features: Any = None,
) -> tuple[Any, Array]:
  """Runs a clip frame by frame under `lax.scan`.

  Args:
    keyframe: `frame -> (carry, out)`.
    step: `(carry, frame) -> (carry, out)`.
    schedule: the rule; None if the first frame is the only key frame.
    clip: `[B, T, H, W, C]`; all B have their key frames together.
    features: of the T frames, each array `[T, ...]`, as the schedule takes
      them.

  Returns:
    The outputs, `[B, T, ...]`, and which frames are key frames, bool `[T]`.
  """
  timed = jnp.moveaxis(clip, 1, 0), features
  (frame, feature), rest = (
    jax.tree.map(lambda x: x[0], timed),
    jax.tree.map(lambda x: x[1:], timed),
  )
  carry, first_out = keyframe(frame)
  moment = ()
  if schedule is not None:
    held, since = start(schedule, feature)
    moment = Moment(held, jnp.asarray(since, jnp.int32))

  def body(state, timed):
    carry, moment = state
    frame, feature = timed
    if schedule is None:
      # Without a branch there is less to compile, and gradients cost less.
      carry, out = step(carry, frame)
      return (carry, moment), (out, jnp.zeros((), bool))
    is_key, later = advance(schedule, moment, feature)
    carry, out = lax.cond(
      is_key, lambda _, frame: keyframe(frame), step, carry, frame
    )
    moment = jax.tree.map(
      lambda key, later: jnp.where(is_key, key, later).astype(later.dtype),
      restart(schedule, feature),
      later,
    )
    return (carry, moment), (out, is_key)

  _, (outs, is_key) = lax.scan(body, (carry, moment), rest)
  outs = jax.tree.map(
    lambda a, b: jnp.moveaxis(jnp.concatenate([a[None], b]), 0, 1),
    first_out,
    outs,
  )
  return outs, jnp.append(True, is_key)


def roll_fixed(
  keyframe: Callable[[Array], tuple[Carry, Any]],
  step: Callable[[Carry, Array], tuple[Carry, Any]],
  clip: Array,
  interval: Any,
  phase: Any = 0,
) -> Any:
  """`roll` with key frames at fixed distances: the outputs, `[B, T, ...]`.

  Args:
    keyframe: see `roll`.
    step: see `roll`.
    clip: `[B, T, H, W, C]`.
    interval: see `fixed`.
    phase: see `fixed`.

  Raises:
    ValueError: the clip is of another rank, or the interval below 1.
  """
  check_frames(clip, 5)
  schedule = fixed(interval, phase)
  if isinstance(interval, int) and isinstance(phase, int):
    if key_frames(schedule, clip.shape[1]) == [0]:
      schedule = None
  return roll(keyframe, step, schedule, clip)[0]


def check_interval(interval: int) -> None:
  """Raises a ValueError if `interval` is not a positive number of frames."""
  if interval < 1:
    raise ValueError(f'the key-frame interval is at least 1, got {interval}')


def check_frames(frames: Any, rank: int) -> None:
  """Raises a ValueError unless `frames` has the rank of frames or of clips."""
  if frames.ndim != rank:
    letters = '[B, H, W, C]' if rank == 4 else '[B, T, H, W, C]'
    raise ValueError(f'expected {letters}, got an array of {frames.shape}')
