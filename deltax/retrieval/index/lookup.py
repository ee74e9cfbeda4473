"""Finds the videos of a shard by a text, without a dictionary of all.

The table is written with the shard: digests of the texts in ascending order,
and beside each the row that it is of.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

KINDS = ('name', 'path', 'content')


def digests(texts: Iterable[str]) -> np.ndarray:
  """uint64 `[M]`; two texts have the same one about never, but they may."""
  return np.array(
    [
      int.from_bytes(
        hashlib.blake2b(
          text.encode('utf-8', 'surrogatepass'), digest_size=8
        ).digest()
      )
      for text in texts
    ],
    np.uint64,
  )


def make_lookup(columns: Sequence[Sequence[str]]) -> np.ndarray:
  """The table of some videos.

  Args:
    columns: of each of `KINDS` the texts of N videos, '' where one has none.

  Returns:
    uint64 `[len(KINDS), 2, N]`, digests and rows.
  """
  tables = []
  for texts in columns:
    keys = digests(texts)
    order = np.argsort(keys, kind='stable')
    tables.append([keys[order], order.astype(np.uint64)])
  return np.array(tables, np.uint64)


def find(table: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The rows that may have some texts.

  Args:
    table: uint64 `[2, N]`, of one of `KINDS`.
    keys: uint64 `[M]`, digests of what is looked for.

  Returns:
    int64 `[L]`, which of the keys, and int64 `[L]`, a row that has it.

  Example:
    >>> table = make_lookup([['a', 'b', 'a']])[0]
    >>> [found.tolist() for found in find(table, digests(['c', 'a']))]
    [[1, 1], [0, 2]]
  """
  first = np.searchsorted(table[0], keys, 'left')
  counts = np.searchsorted(table[0], keys, 'right') - first
  which = np.repeat(np.arange(len(keys)), counts)
  # The places of each key follow one another.
  ends = np.cumsum(counts)
  places = np.arange(len(which)) + np.repeat(first - (ends - counts), counts)
  return which, table[1][places].astype(np.int64)
