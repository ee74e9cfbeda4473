"""Approximate search of coarse vectors by Milvus, in a file or on a server.

The index remains what is true: its vectors are copied to a collection of its
own, and every answer is only taken from a collection that holds just these;
one that does not is brought up to date first.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Callable
from typing import Self

import numpy as np

from deltax import files
from deltax.errors import DeltaxError
from deltax.retrieval.index.elsewhere.remote import RemoteIndex
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.coarse_faiss import each_once
from deltax.retrieval.search.milvus_collection import (
  ROW,
  STATE,
  Collection,
  Written,
  check_address,
)

FILE = 'milvus.db'
BITS = 20  # of a key, for which of a video's vectors it is
TOGETHER = 4096  # videos whose vectors are in memory at once
ROUNDS = 3  # times a collection that others change is brought up to date
VIDEO = np.dtype([('id', 'i8'), ('seal', 'i8')])

Vectors = tuple[np.ndarray, np.ndarray]


class MilvusSearch:
  """See `coarse_search.CoarseSearch`; scores are those of the server.

  Args:
    collection: where the vectors are kept.
    index: what they are of, if anything.
  """

  def __init__(
    self, collection: Collection, index: Index | RemoteIndex | None = None
  ):
    self._collection, self._index = collection, index
    self._opened = index.manifest if index else None
    self._written = Written(0, 0)

  def build(self, ids: np.ndarray, vectors: np.ndarray) -> Self:
    order = np.argsort(ids, kind='stable')
    ids, vectors = np.asarray(ids, np.int64)[order], np.asarray(vectors)[order]
    self._given = ids, vectors
    known, first = np.unique(ids, return_index=True)

    def read(places):
      asked = np.isin(ids, known[places])
      return ids[asked], vectors[asked]

    seals = [_seal(part) for part in np.split(vectors, first)[1:]]
    return self.follow(known, np.array(seals, np.int64), read)

  def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
    pairs = zip(self._given, (ids, vectors), strict=True)
    self.build(*(np.concatenate(pair) for pair in pairs))

  def remove(self, ids: np.ndarray) -> None:
    """Forgets vectors."""
    left = ~np.isin(self._given[0], ids)
    self.build(*(part[left] for part in self._given))

  def follow(
    self,
    ids: np.ndarray,
    seals: np.ndarray,
    read: Callable[[np.ndarray], Vectors],
  ) -> Self:
    """Searches these videos from now on; what is there already stays.

    Args:
      ids: int64 `[N]`, each once.
      seals: int64 `[N]`, what else tells a video: one of the same id and
        another seal is another video.
      read: places in `ids` `[M]` to all of their vectors: ids `[L]` and float
        `[L, E]`.
    """
    order = np.argsort(ids)
    self._videos = np.zeros(len(ids), VIDEO)
    self._videos['id'], self._videos['seal'] = ids[order], seals[order]
    self._read = lambda places: read(order[places])
    digest = hashlib.blake2b(self._videos.tobytes(), digest_size=8).digest()
    # Of 63 bits, as the server's numbers have a sign.
    self._digest = int.from_bytes(digest) >> 1
    if len(ids) and not self._is_there():
      self._update()
    return self

  def query(self, vectors: np.ndarray, k: int) -> Vectors:
    k = min(k, len(self._videos))
    if not k:
      empty = np.zeros((len(vectors), 0))
      return empty.astype(np.int64), empty.astype(np.float32)
    for _ in range(ROUNDS):
      # Several vectors of one video may be nearest: more are asked for.
      several = -(-self._written.rows // len(self._videos))
      found = self._collection.nearest(vectors, k * several, self._written)
      if found is not None:
        ids, scores = each_once(found[0] >> BITS, found[1], k)
        if np.isin(ids[ids >= 0], self._videos['id']).all():
          return ids, scores
        self._collection.delete(np.array([STATE]))  # it is not true
      if self._moved_on():
        raise DeltaxError(
          f'{self._index.folder} has changed, and its collection with it, '
          'since it was opened to be searched: open it again'
        )
      self._update()
    raise DeltaxError(
      f'the vectors at {self._collection.place} are changed all the time by '
      'others, who have another copy of this index'
    )

  def _is_there(self) -> bool:
    """Whether the collection says that it holds what is searched."""
    written = self._collection.written()
    if not written or written.digest != self._digest:
      return False
    self._written = written
    return True

  def _moved_on(self) -> bool:
    """Whether the index is another than it was, here or on the disk."""
    index = self._index
    return index is not None and (
      index.manifest is not self._opened or index.changed()
    )

  def _update(self) -> None:
    """Makes the collection hold what is searched, and nothing else."""
    with _alone(self._index):
      if self._is_there():  # by another, who was waited for
        return
      held = self._collection.begin()
      right = self._right(held)
      there = held['key'] >> BITS
      kept = np.isin(there, self._videos['id'][right])
      self._collection.delete(held['key'][~kept])
      rows = int(kept.sum())
      new = np.flatnonzero(~right)
      for start in range(0, len(new), TOGETHER):
        ids, vectors = self._read(new[start : start + TOGETHER])
        self._collection.upsert(self._rows(ids), vectors)
        rows += len(ids)
      self._written = Written(self._digest, rows)
      self._collection.finish(self._written)

  def _right(self, held: np.ndarray) -> np.ndarray:
    """Which of the videos have all of their vectors among some rows."""
    ids, first, counts = np.unique(
      held['key'] >> BITS, return_index=True, return_counts=True
    )
    whole = counts == held['of'][first]
    there = np.zeros(int(whole.sum()), VIDEO)
    there['id'], there['seal'] = ids[whole], held['seal'][first][whole]
    return np.isin(self._videos, there)

  def _rows(self, ids: np.ndarray) -> np.ndarray:
    """Rows of vectors; those of a video stand side by side."""
    known, first, of, counts = np.unique(
      ids, return_index=True, return_inverse=True, return_counts=True
    )
    rows = np.zeros(len(ids), ROW)
    rows['key'] = (ids << BITS) + np.arange(len(ids)) - first[of]
    places = np.searchsorted(self._videos['id'], known)
    rows['seal'] = self._videos['seal'][places][of]
    rows['of'] = counts[of]
    return rows


def _seal(vectors: np.ndarray) -> int:
  data = np.ascontiguousarray(vectors, np.float32).tobytes()
  return int.from_bytes(hashlib.blake2b(data, digest_size=7).digest())


@contextlib.contextmanager
def _alone(index: Index | RemoteIndex | None):
  """Keeps others on this file system from changing a collection meanwhile."""
  if index and os.access(index.engine_folder, os.W_OK):
    with files.locked(index.engine_folder / 'coarse.lock'):
      yield
  else:
    yield


def open_milvus(
  index: Index | RemoteIndex,
  rows: np.ndarray,
  vectors: Callable[[np.ndarray], Vectors],
) -> MilvusSearch:
  """The search of some rows of an index, its collection brought up to date.

  The collection is on the server that the index names, or in a file in its
  folder; of a folder that cannot be written to, in a copy of that.

  Args:
    index: whose manifest says where the server is.
    rows: `[N]` that are searched; an id keeps its vectors for good.
    vectors: places in `rows` `[M]` to all of their vectors: ids `[L]` and float
      `[L, E]`.

  Raises:
    DeltaxError: see `Collection`.
    ImportError: the client is not installed.
  """
  place, file = index.manifest['coarse_address'], index.engine_folder / FILE
  is_copied = place is None and not os.access(file.parent, os.W_OK)
  if place is not None:
    check_address(place)
  else:
    place = pathlib.Path(tempfile.mkdtemp(), FILE) if is_copied else file
  uid = index.manifest['uid']
  whose = hashlib.blake2b(f'{uid} {index.fingerprint}'.encode(), digest_size=8)
  collection = Collection(place, f'deltax_{uid}', whose.hexdigest(), index.size)
  search = MilvusSearch(collection, index)
  if is_copied:
    weakref.finalize(search, shutil.rmtree, place.parent, ignore_errors=True)
    if file.exists():
      shutil.copytree(file, place)
  table = index.numbers(rows)
  # A copy of this folder may go on with other videos of the same ids.
  seals = table['frames'].astype(np.int64) << 32 | table['checksum']
  return search.follow(table['id'], seals, vectors)
