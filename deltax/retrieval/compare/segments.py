"""Where two videos match: runs along the diagonals of a map of them."""

import math
from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.paths import find_paths
from deltax.retrieval.networks.comparator import STRIDE

_COST = 0.05  # of a step of two rows or columns
_FEWEST = 2, 4  # places of a path; a thick diagonal has short ones in reverse
_MAD = 1.4826  # from a median deviation to a standard deviation
_NEVER = -1e3  # gain of a place that no path may use
_SMALLEST = 1e-6
_SMALL = 64  # places of a map that says half of what chance is in it
_CHANCE = 3.0  # standard deviations that a path by chance may gain,
_BY_SIZE = 1.0  # and more for every e times as many places


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
  several places. A path counts only if it gains more than the best one would in
  noise that varies as this map does.

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
  counts = np.ones(similarity.shape, bool) if mask is None else mask > 0
  if not counts.any():
    return ()
  raised, least = _above_chance(similarity[counts], threshold)
  # Below the threshold a place costs. Without that, the longest path would win
  # over the most similar one, and every path would go on to the border.
  paths = find_paths(
    np.where(counts, similarity - raised, _NEVER),
    gap=gap,
    cost=_COST,
    least=(least, least),
    fewest=(min(_FEWEST[0], *similarity.shape), _FEWEST[1]),
    most=most,
  )
  segments = []
  for path in paths:
    extents = path.rows, path.columns
    # Of n places, those that follow a longer step leave a row or column out.
    long_steps = sum(last - first for first, last in extents) - 2 * path.places
    score = raised + (path.total + _COST * long_steps) / path.places
    ends = (stride * x for extent in extents for x in extent)
    segments.append(Segment(*ends, score, path.backward))
  return tuple(segments)


def _above_chance(values: np.ndarray, threshold: float) -> tuple[float, float]:
  """The threshold, and what a path must gain, so that noise has no match."""
  middle = float(np.median(values))
  spread = _MAD * float(np.median(np.abs(values - middle)))
  # A map of few places is itself mostly match.
  share = values.size / (values.size + _SMALL)
  raised = threshold + share * max(0.0, middle + spread - threshold)
  least = share * spread * (_CHANCE + _BY_SIZE * math.log(values.size))
  return raised, max(least, _SMALLEST)
