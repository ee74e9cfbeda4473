"""The nearest coarse vectors: all of them compared, or by an engine."""

from typing import Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from deltax.retrieval.index.folder import Index

_TOGETHER = 2**16  # vectors multiplied at once
KINDS = ('exact', 'ivf_sq8', 'ivf_rabitq', 'milvus')


class CoarseSearch(Protocol):
  """What a search of coarse vectors does, exact or not."""

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    """Starts anew.

    Args:
      ids: int64 `[N]`, what answers call the vectors: the videos that they are
        of, each of which may have several, one after the other.
      vectors: float `[N, E]`, of length 1.
    """

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Adds vectors to those that are there."""

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The videos with the nearest vectors, best first.

    Args:
      vectors: float32 `[Q, E]`, of length 1.
      k: how many at most.

    Returns:
      ids, int64 `[Q, K]`, each once, and scores, float32 `[Q, K]`: the highest
      dot products, or what an engine has of them. K is k or, if there are
      fewer, the number of ids. Where an engine found fewer than K the id is -1
      and the score -inf.
    """


class ExactSearch:
  """All dot products, some at a time; see `CoarseSearch`."""

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    self._ids = np.asarray(ids, np.int64)
    self._vectors = np.asarray(vectors)
    self._group()
    return self

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    self._ids = np.concatenate([self._ids, np.asarray(ids, np.int64)])
    self._vectors = np.concatenate([self._vectors, np.asarray(vectors)])
    self._group()

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    k = min(k, len(self._first))
    if not k:
      empty = np.zeros((len(vectors), 0))
      return empty.astype(np.int64), empty.astype(np.float32)
    scores = np.concatenate(
      [
        np.asarray(_products(part.astype(np.float32), vectors))
        for part in np.array_split(
          self._vectors, -(-len(self._vectors) // _TOGETHER)
        )
      ]
    )
    best = np.maximum.reduceat(scores, self._first).T
    nearest = np.argsort(-best, axis=1, kind='stable')[:, :k]
    return self._of[nearest], np.take_along_axis(best, nearest, 1)

  def _group(self) -> None:
    """Notes which vectors are of one video: they stand side by side."""
    changed = np.flatnonzero(np.diff(self._ids)) + 1
    self._first = np.concatenate(
      [np.zeros(min(1, len(self._ids)), int), changed]
    )
    self._of = self._ids[self._first]


@jax.jit
def _products(vectors, queries):
  return jnp.einsum(
    'ne,qe->nq', vectors, queries, precision=jax.lax.Precision.HIGHEST
  )


def open_coarse(index: Index, rows: np.ndarray) -> CoarseSearch:
  """The search of some rows of an index, of the kind that it was made with.

  Of each video it has the vector of the whole and those of its clips. An
  engine's file is kept in the folder, and brought up to date there.
  """
  kind, ids = index.manifest['coarse_search'], index.table['id'][rows]
  if kind == 'exact':
    return ExactSearch().build(*_all_vectors(index, rows))
  if kind == 'milvus':
    from deltax.retrieval.search.coarse_milvus import open_milvus

    return open_milvus(index, rows, lambda of: _all_vectors(index, rows[of]))
  from deltax.retrieval.search.coarse_faiss import open_faiss

  path = index.folder / f'{kind}.faiss'
  return open_faiss(path, kind, ids, lambda of: _all_vectors(index, rows[of]))


def _all_vectors(index, rows) -> tuple[np.ndarray, np.ndarray]:
  """Ids and vectors, float16, of videos as a whole and of their clips."""
  index.coarse()  # compares checksums
  size = index.coarse(rows[:0]).shape[1]
  ids, vectors = [np.zeros(0, np.int64)], [np.zeros((0, size), np.float16)]
  for row, whole in zip(rows, index.coarse(rows), strict=True):
    own = np.concatenate([whole[None].astype(np.float16), index.clips(row)])
    ids.append(np.full(len(own), index.table['id'][row]))
    vectors.append(own)
  return np.concatenate(ids), np.concatenate(vectors)
