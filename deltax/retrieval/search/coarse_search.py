"""The nearest coarse vectors: all of them compared, or by an engine."""

import functools
from typing import Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from deltax.retrieval.index.folder import Index

KINDS = ('exact', 'ivf_sq8', 'ivf_rabitq')


class CoarseSearch(Protocol):
  """What a search of coarse vectors does, exact or not."""

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    """Starts anew.

    Args:
      ids: int64 `[N]`, what answers call the vectors; each once.
      vectors: float32 `[N, E]`, of length 1.
    """

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Adds vectors to those that are there."""

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest ones, best first.

    Args:
      vectors: float32 `[Q, E]`, of length 1.
      k: how many at most.

    Returns:
      ids, int64 `[Q, K]`, and scores, float32 `[Q, K]`: dot products, or what
      an engine has of them. K is k or, if there are fewer, N. Where an engine
      found fewer than K the id is -1 and the score -inf.
    """


class ExactSearch:
  """One matrix product on the device; see `CoarseSearch`."""

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    self._ids = np.asarray(ids, np.int64)
    self._vectors = jnp.asarray(vectors, jnp.float32)
    return self

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    self._ids = np.concatenate([self._ids, np.asarray(ids, np.int64)])
    self._vectors = jnp.concatenate([self._vectors, jnp.asarray(vectors)])

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    k = min(k, len(self._ids))
    if not k:
      empty = np.zeros((len(vectors), 0))
      return empty.astype(np.int64), empty.astype(np.float32)
    scores, places = _nearest(self._vectors, jnp.asarray(vectors), k)
    return self._ids[np.asarray(places)], np.asarray(scores)


@functools.partial(jax.jit, static_argnames='k')
def _nearest(vectors, queries, k):
  scores = jnp.einsum(
    'qe,ne->qn', queries, vectors, precision=jax.lax.Precision.HIGHEST
  )
  return jax.lax.top_k(scores, k)


def open_coarse(index: Index, rows: np.ndarray) -> CoarseSearch:
  """The search of some rows of an index, of the kind that it was made with.

  An engine's file is kept in the folder, and brought up to date there.
  """
  kind, ids = index.manifest['coarse_search'], index.table['id'][rows]
  if kind == 'exact':
    return ExactSearch().build(ids, index.coarse()[rows])
  from deltax.retrieval.search.coarse_faiss import open_faiss

  path = index.folder / f'{kind}.faiss'
  return open_faiss(path, kind, ids, lambda places: index.coarse(rows[places]))
