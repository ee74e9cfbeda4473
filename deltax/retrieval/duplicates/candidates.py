"""The pairs of a collection that are worth a comparison, by coarse vectors."""

import numpy as np

_TOGETHER = 64  # videos whose vectors are multiplied with all others at once


def nearest_pairs(
  vectors: np.ndarray, owners: np.ndarray, *, each: int, most: int
) -> np.ndarray:
  """The pairs of videos with the most similar vectors, each pair once.

  All vectors are multiplied with all others, in blocks: the memory grows with
  the number of vectors, not with its square.

  Args:
    vectors: float `[M, E]`, of length 1; those of one video follow each other.
    owners: int `[M]`, the video that each is of, from 0 to N - 1, rising; every
      video has one at least.
    each: a pair counts if one is among so many nearest of the other.
    most: pairs to give at most.

  Returns:
    int64 `[P, 2]`, numbers of videos, the lower one first; best pairs first.

  Example:
    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    >>> nearest_pairs(vectors, np.arange(3), each=1, most=9).tolist()
    [[0, 2], [1, 2]]
  """
  vectors, owners = np.asarray(vectors, np.float32), np.asarray(owners)
  starts = np.flatnonzero(np.diff(owners, prepend=-1))
  count = len(starts)
  ends = np.append(starts[1:], len(owners))
  each = min(each, count - 1)
  if each < 1 or most < 1:
    return np.zeros((0, 2), np.int64)
  found: dict[tuple[int, int], float] = {}
  for first in range(0, count, _TOGETHER):
    last = min(first + _TOGETHER, count)
    rows = slice(starts[first], ends[last - 1])
    best = np.maximum.reduceat(vectors[rows] @ vectors.T, starts, axis=1)
    best = np.maximum.reduceat(best, starts[first:last] - starts[first], axis=0)
    best[np.arange(last - first), np.arange(first, last)] = -np.inf
    nearest = np.argpartition(-best, each - 1, axis=1)[:, :each]
    for number, others in enumerate(nearest, first):
      for other in others.tolist():
        pair = (min(number, other), max(number, other))
        found[pair] = float(best[number - first, other])
  order = sorted(found, key=lambda pair: (-found[pair], pair))
  return np.array(order[:most], np.int64).reshape(-1, 2)
