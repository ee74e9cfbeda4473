"""When a key frame is due: at fixed distances, or when enough has changed.

Rules for `deltax.delta.schedule`, over features that the caller computes or
measures of every frame, cheaply. `scheduled` joins a rule with a network;
`keys` runs it alone.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deltax.delta.adapters import Hooks, as_network
from deltax.delta.schedule import (
  Moment,
  Schedule,
  advance,
  check_frames,
  check_interval,
  fixed,
  restart,
  roll,
  start,
  when,
)
from deltax.layers.pool import mean_pool
from deltax.types import Array, Carry, Params

__all__ = [
  'Schedule',
  'Scheduled',
  'adaptive',
  'calibrate',
  'early_layers',
  'fixed',
  'keys',
  'phase_at',
  'relative_change',
  'scheduled',
  'travelled',
  'when',
]


def phase_at(frame: int, distance: int, interval: int) -> int:
  """The phase of `fixed` that puts a frame at a distance to its key frame.

  Args:
    frame: index in the clip.
    distance: 0 for a key frame, up to `interval - 1`; no more than `frame`.
    interval: of key frames.

  Example:
    >>> phase_at(frame=9, distance=2, interval=5)  # key frames 0, 2, 7, ...
    3
  """
  return (distance - frame) % interval


def adaptive(threshold: Any, longest: int) -> Schedule:
  """When the features have changed by more than a share since the key frame.

  Args:
    threshold: the largest `relative_change` of a later frame; may be traced.
    longest: a key frame is due after so many frames at the latest.

  Raises:
    ValueError: if the threshold is negative or `longest` below 1.
  """
  _check(threshold, longest)

  def follow(features, held, since):
    change = relative_change(features, held)
    return _due(change, threshold, since, longest), held

  return Schedule(lambda features: features, follow)


def travelled(threshold: Any, longest: int) -> Schedule:
  """When what happens from frame to frame adds up to more than a threshold.

  Args:
    threshold: of the sum over the frames since the key frame of their feature,
      one number `[]` such as the mean motion since the frame before, in pixels
      (`deltax.data.video.codec_motion`); infinity makes a key frame in any
      case. May be traced.
    longest: a key frame is due after so many frames at the latest.

  Raises:
    ValueError: if the threshold is negative or `longest` below 1.
  """
  _check(threshold, longest)

  def follow(features, held, since):
    total = held + features
    return _due(total, threshold, since, longest), total

  return Schedule(jnp.zeros_like, follow)


def relative_change(features: Any, held: Any) -> Array:
  """How much features differ, in relation to their size.

  Args:
    features: arrays.
    held: the same of the key frame.

  Returns:
    `[]`, the mean over the arrays of `mean|features - held| / mean|held|`.

  Example:
    >>> float(relative_change([jnp.array([1.0, 2.5])], [jnp.array([1.0, 2.0])]))
    0.1666666716337204
  """
  tiny = jnp.finfo(jnp.float32).tiny
  changes = jax.tree.map(
    lambda x, y: jnp.abs(x - y).mean() / jnp.maximum(jnp.abs(y).mean(), tiny),
    features,
    held,
  )
  return jnp.stack(jax.tree.leaves(changes)).mean()


def early_layers(
  net: Any, paths: Sequence[str], scale: int
) -> Callable[[Any, Array], dict[str, Array]]:
  """Features for `adaptive`: outputs of some convolutions on a small picture.

  What follows them in the network is not run.

  Args:
    net: the network; see `deltax.delta.distill`.
    paths: of the convolutions, such as 'conv1_0'; early ones are cheap.
    scale: frames are averaged over squares of so many pixels first; rows and
      columns left over at the end are not looked at. The network has to take
      frames of the size that remains.

  Returns:
    `(variables, frame [B, H, W, C]) -> {path: [B, h, w, N]}`, with the
    network's variables. Raises a ValueError for a path that the network does
    not have, and for a frame smaller than one square.
  """

  if not paths:
    raise ValueError('early_layers needs the path of at least one convolution')
  return functools.partial(_look, as_network(net), tuple(paths), scale)


def _look(network, paths, scale, variables, frame) -> dict[str, Array]:
  check_frames(frame, 4)
  if min(frame.shape[1:3]) < scale:
    raise ValueError(
      f'frames of {frame.shape[1]} x {frame.shape[2]} pixels cannot be '
      f'averaged over squares of {scale}'
    )
  known, seen = [], {}

  def layer(layer, teacher, x):
    known.append(layer.name)
    z = teacher(x)
    if layer.name in paths:
      seen[layer.name] = z
      if len(seen) == len(set(paths)):
        raise _SeenAll
    return z

  rows, cols = (side - side % scale for side in frame.shape[1:3])
  small = mean_pool(frame[:, :rows, :cols], (scale, scale))
  try:
    network.run(variables, small, Hooks(layer=layer))
  except _SeenAll:
    return seen
  missing = next(path for path in paths if path not in seen)
  raise ValueError(f'no convolution {missing!r}; known: {", ".join(known)}')


class Scheduled(NamedTuple):
  """A network under a schedule; pure functions, to be compiled by the caller.

  `state` is `{'carry', 'held', 'since'}`. Of frames `[B, H, W, C]` all B are
  key frames together; streams that decide for themselves have a state each.

  Attributes:
    start: `(params, frame, features=None) -> (state, out)`, the first frame.
    advance: `(params, state, frame, features=None) -> (state, out, is_key)`.
    rollout: `(params, clip [B, T, H, W, C], features=None) -> (outs [B, T,
      ...], is_key [T])` under `lax.scan`; features `[T, ...]`.
  """

  start: Callable[..., tuple[Carry, Any]]
  advance: Callable[..., tuple[Carry, Any, Array]]
  rollout: Callable[..., tuple[Any, Array]]


def scheduled(
  keyframe: Callable[[Params, Array], tuple[Carry, Any]],
  step: Callable[[Params, Carry, Array], tuple[Carry, Any]],
  schedule: Schedule,
) -> Scheduled:
  """Lets a schedule choose between the two functions of a delta network.

  Args:
    keyframe: `(params, frame) -> (carry, out)` of a `Delta` or a `Frozen`.
    step: `(params, carry, frame) -> (carry, out)` of the same.
    schedule: the rule.

  Example:
    >>> def keyframe(params, frame):
    ...   return frame, frame
    >>> def step(params, carry, frame):
    ...   return carry, carry
    >>> live = scheduled(keyframe, step, travelled(3.0, longest=10))
    >>> clip = jnp.arange(5.0).reshape(1, 5, 1, 1, 1)
    >>> outs, is_key = live.rollout(None, clip, jnp.array([0.0, 2, 1, 1, 0]))
    >>> outs.ravel().tolist(), is_key.nonzero()[0].tolist()
    ([0.0, 0.0, 0.0, 3.0, 3.0], [0, 3])
  """

  pair = keyframe, step
  return Scheduled(
    functools.partial(_start, pair, schedule),
    functools.partial(_advance, pair, schedule),
    functools.partial(_rollout, pair, schedule),
  )


def _state(carry: Carry, moment: Moment) -> Carry:
  held, since = moment
  return {'carry': carry, 'held': held, 'since': jnp.asarray(since, jnp.int32)}


def _start(pair, schedule, params, frame, features=None):
  keyframe, _ = pair
  carry, out = keyframe(params, frame)
  return _state(carry, start(schedule, features)), out


def _advance(pair, schedule, params, state, frame, features=None):
  keyframe, step = pair
  moment = Moment(state['held'], state['since'])
  is_key, later = advance(schedule, moment, features)

  def key_branch(carry, frame, features):
    del carry
    carry, out = keyframe(params, frame)
    return _state(carry, restart(schedule, features)), out

  def later_branch(carry, frame, features):
    del features
    carry, out = step(params, carry, frame)
    return _state(carry, later), out

  state, out = lax.cond(
    is_key, key_branch, later_branch, state['carry'], frame, features
  )
  return state, out, is_key


def _rollout(pair, schedule, params, clip, features=None):
  check_frames(clip, 5)
  keyframe, step = (functools.partial(run, params) for run in pair)
  return roll(keyframe, step, schedule, clip, features)


def keys(schedule: Schedule, features: Any) -> Array:
  """The key frames of a clip, without the network.

  Args:
    schedule: one that takes features.
    features: of T frames, each array `[T, ...]`.

  Returns:
    bool `[T]`; frame 0 always is a key frame.
  """

  count = len(jax.tree.leaves(features)[0])
  idle = scheduled(lambda *_: ((), ()), lambda *_: ((), ()), schedule)
  return idle.rollout(None, jnp.zeros((1, count, 0, 0, 0)), features)[1]


def calibrate(
  make: Callable[[Any], Schedule], clips: Sequence[Any], share: float
) -> float:
  """The threshold under which so many frames of some clips are key frames.

  Args:
    make: `threshold -> Schedule`, of a threshold that is traced.
    clips: features of each clip, arrays `[T, ...]`.
    share: of key frames among all frames, above 0.

  Returns:
    A threshold at which their share is just not above it.

  Raises:
    ValueError: if no threshold gives so few, because a clip's first frame
      always is one, and so are cuts and what follows the longest interval.
  """
  count = jax.jit(lambda threshold, clip: keys(make(threshold), clip).sum())
  total = sum(len(jax.tree.leaves(clip)[0]) for clip in clips)

  def enough(threshold):
    return sum(int(count(threshold, clip)) for clip in clips) <= share * total

  if not enough(float(jnp.finfo(jnp.float32).max)):
    raise ValueError(
      f'no threshold makes only {share:.1%} of these frames key frames: first '
      'frames always are, cuts, and those after the longest interval'
    )
  if enough(0.0):
    return 0.0
  low, high = 0.0, 1.0
  while not enough(high):
    low, high = high, 2 * high
  while high - low > 1e-4 * high:
    middle = (low + high) / 2
    low, high = (low, middle) if enough(middle) else (middle, high)
  return high


class _SeenAll(Exception):
  """Ends a pass of a network early."""


def _due(amount, threshold, since, longest):
  # What is not a number is no reason to wait.
  return ~(amount <= threshold) | (since >= longest)


def _check(threshold, longest):
  if isinstance(threshold, float | int) and not threshold >= 0:
    raise ValueError(f'expected a threshold of at least 0, got {threshold}')
  check_interval(longest)
