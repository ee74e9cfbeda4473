"""Several indexes of one model, searched as if they were one.

Each is written, and grows, where it lies: on this machine, on others, in a
store of objects. All of them have to be there: what is away is an error, and
never a search of the others alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deltax.retrieval.index.opened import Column, OpenIndex
from deltax.retrieval.index.shard import ROW

_IDS = 48  # bits of an id; above stands the number of the index


class Together:
  """Reads as `OpenIndex` does what a search needs; rows follow each other.

  Args:
    indexes: at least one. Two may have videos of one name.

  Raises:
    ValueError: they were built with two models.
  """

  def __init__(self, indexes: Sequence[OpenIndex]):
    self.indexes = tuple(indexes)
    first = self.indexes[0]
    for index in self.indexes[1:]:
      if index.fingerprint != first.fingerprint:
        raise ValueError(
          f'{first.folder} was built with the model {first.fingerprint}, and '
          f'{index.folder} with {index.fingerprint}: their codes cannot be '
          'compared'
        )
    self.folder = ', '.join(str(index.folder) for index in self.indexes)
    self.fingerprint, self.manifest = first.fingerprint, first.manifest
    lengths = [len(index) for index in self.indexes]
    self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

  def __len__(self) -> int:
    return int(self._starts[-1])

  @property
  def names(self) -> Sequence[str]:
    """N names."""
    return self._column(lambda index: index.names)

  @property
  def paths(self) -> Sequence[str]:
    """N places where the files were."""
    return self._column(lambda index: index.paths)

  @property
  def background(self) -> np.ndarray:
    """int64, ascending: rows of videos that only normalise scores."""
    pairs = zip(self._starts, self.indexes, strict=False)
    return np.concatenate([start + index.background for start, index in pairs])

  def split(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Rows, ascending, as those of each index."""
    rows = np.asarray(rows, np.int64)
    edges = np.searchsorted(rows, self._starts)
    return [
      rows[first:last] - start
      for first, last, start in zip(
        edges[:-1], edges[1:], self._starts, strict=False
      )
    ]

  def named(self, number: int, ids: np.ndarray) -> np.ndarray:
    """int64, ids here of videos by those that an index has; -1 stays."""
    return np.where(ids < 0, -1, ids + (number << _IDS))

  def rows_of(self, ids: np.ndarray) -> np.ndarray:
    """int64 `[M]`, rows of videos by their ids; -1 where there is none."""
    ids = np.asarray(ids, np.int64)
    rows, owners = np.full(len(ids), -1), ids >> _IDS
    for number, index in enumerate(self.indexes):
      here = owners == number
      own = index.rows_of(ids[here] & ((1 << _IDS) - 1))
      rows[here] = np.where(own < 0, -1, own + self._starts[number])
    return rows

  def numbers(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """`[M]`, dtype `shard.ROW`; its ids are those of each index."""
    numbers = np.zeros(len(rows), ROW)
    for index, which, own in self._groups(rows):
      numbers[which] = index.numbers(own)
    return numbers

  def vectors(
    self, rows: Sequence[int] | np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """See `OpenIndex.vectors`."""
    parts = {}
    for index, which, own in self._groups(rows):
      counts, vectors = index.vectors(own)
      each = np.split(vectors, np.cumsum(counts)[:-1])
      parts.update(zip(which.tolist(), each, strict=True))
    joined = [parts[place] for place in range(len(rows))]
    size = self.indexes[0].size
    return (
      np.array([len(part) for part in joined], np.int64),
      np.concatenate([np.zeros((0, size), np.float32), *joined]),
    )

  def clips(self, row: int) -> np.ndarray:
    """See `OpenIndex.clips`."""
    return self._one(row, OpenIndex.clips)

  def fine(self, row: int) -> np.ndarray:
    """See `OpenIndex.fine`."""
    return self._one(row, OpenIndex.fine)

  def times(self, row: int) -> np.ndarray:
    """See `OpenIndex.times`."""
    return self._one(row, OpenIndex.times)

  def pictures(self, row: int) -> dict[int, bytes]:
    """See `OpenIndex.pictures`."""
    return self._one(row, OpenIndex.pictures)

  def state_at(self, row: int) -> str:
    """See `OpenIndex.state_at`."""
    return self._one(row, lambda index, own: index.state_at(own))

  def _place(self, row: int) -> tuple[OpenIndex, int]:
    number = int(np.searchsorted(self._starts, row, 'right')) - 1
    return self.indexes[number], int(row - self._starts[number])

  def _one(self, row: int, read: Callable[[OpenIndex, int], Any]) -> Any:
    return read(*self._place(row))

  def _groups(self, rows):
    rows = np.asarray(rows, np.int64)
    numbers = np.searchsorted(self._starts, rows, 'right') - 1
    for number in np.unique(numbers):
      which = np.flatnonzero(numbers == number)
      yield self.indexes[number], which, rows[which] - self._starts[number]

  def _column(self, of: Callable[[OpenIndex], Sequence[str]]) -> Column:
    def one(row):
      index, own = self._place(row)
      return of(index)[own]

    return Column(
      len(self), one, lambda: (x for index in self.indexes for x in of(index))
    )
