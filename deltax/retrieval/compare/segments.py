"""Where two videos match: runs along the diagonals of the comparator's map."""

from typing import NamedTuple

import numpy as np

from deltax.retrieval.networks.comparator import STRIDE

# A path goes on by one row and one column, or by two of either: half to double
# speed. What comes before, as (rows, columns) back, and what it costs.
_STEPS = ((1, 1, 0.0), (1, 2, 0.05), (2, 1, 0.05))
_START = -1  # of a path: no step
_FEWEST = 2  # places of a path
_FEWEST_BACKWARD = 4  # across a thick diagonal there are short paths
_AROUND = 2  # places by which what is left out exceeds a match
_NEVER = -1e3  # gain of a place that does not count


class Segment(NamedTuple):
  """A stretch of the query and the stretch of the target that matches it.

  Attributes:
    query_start: first frame; `query_end`: the frame after the last.
    target_start: first frame; `target_end`: the frame after the last.
    score: mean similarity along the match, in [-1, 1].
    backward: whether the target shows it in reverse.
  """

  query_start: int
  query_end: int
  target_start: int
  target_end: int
  score: float
  backward: bool = False


class _Path(NamedTuple):
  total: float
  cells: np.ndarray  # [n, 2] rows and columns


def find_segments(
  similarity: np.ndarray,
  mask: np.ndarray | None = None,
  *,
  threshold: float = 0.0,
  gap: int = 3,
  most: int = 20,
  stride: int = STRIDE,
) -> tuple[Segment, ...]:
  """The stretches that match, the one with the most similarity first.

  The best path through the map is found, at between half and double speed, by
  dynamic programming: each place is worth its similarity less the threshold.
  What lies between its ends in both videos is then left out, and the next best
  is sought. So no two matches overlap in both videos, but a stretch of the
  query may be found in several places.

  Args:
    similarity: float `[t, s]` in [-1, 1], the comparator's output, limited.
    mask: `[t, s]`, 1 where it counts; all of it when absent.
    threshold: similarity from which a place is rather a match than not.
    gap: places in a row below the threshold that a match may bridge.
    most: matches sought at most.
    stride: frames of a row or column.

  Returns:
    Segments, in frames of the comparator's input. Where a video's length is no
    multiple of `stride`, an end may lie up to 3 frames beyond it.

  Raises:
    ValueError: if the map is no matrix, or the mask does not fit.

  Example:
    >>> copy = np.full((4, 8), -1.0)
    >>> copy[[0, 1, 2], [4, 5, 6]] = 0.75
    >>> find_segments(copy)[0][:5]
    (0, 12, 16, 28, 0.75)
  """
  similarity = np.asarray(similarity, float)
  if similarity.ndim != 2 or (
    mask is not None and np.shape(mask) != similarity.shape
  ):
    raise ValueError(
      f'a map of shape {similarity.shape} and a mask of shape '
      f'{np.shape(mask)}: expected [t, s] twice'
    )
  gain = similarity - threshold
  if mask is not None:
    gain = np.where(np.asarray(mask) > 0, gain, _NEVER)
  fewest = min(_FEWEST, *gain.shape)
  found = []
  while len(found) < most:
    forward = _best_path(gain, gap, fewest)
    backward = _best_path(gain[:, ::-1], gap, _FEWEST_BACKWARD)
    reverse = backward.total > forward.total
    path = backward if reverse else forward
    if path.total <= 0:
      break
    rows, columns = path.cells.T
    if reverse:
      columns = gain.shape[1] - 1 - columns
    both = [(int(x.min()), int(x.max()) + 1) for x in (rows, columns)]
    ends = (stride * x for pair in both for x in pair)
    score = float(similarity[rows, columns].mean())
    found.append(Segment(*ends, score, bool(reverse)))
    around = (slice(max(0, x - _AROUND), y + _AROUND) for x, y in both)
    gain[tuple(around)] = _NEVER
  return tuple(found)


def _best_path(gain: np.ndarray, gap: int, fewest: int) -> _Path:
  """The path of at least `fewest` places with the largest sum of gains."""
  total, step, places = _totals(gain, gap)
  long_enough = np.where(places >= fewest, total, 0.0)
  end = np.unravel_index(long_enough.argmax(), gain.shape)
  cells = [end]
  while step[cells[-1]] != _START:
    rows, columns, _ = _STEPS[step[cells[-1]]]
    row, column = cells[-1]
    cells.append((row - rows, column - columns))
  return _Path(float(long_enough[end]), np.array(cells[::-1]))


def _totals(gain, gap):
  """Of the best path to each place: its sum, its last step, its places.

  A path is never worse than none: where it would be, a new one starts.
  """
  height, width = gain.shape
  # Two rows and columns of nothing before the first.
  total = np.zeros((height + 2, width + 2))
  missed = np.zeros(total.shape, int)
  places = np.zeros(total.shape, int)
  step = np.full(total.shape, _START)
  for row in range(2, height + 2):
    here = gain[row - 2]
    froms = [
      (row - rows, slice(2 - columns, width + 2 - columns))
      for rows, columns, _ in _STEPS
    ]
    before = np.stack(
      [total[x] - step[2] for x, step in zip(froms, _STEPS, strict=True)]
    )
    best = before.argmax(0)
    misses = np.choose(best, [missed[x] for x in froms])
    misses = np.where(here > 0, 0, misses + 1)
    sums = here + np.maximum(before.max(0), 0)
    alive = (sums > 0) & (misses <= gap)
    goes_on = alive & (before.max(0) > 0)
    total[row, 2:] = np.where(alive, sums, 0)
    missed[row, 2:] = np.where(alive, misses, 0)
    step[row, 2:] = np.where(goes_on, best, _START)
    count = np.choose(best, [places[x] for x in froms])
    places[row, 2:] = np.where(alive, np.where(goes_on, count, 0) + 1, 0)
  return total[2:, 2:], step[2:, 2:], places[2:, 2:]
