"""Binary codes, 32 to a word, and their similarity by counting bits.

A bit tells 1 from -1 only: the zeros of padded frames become -1, and it is the
mask that keeps such frames out of a comparison.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.retrieval.compare.products import match_regions, over_frames
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
  videos, frames, regions, words = targets.shape
  size = WORD * words
  rows = query.transpose(2, 1, 0).reshape(words, -1, 1)

  def compare(targets):
    # The barrier has words of the same place side by side in memory.
    columns = targets.transpose(2, 1, 0).reshape(words, 1, -1)
    columns = lax.optimization_barrier(columns)
    differ = sum(
      lax.population_count(row ^ column)
      for row, column in zip(rows, columns, strict=True)
    )
    shape = (*query.shape[1::-1], regions, len(targets))
    alike = size - 2 * differ.astype(jnp.float32).reshape(shape)
    return match_regions(alike, symmetric=symmetric) / size

  column = query.shape[0] * query.shape[1] * regions
  alike = over_frames(
    compare,
    targets.reshape(-1, regions, words),
    max(1, largest // column),
  )
  return alike.reshape(-1, videos, frames).transpose(1, 0, 2)
