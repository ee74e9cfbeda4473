"""What anybody can do for fewer milliseconds: the rivals of a delta network.

Copying the key frame's output, and the network on smaller frames. A delta
network is worth what it adds to these.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta import Streamer
from deltax.report.contents import Smaller
from deltax.tasks.video import deployed
from deltax.types import Array

SHARES = (0.5, 0.25, 0.12)  # of the pixels, about
_MULTIPLE = 16  # of rows and columns: what most networks take

Size = tuple[int, int]


def copied(outs: Any, interval: int, phase: int = 0) -> Any:
  """The key frame's outputs in place of each later frame's own.

  Args:
    outs: the teacher's, arrays `[B, T, ...]`.
    interval: distance of key frames; frame 0 is always one.
    phase: see `deltax.delta.schedule.fixed`.

  Example:
    >>> copied(jnp.arange(6)[None], 4)
    Array([[0, 0, 0, 0, 4, 4]], dtype=int32)
  """

  def of(x):
    times = jnp.arange(x.shape[1])
    return x[:, jnp.maximum(times - (times + phase) % interval, 0)]

  return jax.tree.map(of, outs)


def sizes_below(size: Sequence[int]) -> list[Size]:
  """Smaller sizes of frames of a size, with `SHARES` of its pixels.

  >>> sizes_below((128, 256))
  [(96, 176), (64, 128), (48, 96)]
  """
  found = []
  for share in SHARES:
    smaller = tuple(
      _MULTIPLE * max(1, round(math.sqrt(share) * side / _MULTIPLE))
      for side in size
    )
    if math.prod(smaller) < math.prod(size) and smaller not in found:
      found.append(smaller)
  return found


def takes(
  net: Any, prepare: Callable[[Array], Array], variables: Any, size: Size
) -> bool:
  """Whether a network takes frames of a size, and gives maps for them.

  Args:
    net: as its adapter shows it.
    prepare: from uint8 frames to what it takes.
    variables: of the network; only the shapes matter.
    size: rows and columns.
  """
  frame = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
  try:
    outs = jax.eval_shape(lambda x: net.run(variables, prepare(x)), frame)
  except Exception:  # whatever a network raises for a size it does not take
    return False
  return all(out.ndim == 4 for out in jax.tree.leaves(outs))


def name_of(size: Sequence[int]) -> str:
  """Of the network at a size, among scores and counts.

  >>> name_of((120, 160))
  'smaller_120x160'
  """
  return f'smaller_{size[0]}x{size[1]}'


def shrunk(frames: Array, size: Size) -> Array:
  """Frames at a smaller size, bilinear and smoothed by as much.

  Args:
    frames: uint8 `[..., H, W, 3]`.
    size: (h, w).

  Returns:
    uint8 `[..., h, w, 3]`.
  """
  exact = frames.astype(jnp.float32)
  shape = (*frames.shape[:-3], *size, 3)
  return jnp.round(jax.image.resize(exact, shape, 'linear')).astype(jnp.uint8)


def with_smaller(
  net: Any,
  prepare: Callable[[Array], Array],
  variables: Any,
  scores: Mapping[str, float],
  score: str,
) -> list[Smaller]:
  """The network on smaller frames, as far as there are scores; largest first.

  Args:
    net: the network.
    prepare: from uint8 frames to what it takes.
    variables: of the network.
    scores: of an evaluation, by '<network>/<score>'.
    score: which of them counts.
  """
  rows = []
  for size, scored in _scored(scores, score):
    frame = prepare(jnp.zeros((1, *size, 3), jnp.uint8))
    frozen = deployed.freeze_teacher(net, variables, frame)
    ms = deployed.measure(Streamer(frozen, interval=1), frame)['teacher']
    gmacs = delta_wing.count(net, variables, frame).key / 1e9
    rows.append(Smaller(list(size), scored, gmacs, ms))
  return sorted(rows, key=lambda row: -row.gmacs)


def _scored(
  scores: Mapping[str, float], score: str
) -> list[tuple[Size, float]]:
  """The sizes that an evaluation has scores of, and these."""
  found = []
  for name, value in scores.items():
    network, _, own = name.partition('/')
    if own == score and network.startswith('smaller_'):
      rows, _, cols = network.removeprefix('smaller_').partition('x')
      found.append(((int(rows), int(cols)), value))
  return found
