"""The nearest coarse vectors: all of them compared, or by an engine."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, Self

import numpy as np

from deltax.retrieval.index.elsewhere.together import Together
from deltax.retrieval.index.opened import OpenIndex

Block = tuple[np.ndarray, np.ndarray]
_TOGETHER = 256  # vectors multiplied at once: they stay in the cache
# A number of half precision, its bits moved to their places in a single one, is
# itself over this, as the two count exponents from 15 and from 127.
_SHIFT, _OVER = 13, np.float32(2.0 ** (127 - 15))
_KEPT = np.array(0x8FFFE000, np.uint32).view(np.int32)  # all but copied signs
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
  """All dot products, block by block; see `CoarseSearch`.

  Args:
    blocks: gives ids, int64 `[n]`, and vectors, float `[n, E]`, of one part of
      what is searched after the other; -1 is the id of what is not. They may
      be mapped: no query holds more than one.
  """

  def __init__(self, blocks: Callable[[], Iterable[Block]] = tuple):
    self._blocks = blocks

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    held = [(np.asarray(ids, np.int64), np.asarray(vectors))]
    self._blocks = lambda: held
    return self

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    new, before = (np.asarray(ids, np.int64), np.asarray(vectors)), self._blocks
    self._blocks = lambda: itertools.chain(before(), [new])

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    best = [_Best(k) for _ in vectors]
    for ids, block in self._blocks():
      for row, scores in zip(best, dots(vectors, block), strict=True):
        row.add(ids, scores)
    return _table(best)


def dots(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
  """float32 `[Q, N]`, dot products in single precision.

  Numpy widens half precision ten times as slowly as it multiplies.

  Args:
    queries: float32 `[Q, E]`, below 2**15.
    vectors: float32 or float16 `[N, E]`, finite; they may be mapped.
  """
  scores = np.empty((len(vectors), len(queries)), np.float32)
  is_half = vectors.dtype == np.float16
  others = (queries * _OVER if is_half else queries).T
  wide = np.empty((_TOGETHER, vectors.shape[1]), np.int32)
  for start in range(0, len(vectors), _TOGETHER):
    part = vectors[start : start + _TOGETHER]
    if is_half:
      bits = wide[: len(part)]
      np.copyto(bits, part.view(np.int16))
      np.left_shift(bits, _SHIFT, out=bits)
      np.bitwise_and(bits, _KEPT, out=bits)
      part = bits.view(np.float32)
    np.matmul(part, others, out=scores[start : start + len(part)])
  return scores.T


class _Best:
  """The k highest scores so far of one query, of each video the highest.

  Args:
    k: of how many videos.
  """

  def __init__(self, k: int):
    self._k, self._least = k, -np.inf
    self._ids, self._scores = np.zeros(0, np.int64), np.zeros(0, np.float32)

  def add(self, ids: np.ndarray, scores: np.ndarray) -> None:
    # Nearly all are worse than what is there: only others are sorted.
    better = np.flatnonzero(scores >= self._least)
    better = better[ids[better] >= 0]
    if len(better):
      self._ids = np.concatenate([self._ids, ids[better]])
      self._scores = np.concatenate([self._scores, scores[better]])
      if len(self._ids) > 4 * self._k:
        self._keep()

  def found(self) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores, best first; of equal ones the lowest id."""
    self._keep()
    return self._ids, self._scores

  def _keep(self) -> None:
    order = np.lexsort((self._ids, -self._scores))
    _, first = np.unique(self._ids[order], return_index=True)
    kept = order[np.sort(first)[: self._k]]
    self._ids, self._scores = self._ids[kept], self._scores[kept]
    if len(kept) == self._k:
      self._least = self._scores[-1]


def _table(best: Sequence[_Best]) -> tuple[np.ndarray, np.ndarray]:
  """Ids and scores of all queries; -1 and -inf where one has fewer."""
  found = [row.found() for row in best]
  shape = len(found), max([len(ids) for ids, _ in found], default=0)
  ids, scores = np.full(shape, -1), np.full(shape, -np.inf, np.float32)
  for row, (own_ids, own) in enumerate(found):
    ids[row, : len(own_ids)], scores[row, : len(own)] = own_ids, own
  return ids, scores


def open_coarse(index: OpenIndex | Together, rows: np.ndarray) -> CoarseSearch:
  """The search of some rows of an index, of the kind that it was made with.

  Of each video it has the vector of the whole and those of its clips. The exact
  one reads them with each query from where they are, and compares checksums
  with the first. An engine's file is kept in the folder, and brought up to date
  there.
  """
  if isinstance(index, Together):
    return _Joined(index, rows)
  kind = index.manifest['coarse_search']
  if kind == 'exact':
    return ExactSearch(lambda: _blocks(index, rows))
  if kind == 'milvus':
    from deltax.retrieval.search.coarse_milvus import open_milvus

    return open_milvus(index, rows, lambda of: _all_vectors(index, rows[of]))
  from deltax.retrieval.search.coarse_faiss import open_faiss, open_noted

  path = index.engine_folder / f'{kind}.faiss'

  def make():
    ids = index.numbers(rows)['id']
    return open_faiss(path, kind, ids, lambda of: _all_vectors(index, rows[of]))

  return open_noted(path, kind, f'{len(rows)} of {index.videos_digest}', make)


class _Joined:
  """The searches of several indexes as one; only asked, see `CoarseSearch`.

  Args:
    index: of them.
    rows: int64, ascending: those that are searched.
  """

  def __init__(self, index: Together, rows: np.ndarray):
    pairs = zip(index.indexes, index.split(rows), strict=True)
    self._index = index
    self._searches = [open_coarse(part, own) for part, own in pairs]

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    best = [_Best(k) for _ in vectors]
    for number, search in enumerate(self._searches):
      ids, scores = search.query(vectors, k)
      ids = self._index.named(number, ids)
      for row, *own in zip(best, ids, scores, strict=True):
        row.add(*own)
    return _table(best)


def _blocks(index: OpenIndex, rows: np.ndarray) -> Iterator[Block]:
  """Ids and vectors of each shard: of videos as a whole, and of clips."""
  chosen = None
  if len(rows) < len(index):
    chosen = np.zeros(len(index), bool)
    chosen[rows] = True
  for block in index.blocks():
    searched = block.rows >= 0
    if chosen is not None:
      searched[searched] = chosen[block.rows[searched]]
    ids = np.where(searched, block.ids, -1)
    yield ids, block.wholes
    if len(block.clips):
      yield np.repeat(ids, block.counts), block.clips


def _all_vectors(index, rows) -> tuple[np.ndarray, np.ndarray]:
  """Ids and vectors of videos as a whole and of their clips."""
  counts, vectors = index.vectors(rows)
  return np.repeat(index.numbers(rows)['id'], counts), vectors
