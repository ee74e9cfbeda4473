"""Deployed networks side by side: how long a frame takes, and should take."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta import Frozen, Streamer, Teacher
from deltax.delta.cost import Macs
from deltax.delta.run import streams
from deltax.delta.search.latency import Latencies
from deltax.models.inputs import normalise
from deltax.report.contents import FrameTimes, StreamTimes
from deltax.report.timing import milliseconds
from deltax.types import Array, Carry, Params

_INTERVALS = 20  # over which the frame times of streams are gathered
_LONGEST = 60.0  # seconds that these may take


@dataclasses.dataclass(frozen=True)
class OfPixels:
  """A deployed network that takes uint8 frames, as a video has them.

  Attributes:
    frozen: the same of prepared frames.
    prepare: from uint8 RGB frames to those.
  """

  frozen: Frozen
  prepare: Callable[[Array], Array] = normalise

  @property
  def params(self) -> Params:
    """Its weights."""
    return self.frozen.params

  def keyframe(self, params: Params, frame: Array) -> tuple[Carry, Any]:
    """The carry and the output of a key frame, uint8 `[B, H, W, 3]`."""
    return self.frozen.keyframe(params, self.prepare(frame))

  def step(
    self, params: Params, carry: Carry, frame: Array
  ) -> tuple[Carry, Any]:
    """The next carry and the output of a later frame, uint8 `[B, H, W, 3]`."""
    return self.frozen.step(params, carry, self.prepare(frame))


@dataclasses.dataclass(frozen=True)
class EveryFrame:
  """A network for which every frame is a key frame: no students run.

  Attributes:
    deployed: the delta network.
  """

  deployed: Frozen | OfPixels

  @property
  def params(self) -> Params:
    """Its weights."""
    return self.deployed.params

  def keyframe(self, params: Params, frame: Array) -> tuple[Carry, Any]:
    """An empty carry, and the output of a frame."""
    return {}, self.deployed.keyframe(params, frame)[1]

  def step(
    self, params: Params, carry: Carry, frame: Array
  ) -> tuple[Carry, Any]:
    """No output: no later frame is ever asked for."""
    del params, frame
    return carry, None


def freeze_teacher(net: Any, variables: Any, frame: Array) -> Frozen:
  """A network in the deployed form of delta's: every batch norm folded.

  Args:
    net: the network.
    variables: of the network.
    frame: `[B, H, W, C]`; only the shape matters.

  Returns:
    The network; each of its frames costs the same, its carry is empty.
  """
  spec = delta_wing.Spec(layers=lambda layers: layers, candidates=(Teacher(),))
  params = {'teacher': variables, 'students': {}, 'gates': {}}
  return delta_wing.distill(net, spec).freeze(params, frame)


def measure(
  teacher: Streamer, frame: Array, delta: Streamer | None = None
) -> dict[str, float | None]:
  """Milliseconds of single frames as streams take them, in turns.

  Args:
    teacher: every frame of which costs the same.
    frame: `[B, H, W, C]`, as both take it.
    delta: with key frames two frames apart or more.

  Returns:
    Medians of wall time by name: 'teacher', and of delta a 'key' frame and a
    'later' one, None without it.
  """
  timed = {'teacher': lambda: teacher.push(frame)}
  if delta is not None:

    def key():
      delta.reset()
      return delta.push(frame)

    timed |= {'key': key, 'later': lambda: delta.push(frame)}
  return {'key': None, 'later': None, **milliseconds(timed)}


def measure_streams(
  frozen: Frozen, frame: Array, interval: int, ms: float, *, count: int = 4
) -> StreamTimes | None:
  """Milliseconds of a frame of all of some parallel streams.

  Args:
    frozen: a delta network.
    frame: `[1, H, W, C]`, as it takes them; that of every stream.
    interval: distance of key frames, two or more.
    ms: of a frame of one stream, the mean over an interval.
    count: of the streams.

  Returns:
    None for a network so slow that it would take longer than a minute.
  """
  if _INTERVALS * interval * count * ms / 1000 > _LONGEST:
    return None
  key = jax.jit(frozen.keyframe)
  step = jax.jit(frozen.step, donate_argnums=1)
  frames = jnp.repeat(frame, count, 0)
  measured = []
  for phases in ((0,) * count, streams.staggered(count, interval)):
    times = streams.tick_times(
      streams.parallel(key, step, phases, interval),
      *(frozen.params, frames),
      warm_up=2 * interval + 1,
      ticks=_INTERVALS * interval,
    )
    percentiles = streams.percentiles(times)
    measured.append(FrameTimes(**percentiles, mean=float(times.mean())))
  return StreamTimes(count, interval, *measured)


def predict(
  latencies: Latencies,
  choices: dict[str, int],
  macs: Macs,
  shape: tuple[int, ...],
) -> float:
  """Milliseconds of a later frame, from those of its layers alone.

  Args:
    latencies: of the network's layers.
    choices: from `Delta.choose`.
    macs: from `Delta.macs`: the candidates chosen, by name, since their order
      among those measured may be another.
    shape: (B, H, W, C) of the frames.

  Raises:
    ValueError: they were measured for other frames, another type or other
      candidates.
  """
  if (latencies.shape, latencies.dtype) != (tuple(shape), 'float32'):
    raise ValueError(
      f'measured for {latencies.dtype} frames of {_written(latencies.shape)}, '
      f'these are float32 of {_written(shape)}'
    )
  choices = dict(choices)
  for row in macs.rows:
    known = list(latencies.candidates.get(row.path, ()))
    if row.candidate and known:
      if row.candidate not in known:
        raise ValueError(
          f'candidate {row.candidate!r} of {row.path!r} was not measured'
        )
      choices[row.path] = known.index(row.candidate)
  return latencies.predicted(choices)


def _written(shape) -> str:
  return 'x'.join(map(str, shape))
