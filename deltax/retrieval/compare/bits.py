"""Binary codes, 32 to a word, and their similarity by counting bits.

A bit tells 1 from -1 only: the zeros of padded frames become -1, and it is the
mask that keeps such frames out of a comparison.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.retrieval.compare.digits import by_rows
from deltax.retrieval.compare.products import over_frames
from deltax.types import Array

WORD = 32  # bits
_PLACES = np.arange(WORD, dtype=np.uint32)


def pack(codes: Array) -> Array:
  """Bits of signs: bit i of word w is whether code 32 w + i is positive.

  Args:
    codes: `[..., D]` of -1, 0 and 1, D a multiple of 32.

  Returns:
    uint32 `[..., D / 32]`.

  Raises:
    ValueError: if D is not a multiple of 32.

  Example:
    >>> pack(jnp.where(jnp.arange(64) % 32 < 4, 1.0, -1.0)).tolist()
    [15, 15]
  """
  size = codes.shape[-1]
  if size % WORD:
    raise ValueError(f'codes of {size} bits do not fill words of {WORD}')
  bits = jnp.asarray(codes > 0, jnp.uint32)
  bits = bits.reshape(*codes.shape[:-1], size // WORD, WORD)
  places = _PLACES.reshape((1,) * (bits.ndim - 1) + (WORD,))
  return (bits << places).sum(-1, dtype=jnp.uint32)


def unpack(words: Array) -> Array:
  """Signs from bits.

  Args:
    words: uint32 `[..., W]`.

  Returns:
    float32 `[..., 32 W]` of -1 and 1, `pack`'s codes where those had no zeros.

  Example:
    >>> unpack(jnp.array([5], jnp.uint32))[:4].tolist()
    [1.0, -1.0, 1.0, -1.0]
  """
  words = jnp.asarray(words)[..., None]
  places = _PLACES.reshape((1,) * (words.ndim - 1) + (WORD,))
  signs = jnp.where((words >> places) & 1, 1.0, -1.0)
  return signs.reshape(*words.shape[:-2], -1)


def frame_similarity(
  query: Array,
  targets: Array,
  *,
  symmetric: bool = False,
  largest: int = 2**26,
) -> Array:
  """Chamfer similarity of a query's frames with those of some targets.

  Equal to the products of the codes divided by D, since a product of two codes
  of -1 and 1 is D less twice the places where they differ.

  Args:
    query: uint32 `[T, R, W]`.
    targets: uint32 `[N, S, P, W]`.
    symmetric: whether the mean of both directions is taken.
    largest: pairs of regions held at a time; more are done in turns.

  Returns:
    float32 `[N, T, S]` in [-1, 1]. What padded frames give means nothing.

  Source: DnS, section 3.2.2.
  """
  videos, frames, others, words = targets.shape
  pairs = query.shape[0] * query.shape[1] * others
  alike = over_frames(
    lambda part: _compare(query, part, symmetric),
    targets.reshape(-1, others, words),
    max(1, largest // pairs),
  )
  return alike.reshape(videos, frames, -1).transpose(0, 2, 1)


def _compare(query: Array, targets: Array, symmetric: bool) -> Array:
  """`[M, T]` similarities with frames `[M, P, W]`."""
  _, regions, words = query.shape
  rows = query.transpose(1, 0, 2).reshape(-1, words)
  # Words of one region and place side by side in memory, frame by frame.
  columns = by_rows(targets.transpose(1, 2, 0))

  # Counting one region after the other, only the fewest bits are kept.
  def with_region(fewest, column):
    differ = sum(
      lax.population_count(rows[:, w, None] ^ column[None, w])
      for w in range(words)
    )
    back = differ.reshape(regions, -1, len(targets)).min(0)
    return jnp.minimum(fewest, differ), back if symmetric else None

  most = jnp.full((len(rows), len(targets)), WORD * words, jnp.uint32)
  fewest, back = lax.scan(with_region, most, columns)
  mean = fewest.reshape(regions, -1, len(targets)).sum(0) / regions
  if symmetric:
    mean = (mean + back.mean(0)) / 2
  return (1 - 2 / (WORD * words) * mean).T
