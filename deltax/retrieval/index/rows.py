"""Which row of an index is which video of which shard."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deltax.retrieval.index.open_shard import Shard


class Rows:
  """Rows count the videos that are not removed, shard after shard.

  What is removed is looked up in a shard when a row of that shard is asked for.

  Args:
    shards: of an index.
    records: of these, as the manifest has them.
  """

  def __init__(
    self, shards: Sequence[Shard], records: Sequence[Mapping[str, Any]]
  ):
    self._shards, self._records = shards, records
    left = [len(record['removed']) for record in records]
    counts = np.array(list(map(len, shards)), np.int64) - np.array(left, int)
    self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    self._alive: dict[int, np.ndarray] = {}
    self._removed: dict[int, np.ndarray] = {}

  def __len__(self) -> int:
    return int(self._starts[-1])

  def place(self, row: int) -> tuple[int, int]:
    """Number of the shard of a row, and the row there.

    Raises:
      IndexError: there is no such row.
    """
    row = int(row)
    if not 0 <= row < len(self):
      raise IndexError(f'row {row} of {len(self)}')
    number = int(np.searchsorted(self._starts, row, 'right')) - 1
    within = row - int(self._starts[number])
    if self._records[number]['removed']:
      within = int(self.alive(number)[within])
    return number, within

  def groups(
    self, rows: Sequence[int] | np.ndarray
  ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Some rows by shard.

    Yields:
      Number of a shard, which of the rows are there, and the rows there.
    """
    rows = np.asarray(rows, np.int64)
    numbers = np.searchsorted(self._starts, rows, 'right') - 1
    order = np.argsort(numbers, kind='stable')
    edges = np.flatnonzero(np.diff(numbers[order])) + 1
    for which in np.split(order, edges) if len(order) else ():
      number = int(numbers[which[0]])
      within = rows[which] - self._starts[number]
      yield number, which, self.alive(number)[within]

  def row(self, number: int, within: int) -> int:
    """The row of a video of a shard; -1 if it is removed."""
    before = 0
    if self._records[number]['removed']:
      removed = self.removed(number)
      before = int(np.searchsorted(removed, within))
      if before < len(removed) and removed[before] == within:
        return -1
    return int(self._starts[number]) + within - before

  def first(self, number: int) -> int:
    """The first row of a shard."""
    return int(self._starts[number])

  def alive(self, number: int) -> np.ndarray:
    """int64, ascending: rows of a shard that are not removed."""
    if number not in self._alive:
      every = np.arange(len(self._shards[number]))
      self._alive[number] = np.delete(every, self.removed(number))
    return self._alive[number]

  def removed(self, number: int) -> np.ndarray:
    """int64, ascending: rows of a shard that are removed.

    Raises:
      ValueError: the manifest names a video that the shard has not.
    """
    if number not in self._removed:
      names, shard = self._records[number]['removed'], self._shards[number]
      found = shard.find('name', names) if names else []
      if sorted(which for which, _ in found) != list(range(len(names))):
        raise ValueError(
          f'{shard.parts.place} is damaged: it has not the videos that were '
          'removed from it'
        )
      self._removed[number] = np.sort(
        np.array([row for _, row in found], np.int64)
      )
    return self._removed[number]
