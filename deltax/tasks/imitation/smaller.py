"""The network on smaller frames: what anybody can do for fewer milliseconds.

A delta network is worth what it adds to that.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax.layers import resize_bilinear
from deltax.tasks.imitation.outputs import named
from deltax.tasks.network import Brought
from deltax.types import Array

SHARES = (0.5, 0.25, 0.12)  # of the pixels, about
_MULTIPLE = 16  # of rows and columns: what most networks take

Size = tuple[int, int]


def sizes_below(
  brought: Brought, size: Sequence[int], variables: Any
) -> list[Size]:
  """Smaller sizes of frames that a network takes; none if it takes one only.

  Args:
    brought: the network.
    size: rows and columns of the frames.
    variables: of the network; only the shapes matter.
  """
  found = []
  for share in SHARES:
    smaller = tuple(
      _MULTIPLE * max(1, round(math.sqrt(share) * side / _MULTIPLE))
      for side in size
    )
    if math.prod(smaller) < math.prod(size) and smaller not in found:
      found.append(smaller)
  return [smaller for smaller in found if _takes(brought, smaller, variables)]


def _takes(brought: Brought, size: Size, variables: Any) -> bool:
  frame = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
  try:
    outs = jax.eval_shape(
      lambda x: brought.net.run(variables, brought.prepare(x)), frame
    )
  except Exception:  # whatever a network raises for a size it does not take
    return False
  return all(out.ndim == 4 for out in named(outs).values())


def name_of(size: Sequence[int]) -> str:
  """Of the network at a size, among scores and counts.

  >>> name_of((120, 160))
  'smaller_120x160'
  """
  return f'smaller_{size[0]}x{size[1]}'


def on_smaller(
  brought: Brought, variables: Any, frames: Array, size: Size, like: Any
) -> Any:
  """Outputs on smaller frames, brought back to the size of others.

  Args:
    brought: the network.
    variables: of the network.
    frames: uint8 `[B, T, H, W, 3]`.
    size: (h, w) at which it sees them.
    like: its outputs on the frames themselves, maps `[B, T, ...]`.

  Returns:
    Outputs of the shapes of `like`.
  """

  def run(frames):
    exact = frames.astype(jnp.float32)
    shrunk = jax.image.resize(exact, (len(frames), *size, 3), 'linear')
    shrunk = jnp.round(shrunk).astype(jnp.uint8)
    return brought.net.run(variables, brought.prepare(shrunk))

  outs = jax.lax.map(run, frames.swapaxes(0, 1))

  def back(own, exact):
    own = own.swapaxes(0, 1)
    flat = resize_bilinear(own.reshape(-1, *own.shape[2:]), exact.shape[2:4])
    return flat.reshape(exact.shape)

  return jax.tree.map(back, outs, like)


def scored(scores: Mapping[str, float]) -> list[tuple[Size, float]]:
  """The sizes that an evaluation has scores of, and these."""
  found = []
  for name, score in scores.items():
    network, _, rest = name.partition('/')
    if rest == 'score' and network.startswith('smaller_'):
      rows, _, cols = network.removeprefix('smaller_').partition('x')
      found.append(((int(rows), int(cols)), score))
  return found
