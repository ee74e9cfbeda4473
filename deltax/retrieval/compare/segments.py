"""Where two videos match: runs along the diagonals of the comparator's map."""

from typing import NamedTuple

import numpy as np

from deltax.retrieval.networks.comparator import STRIDE

# A path goes on by one row and one column, or by two of either: half to double
# speed. What comes before, as (rows, columns) back, and what it costs.
_STEPS = ((1, 1, 0.0), (1, 2, 0.05), (2, 1, 0.05))
_START = -1  # in place of a number of `_STEPS`, where a path begins
_FEWEST = 2  # places of a path
_FEWEST_BACKWARD = 4  # a thick diagonal is crossed by short paths in reverse
_AROUND = 2  # places by which what is left out exceeds a match on each side
_NEVER = -1e3  # gain of a place that no path may use


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
  total: float  # sum of gains, less what its steps cost
  places: np.ndarray  # int [n, 2], rows and columns, from its start


def find_segments(
  similarity: np.ndarray,
  mask: np.ndarray | None = None,
  *,
  threshold: float = 0.0,
  gap: int = 3,
  most: int = 20,
  stride: int = STRIDE,
) -> tuple[Segment, ...]:
  """The stretches of two videos that match, the best first.

  A copy shows as a diagonal of high similarities. The best path along one, at
  half to double speed, forward or backward, is found by dynamic programming;
  each place on it gains its similarity less the threshold. Then the rectangle
  between the path's ends is left out and the next best path is sought. So no
  two matches overlap in both videos, but a stretch of the query may be found in
  several places.

  Args:
    similarity: float `[t, s]` in [-1, 1], of parts of the query (rows) and of
      the target: the comparator's output, limited, or similarities of frames.
    mask: `[t, s]`, 1 where it counts and 0 for padding; all of it when absent.
    threshold: similarity from which a place is rather a match than not.
    gap: places in a row below the threshold that a match may bridge.
    most: matches sought at most.
    stride: frames of a row or column, 4 behind a comparator and 1 without.

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
  # Below the threshold a place costs. Without that, the longest path would win
  # over the most similar one, and every path would go on to the border.
  gain = similarity - threshold
  if mask is not None:
    gain = np.where(np.asarray(mask) > 0, gain, _NEVER)
  fewest = min(_FEWEST, *gain.shape)  # of a video of one place, that one
  segments = []
  while len(segments) < most:
    forward = _best_path(gain, gap, fewest)
    # A target in reverse is a forward path once its columns are turned around.
    backward = _best_path(gain[:, ::-1], gap, _FEWEST_BACKWARD)
    reverse = backward.total > forward.total
    path = backward if reverse else forward
    if path.total <= 0:
      break
    rows, columns = path.places.T
    if reverse:
      columns = gain.shape[1] - 1 - columns
    extents = [(int(x.min()), int(x.max()) + 1) for x in (rows, columns)]
    ends = (stride * x for extent in extents for x in extent)
    score = float(similarity[rows, columns].mean())
    segments.append(Segment(*ends, score, bool(reverse)))
    # A match is a band rather than a line: with the path alone left out, the
    # next best would be the same match once more, one place beside it.
    around = (slice(max(0, x - _AROUND), y + _AROUND) for x, y in extents)
    gain[tuple(around)] = _NEVER
  return tuple(segments)


def _best_path(gain: np.ndarray, gap: int, fewest: int) -> _Path:
  """The path of at least `fewest` places with the largest sum of gains."""
  total, step, count = _totals(gain, gap)
  # Single places are high by chance, as where two scenes happen to be alike.
  long_enough = np.where(count >= fewest, total, 0.0)
  end = np.unravel_index(long_enough.argmax(), gain.shape)
  # From its end, the last steps lead back to where it began.
  places = [end]
  while step[places[-1]] != _START:
    rows, columns, _ = _STEPS[step[places[-1]]]
    row, column = places[-1]
    places.append((row - rows, column - columns))
  return _Path(float(long_enough[end]), np.array(places[::-1]))


def _totals(
  gain: np.ndarray, gap: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Of the best path that ends in each place: its sum, last step and length.

  A path is never worse than none: where its sum would be, a new one starts.

  Args:
    gain: `[t, s]`.
    gap: places in a row without a gain that a path may have.

  Returns:
    `[t, s]` sums, 0 where no path ends; numbers of `_STEPS`, or `_START`; and
    counts of places.
  """
  height, width = gain.shape
  # Two rows and columns of nothing come first, so that the longest step back
  # from the first place finds a sum of 0, which nothing continues.
  total = np.zeros((height + 2, width + 2))
  missed = np.zeros(total.shape, int)  # places without a gain, up to here
  count = np.zeros(total.shape, int)
  step = np.full(total.shape, _START)
  # By rows, each as a whole: no step stays in its row, so all of a row depends
  # on the two before it alone.
  for row in range(2, height + 2):
    here = gain[row - 2]
    sources = [
      (row - rows, slice(2 - columns, width + 2 - columns))
      for rows, columns, _ in _STEPS
    ]
    costs = [cost for _, _, cost in _STEPS]
    before = np.stack(
      [total[x] - cost for x, cost in zip(sources, costs, strict=True)]
    )
    best = before.argmax(0)
    misses = np.choose(best, [missed[x] for x in sources])
    misses = np.where(here > 0, 0, misses + 1)
    sums = here + np.maximum(before.max(0), 0)
    # A path ends where nothing is left of its sum, or the gap grows too long,
    # however much it has gained: two copies far apart are two matches.
    alive = (sums > 0) & (misses <= gap)
    goes_on = alive & (before.max(0) > 0)
    length = np.choose(best, [count[x] for x in sources])
    total[row, 2:] = np.where(alive, sums, 0)
    missed[row, 2:] = np.where(alive, misses, 0)
    step[row, 2:] = np.where(goes_on, best, _START)
    count[row, 2:] = np.where(alive, np.where(goes_on, length, 0) + 1, 0)
  return total[2:, 2:], step[2:, 2:], count[2:, 2:]
