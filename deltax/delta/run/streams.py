"""Parallel streams whose key frames are spread over time.

Streams with key frames at the same time are a group: one compiled call each.
Which group is due is decided in Python, so that nobody pays for both branches,
as `vmap` of a `lax.cond` would.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.schedule import (
  Moment,
  ask,
  check_frames,
  check_interval,
  fixed,
)
from deltax.types import Array, Carry, Params


class Group(NamedTuple):
  """Where the streams of one phase stand; both None before the first frame."""

  moment: Moment | None
  carry: Carry | None


State = tuple[Group, ...]  # where parallel streams stand, phase by phase


class Streams(NamedTuple):
  """Parallel streams, one frame of each at a time; see `parallel`.

  Attributes:
    start: the state before the first frames.
    tick: `(params, state, frames [N, H, W, C]) -> (state, outs [N, ...],
      is_key)`; not to be compiled itself. `is_key`, bool numpy `[N]`: the
      streams whose frames are key frames, which the first ones always are.
  """

  start: State
  tick: Callable[[Params, State, Array], tuple[State, Any, np.ndarray]]


def staggered(count: int, interval: int) -> tuple[int, ...]:
  """Phases that spread the key frames of streams evenly over an interval.

  >>> staggered(3, 6), staggered(5, 3)
  ((0, 2, 4), (0, 0, 1, 1, 2))
  """
  return tuple(i * interval // count for i in range(count))


def parallel(
  keyframe: Callable[[Params, Array], tuple[Carry, Any]],
  step: Callable[[Params, Carry, Array], tuple[Carry, Any]],
  phases: Sequence[int],
  interval: int,
) -> Streams:
  """N streams of one frame size under one network.

  Args:
    keyframe: `(params, frames) -> (carry, outs)`, compiled: `jax.jit` of that
      of a `Delta` or a `Frozen`.
    step: `(params, carry, frames) -> (carry, outs)`, compiled; it may donate
      the carry.
    phases: of every stream, ascending, as `staggered` gives them; all 0 for key
      frames at the same time. Frame t of a stream is a key frame when t + phase
      is a multiple of the interval, and frame 0 always is.
    interval: distance of key frames.

  Raises:
    ValueError: if there are no phases, they do not ascend from 0 to below the
      interval, or the interval is below 1.
  """
  check_interval(interval)
  phases = np.asarray(phases)
  if (
    not len(phases)
    or (np.diff(phases) < 0).any()
    or not 0 <= phases[0] <= phases[-1] < interval
  ):
    raise ValueError(
      f'expected phases that ascend from 0 to {interval - 1}, got '
      f'{phases.tolist()}'
    )
  starts = np.flatnonzero(np.diff(phases, prepend=-1)).tolist()
  groups = [
    (fixed(interval, int(phases[first])), slice(first, end))
    for first, end in itertools.pairwise([*starts, len(phases)])
  ]

  def tick(params, state, frames):
    check_frames(frames, 4)
    if len(frames) != len(phases):
      raise ValueError(f'{len(frames)} frames for {len(phases)} streams')
    following, outs = [], []
    is_key = np.zeros(len(phases), bool)
    for (schedule, members), group in zip(groups, state, strict=True):
      due, moment = ask(schedule, group.moment)
      if due:
        carry, out = keyframe(params, frames[members])
      else:
        carry, out = step(params, group.carry, frames[members])
      is_key[members] = due
      following.append(Group(moment, carry))
      outs.append(out)
    outs = jax.tree.map(lambda *x: jnp.concatenate(x), *outs)
    return tuple(following), outs, is_key

  return Streams((Group(None, None),) * len(groups), tick)


def tick_times(
  streams: Streams, params: Params, frames: Array, *, warm_up: int, ticks: int
) -> np.ndarray:
  """Milliseconds until all outputs of a tick are there.

  Args:
    streams: from `parallel`.
    params: of the network.
    frames: `[N, H, W, C]`, the same in every tick.
    warm_up: ticks before the first that counts: more than an interval, so that
      all is compiled.
    ticks: how many count.

  Returns:
    float64 `[ticks]`.
  """
  state, times = streams.start, []
  for _ in range(warm_up + ticks):
    begun = time.perf_counter()
    state, outs, _ = streams.tick(params, state, frames)
    jax.block_until_ready((state, outs))
    times.append(1000 * (time.perf_counter() - begun))
  return np.array(times[warm_up:])


def percentiles(times: Sequence[float]) -> dict[str, float]:
  """What half, 95% and 99% of the frame times stay at or below.

  The largest are rare, so these are times that occurred, not between two.

  >>> percentiles(range(1, 11))
  {'p50': 5.0, 'p95': 10.0, 'p99': 10.0}
  """
  ranks = {'p50': 50, 'p95': 95, 'p99': 99}
  return {
    name: float(np.percentile(times, rank, method='inverted_cdf'))
    for name, rank in ranks.items()
  }
