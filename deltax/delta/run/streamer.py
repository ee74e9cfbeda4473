"""A stream of frames through a deployed network: push one, get its result.

Thin, over the pure functions of `Frozen`. It holds what they hand on, and gives
it away: `step` writes the next carry where the last one lay. Called without
donation, a compiled step copies the carry of a fixed reference on every frame.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.deploy.frozen import Frozen
from deltax.delta.run.engines import check_engine, compiled
from deltax.delta.schedule import Schedule, ask, fixed
from deltax.types import Array


class Streamer:
  """Runs a stream frame by frame, with key frames where they are due.

  Key and later frames are compiled once each, at the first frame or in
  `warm_up`; only frames of that shape and dtype are taken.

  Attributes:
    is_key: whether the last frame was a key frame; False before the first.

  Example:
    >>> from deltax.delta import Frozen
    >>> def keyframe(params, frame):
    ...   return {'key': frame}, frame
    >>> def step(params, carry, frame):
    ...   return carry, frame - carry['key']
    >>> streamer = Streamer(Frozen({}, keyframe, step, None), interval=2)
    >>> frames = (jnp.full((1, 1, 1), 10 + t) for t in range(4))
    >>> [(streamer.push(x).item(), streamer.is_key) for x in frames]
    [(10, True), (1, False), (12, True), (1, False)]
  """

  def __init__(
    self,
    frozen: Frozen,
    *,
    interval: int = 5,
    schedule: Schedule | None = None,
    engine: str = 'xla',
  ):
    """Takes a network; nothing is compiled yet.

    Args:
      frozen: the network; its `rollout` is not used.
      interval: distance of key frames.
      schedule: in place of the interval; its features are the frames
        themselves. A function of a frame and the distance to the last key frame
        is one by `deltax.delta.keyframes.when`.
      engine: what runs it, one of `deltax.delta.run.engines.ENGINES`.

    Raises:
      ValueError: if the interval is below 1.
      DeltaxError: the engine is unknown or not installed.
    """
    check_engine(engine)
    self._frozen, self._engine = frozen, engine
    self._schedule = schedule or fixed(interval)
    self._expected = self._programs = None
    self.reset()

  def reset(self) -> None:
    """Forgets the stream: the next frame is a key frame."""
    self._carry, self._moment, self.is_key = None, None, False

  def warm_up(self, shape: Sequence[int], dtype: Any = jnp.float32) -> None:
    """Compiles for frames of this shape, so that the first one does not wait.

    Args:
      shape: `[H, W, C]`, or `[B, H, W, C]` for B streams in step.
      dtype: of the frames.

    Raises:
      ValueError: the shape is of another rank, or the stream has other frames.
    """
    given = tuple(shape), jnp.dtype(dtype)
    if self._expected is None:
      self._programs = _compiled(self._frozen, *given, self._engine)
      self._expected = given
    elif given != self._expected:
      raise ValueError(
        f'this stream has frames of {_told(*self._expected)}, got '
        f'{_told(*given)}; other frames take a Streamer of their own'
      )

  def push(self, frame: Array) -> Any:
    """The network's output on the next frame.

    Args:
      frame: `[H, W, C]`, or `[B, H, W, C]` of B streams in step, as the network
        takes them.

    Returns:
      The output, without its batch axis where the frame has none.

    Raises:
      ValueError: frames of another rank, or of another shape or dtype than
        those before; or a numpy array with NaN or infinite values, which would
        stay in the outputs until the next key frame. The stream goes on with
        the next frame. An array on a device is not looked at.
    """
    self.warm_up(frame.shape, frame.dtype)
    if isinstance(frame, np.ndarray) and not _finite(frame):
      raise ValueError(
        'a frame has NaN or infinite values; the stream goes on without it'
      )
    keyframe, step = self._programs
    params = self._frozen.params
    is_key, moment = ask(self._schedule, self._moment, frame)
    # Freed before a key frame makes the next one, else given away.
    carry, self._carry = None if is_key else self._carry, None
    if is_key:
      self._carry, out = keyframe(params, frame)
    else:
      self._carry, out = step(params, carry, frame)
    self._moment, self.is_key = moment, is_key
    return out


def _finite(frame: np.ndarray) -> bool:
  if not jnp.issubdtype(frame.dtype, jnp.floating):
    return True
  with np.errstate(invalid='ignore'):
    return bool(np.isfinite(np.sum(frame)))  # a pass at the speed of memory


def _compiled(frozen: Frozen, shape: tuple[int, ...], dtype: Any, engine: str):
  """Programs of a key frame and of a later one."""
  if len(shape) not in (3, 4):
    raise ValueError(
      f'expected a frame [H, W, C] or [B, H, W, C], got {list(shape)}'
    )
  keyframe, step = frozen.keyframe, frozen.step
  if len(shape) == 3:
    keyframe, step = _alone(keyframe), _alone(step)
  network = Frozen(frozen.params, keyframe, step, None)
  return compiled(network, jax.ShapeDtypeStruct(shape, dtype), engine)


def _alone(function):
  """A function of frames as one of a single frame without its batch axis."""

  def run(*given):
    *others, frame = given
    carry, out = function(*others, frame[None])
    return carry, jax.tree.map(lambda x: x[0], out)

  return run


def _told(shape, dtype) -> str:
  return f'{dtype.name} {list(shape)}'
