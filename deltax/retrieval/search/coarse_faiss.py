"""Approximate search of coarse vectors in large indexes, by FAISS.

An inverted file: vectors lie in lists around centroids, and a query reads the
lists of its nearest centroids. They are held in 8 bits a number (SQ8) or in one
bit and a correction (RaBitQ); `Searcher` computes the exact scores of the few
that are found.
"""

import contextlib
import importlib
import math
import os
import pathlib
from collections.abc import Callable
from typing import Self

import numpy as np

from deltax import files, plain
from deltax.plain import COUNT, TEXT

CODECS = {'ivf_sq8': 'SQ8', 'ivf_rabitq': 'RaBitQ'}
PROBES = 32  # lists read for a query, at least
READ = 4  # times the vectors that are asked for are read, at least
LEAST = 39  # vectors per centroid that its fitting needs
# With more, the nearest centroids cost more than the vectors of their lists.
MOST = 2048
TOGETHER = 1 << 16  # videos whose vectors are in memory at once
_NOTE = {'state': TEXT, 'bytes': COUNT, 'videos': COUNT}


def _faiss():
  try:
    return importlib.import_module('faiss')
  except ImportError as error:
    raise ImportError(
      'approximate coarse search needs FAISS: pip install faiss-cpu'
    ) from error


class FaissSearch:
  """See `coarse_search.CoarseSearch`; scores are those of the short codes.

  Args:
    codec: one of `CODECS`.

  Raises:
    ValueError: an unknown codec.
    ImportError: FAISS is not installed.
  """

  def __init__(self, codec: str):
    if codec not in CODECS:
      raise ValueError(f'unknown codec {codec!r}; known: {sorted(CODECS)}')
    self._codec = codec
    self._index, self._videos = None, 0
    _faiss()

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    self.train(vectors, len(vectors))
    self.add(ids, vectors)
    return self

  def train(self, vectors: np.ndarray, count: int) -> None:
    """Starts anew, with centroids and no vectors yet.

    Args:
      vectors: float `[N, E]`, a sample of them or all.
      count: how many there will be.
    """
    faiss = _faiss()
    self._index = faiss.index_factory(
      vectors.shape[1],
      f'IVF{_lists(count)},{CODECS[self._codec]}',
      faiss.METRIC_INNER_PRODUCT,
    )
    self._videos = 0
    self._index.cp.min_points_per_centroid = 1
    self._index.cp.max_points_per_centroid = 2 * LEAST
    if len(vectors):
      self._index.train(np.ascontiguousarray(vectors, np.float32))

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    self.put(ids, vectors)
    self.count()

  def put(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    """As `add`, of many parts: the last one is followed by `count`."""
    if len(ids):
      vectors = np.ascontiguousarray(vectors, np.float32)
      self._index.add_with_ids(vectors, np.asarray(ids, np.int64))

  def count(self) -> None:
    """Counts the videos."""
    self._videos = len(np.unique(self.ids))

  def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    # Several vectors of one video may be nearest: more are asked for.
    wanted = min(k * self._several(), self._index.ntotal)
    if not wanted:
      empty = np.zeros((len(vectors), 0))
      return empty.astype(np.int64), empty.astype(np.float32)
    lists = math.ceil(READ * wanted * self._index.nlist / self._index.ntotal)
    self._index.nprobe = min(max(PROBES, lists), self._index.nlist)
    vectors = np.ascontiguousarray(vectors, np.float32)
    scores, ids = self._index.search(vectors, wanted)
    scores = np.where(ids < 0, -np.inf, scores).astype(np.float32)
    return each_once(ids, scores, min(k, self._videos))

  def remove(self, ids: np.ndarray) -> None:
    """Forgets vectors."""
    if len(ids):
      self._index.remove_ids(np.asarray(ids, np.int64))
      self.count()

  @property
  def ids(self) -> np.ndarray:
    """int64 `[N]`, of all vectors; a video's as often as it has some."""
    faiss, lists = _faiss(), self._index.invlists
    parts = [
      faiss.rev_swig_ptr(lists.get_ids(n), lists.list_size(n)).copy()
      for n in range(lists.nlist)
      if lists.list_size(n)
    ]
    return np.concatenate([np.zeros(0, np.int64), *parts])

  @property
  def videos(self) -> int:
    """How many videos there are."""
    return self._videos

  @property
  def outgrown(self) -> bool:
    """Whether there are too many vectors for the centroids."""
    return _lists(self._index.ntotal) > 2 * self._index.nlist

  def save(self, path: str | os.PathLike) -> None:
    """Writes a file beside its place and renames it."""
    with files.replacing(path) as beside:
      _faiss().write_index(self._index, str(beside))

  def load(self, path: str | os.PathLike, videos: int | None = None) -> Self:
    """Reads what `save` wrote.

    Args:
      path: of the file.
      videos: how many it has, if that is known: then its lists stay on the
        disk, mapped, and nothing can be added to them.

    Raises:
      ValueError: no such file, or a damaged one.
    """
    faiss = _faiss()
    flags = 0 if videos is None else faiss.IO_FLAG_MMAP
    try:
      self._index = faiss.read_index(str(path), flags)
    except RuntimeError as error:
      raise ValueError(f'{path} is no index of FAISS') from error
    self._videos = videos or 0
    if videos is None:
      self.count()
    return self

  def _several(self) -> int:
    """How many vectors a video has, on average, at least."""
    return -(-self._index.ntotal // max(self._videos, 1))


def each_once(ids, scores, k) -> tuple[np.ndarray, np.ndarray]:
  """The k best of each row, an id at its best score alone."""
  found = np.full((len(ids), k), -1), np.full((len(ids), k), -np.inf, 'f4')
  for row in range(len(ids)):
    first = np.sort(np.unique(ids[row], return_index=True)[1])
    first = first[ids[row, first] >= 0][:k]
    found[0][row, : len(first)] = ids[row, first]
    found[1][row, : len(first)] = scores[row, first]
  return found


def _lists(count: int) -> int:
  return max(1, min(int(4 * count**0.5), count // LEAST, MOST))


def open_faiss(
  path: pathlib.Path,
  codec: str,
  ids: np.ndarray,
  vectors: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> FaissSearch:
  """The search that a file holds, brought up to date, file included.

  Args:
    path: the file; made if it is not there, or no index of FAISS.
    codec: one of `CODECS`.
    ids: int64 `[N]`, those that are searched; an id keeps its vectors for good.
    vectors: places in `ids` `[M]` to all of their vectors: ids `[L]` and float
      `[L, E]`.
  """
  search = FaissSearch(codec)
  try:
    known = search.load(path).ids
  except ValueError:
    known = None
  if known is not None:
    new = np.flatnonzero(~np.isin(ids, known))
    gone = np.setdiff1d(known, ids)
    if not len(new) and not len(gone):
      return search
    search.remove(gone)
    for part in _parts(new):
      search.put(*vectors(part))
    search.count()
  if known is None or search.outgrown:
    _fill(search, np.arange(len(ids)), vectors)
  if os.access(path.parent, os.W_OK):
    search.save(path)
  return search


def open_noted(
  path: pathlib.Path, codec: str, state: str, make: Callable[[], FaissSearch]
) -> FaissSearch:
  """The search that a file holds, which is not read if its note fits.

  Args:
    path: the file.
    codec: one of `CODECS`.
    state: a digest of which videos are searched.
    make: gives the search of these, brought up to date.
  """
  place = path.with_suffix('.json')
  with contextlib.suppress(OSError, ValueError):
    note = plain.read_json(place, _NOTE)
    if (note['state'], note['bytes']) == (state, path.stat().st_size):
      return FaissSearch(codec).load(path, note['videos'])
  search = make()
  if os.access(path.parent, os.W_OK):
    about = {'bytes': path.stat().st_size, 'videos': search.videos}
    files.write_json(place, {'state': state, **about})
  return search


def _fill(search: FaissSearch, places: np.ndarray, vectors) -> None:
  """All vectors, of which few are in memory at once."""
  if len(places) <= TOGETHER:
    search.build(*vectors(places))
    return
  sample = places[:: -(-len(places) // TOGETHER)]
  _, few = vectors(sample)
  search.train(few, len(few) * len(places) // len(sample))
  for part in _parts(places):
    search.put(*vectors(part))
  search.count()


def _parts(places: np.ndarray) -> list[np.ndarray]:
  starts = range(0, len(places), TOGETHER)
  return [places[start : start + TOGETHER] for start in starts]
