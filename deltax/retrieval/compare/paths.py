"""Paths along the diagonals of a map of two videos, all in one pass."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# A path goes on by one row and one column, or by two of either: half to double
# speed. What comes before, as (rows, columns) back.
_STEPS = ((1, 1), (1, 2), (2, 1))
_KEPT = 2**18  # ends of paths that are held before only the best are kept
_PASSES = 4  # over what earlier matches leave of a map
_AROUND = 2  # places by which what is left out exceeds a match on each side
_NEVER = -1e3  # gain of a place that no path may use


class Path(NamedTuple):
  """Where a path begins and ends.

  Attributes:
    total: sum of its gains, less what its steps cost.
    rows: the first, and the one after the last.
    columns: the same.
    places: how many it has.
    backward: whether rows go up while columns go down.
  """

  total: float
  rows: tuple[int, int]
  columns: tuple[int, int]
  places: int
  backward: bool


def find_paths(
  gain: np.ndarray,
  *,
  gap: int,
  cost: float,
  least: tuple[float, float],
  fewest: tuple[int, int],
  most: int,
) -> list[Path]:
  """The best paths forward and backward, the largest total first.

  No two overlap in both rows and columns. A path that runs through what a
  better one has taken is sought again in what is left.

  Args:
    gain: `[t, s]`, above 0 where a place is rather a match than not.
    gap: places in a row without a gain that a path may bridge.
    cost: of a step of two rows or columns.
    least: total of a path forward, and of one backward.
    fewest: places of a path forward, and of one backward.
    most: paths sought at most.
  """
  chosen: list[Path] = []
  gain = np.array(gain, np.float32)
  for _ in range(_PASSES):
    found = [
      path
      for backward in (False, True)
      for path in _paths(
        gain, gap, cost, least[backward], fewest[backward], backward
      )
    ]
    found.sort(key=lambda path: -path.total)
    cut, before = False, len(chosen)
    for path in found:
      if len(chosen) == most:
        return chosen
      if any(_overlap(path, other) for other in chosen):
        cut = True
      else:
        chosen.append(path)
    # What ran through a better path may be a match in what is left of it.
    if not cut:
      break
    # A match is a band rather than a line: with the path alone left out, the
    # next best would be the same match once more, one place beside it.
    for path in chosen[before:]:
      around = (
        slice(max(0, first - _AROUND), last + _AROUND)
        for first, last in (path.rows, path.columns)
      )
      gain[tuple(around)] = _NEVER
  return sorted(chosen, key=lambda path: -path.total)


def _overlap(a: Path, b: Path) -> bool:
  return all(
    min(x[1], y[1]) > max(x[0], y[0])
    for x, y in ((a.rows, b.rows), (a.columns, b.columns))
  )


def _paths(gain, gap, cost, least, fewest, backward) -> Iterator[Path]:
  """The best end of each path in one direction, by its beginning."""
  width = gain.shape[1]
  # A target in reverse is a forward path once its columns are turned around.
  ends = _ends(gain[:, ::-1] if backward else gain, gap, cost, least, fewest)
  for total, start, row, column, places in zip(*ends, strict=True):
    first, left = divmod(int(start), width)
    columns = (left, int(column) + 1)
    if backward:
      columns = width - columns[1], width - columns[0]
    rows = (first, int(row) + 1)
    yield Path(float(total), rows, columns, int(places), backward)


def _ends(gain, gap, cost, least, fewest) -> list[np.ndarray]:
  """Total, beginning, row, column and places of paths, the best of each start.

  By dynamic programming, row by row: no step stays in its row, so all of a row
  depends on the two before it alone, and nothing else is kept. A path is never
  worse than none: where its total would be negative, a new one starts.
  """
  height, width = gain.shape
  numbers = np.arange(width, dtype=np.int64)
  blank = np.zeros(width + 2, np.float32), *np.zeros((3, width + 2), np.int64)
  before, last = blank, blank  # (total, start, missed, count) of two rows
  kept, waiting = [], 0
  for row in range(height):
    here = gain[row]
    sources = [
      ((last, before)[rows - 1], slice(2 - columns, width + 2 - columns))
      for rows, columns in _STEPS
    ]
    nearest, part = sources[0]
    totals, starts, missed, counts = (x[part].copy() for x in nearest)
    for source, part in sources[1:]:
      other = source[0][part] - cost
      better = other > totals
      np.copyto(totals, other, where=better)
      for mine, theirs in zip(
        (starts, missed, counts), source[1:], strict=True
      ):
        np.copyto(mine, theirs[part], where=better)
    goes_on = totals > 0
    totals = here + np.where(goes_on, totals, 0)
    missed = np.where(here > 0, 0, missed + 1)
    # A path ends where nothing is left of its total, or the gap grows too
    # long, however much it has gained: two copies far apart are two matches.
    alive = (totals > 0) & (missed <= gap)
    starts = np.where(goes_on, starts, row * width + numbers)
    counts = np.where(goes_on, counts, 0) + 1
    ends = np.flatnonzero(alive & (totals >= least) & (counts >= fewest))
    if len(ends):
      rows = np.full(len(ends), row)
      kept.append([totals[ends], starts[ends], rows, ends, counts[ends]])
      waiting += len(ends)
    if waiting > _KEPT:
      kept = [_best_of_each(kept)]
      waiting = len(kept[0][0])
    before, last = last, _framed(alive, totals, starts, missed, counts)
  return _best_of_each(kept)


def _framed(alive, *rows) -> tuple[np.ndarray, ...]:
  """With two columns of nothing before, for the longest step back."""
  return tuple(np.pad(np.where(alive, row, 0), (2, 0)) for row in rows)


def _best_of_each(kept) -> list[np.ndarray]:
  """Of all ends of paths with one beginning, that of the largest total."""
  if not kept:
    return [np.zeros(0) for _ in range(5)]
  columns = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
  # Sorted by beginning, and by total within: the last of each is its best.
  order = np.lexsort((columns[0], columns[1]))
  starts = columns[1][order]
  best = order[np.append(starts[1:] != starts[:-1], True)]
  return [column[best] for column in columns]
