"""Scores of ranked lists: average precision and recall, from ranks alone.

A list is ranked by descending score. Equal scores rank by their place, as a
stable sort leaves them; only `tied_average_precision` takes them together.
"""

from collections.abc import Sequence

import numpy as np

from deltax.types import Array


class Ranking:
  """The scores of one list, sorted once.

  >>> ranking = Ranking([0.1, 0.9, np.nan, 0.5, 0.9])
  >>> len(ranking), ranking.ranks([0, 2, 4])
  (4, array([1, 3]))
  """

  def __init__(self, scores: Array):
    """Takes scores `[N]`, the higher the better; NaN is not in the list."""
    self._scores = _floats(scores)
    ordered = np.sort(self._scores)  # NaN at the end
    self._ordered = ordered[: np.count_nonzero(~np.isnan(ordered))]

  def __len__(self) -> int:
    """How many are in the list."""
    return len(self._ordered)

  def ranks(self, places: Sequence[int] | Array) -> np.ndarray:
    """Ranks of some places, 0 the best, ascending; int64 `[P]` or fewer.

    Places that are not in the list have no rank.
    """
    places, own = self._own(places)
    found, equal = self.above(own)
    tied = equal > 1
    if tied.any():
      found[tied] += _equal_before(self._scores, places[tied])
    return np.sort(found)

  def above(self, scores: Array) -> tuple[np.ndarray, np.ndarray]:
    """How many of the list are greater than each score, and how many equal."""
    left = np.searchsorted(self._ordered, scores, 'left')
    right = np.searchsorted(self._ordered, scores, 'right')
    return len(self) - right, right - left

  def at(self, ranks: Array) -> np.ndarray:
    """The scores that have these ranks."""
    return self._ordered[len(self) - 1 - ranks]

  def reached(self, places: Sequence[int] | Array) -> np.ndarray:
    """How many of the list score at least as much as each place; `[P]`."""
    return sum(self.above(self._own(places)[1]))

  def _own(self, places):
    """Places that are in the list, and their scores."""
    places = np.asarray(places, np.int64)
    own = self._scores[places]
    here = ~np.isnan(own)
    return places[here], own[here]


def pooled(
  rankings: Sequence[Ranking], places: Sequence[Sequence[int]]
) -> np.ndarray:
  """Ranks when all lists are put together to one, for micro-averages.

  >>> a, b = Ranking([0.9, 0.1, 0.5]), Ranking([0.7, 0.1])
  >>> pooled([a, b], [[1], [0, 1]])  # equal scores rank by list, then by place
  array([1, 3, 4])

  Args:
    rankings: the lists.
    places: for each list, those whose ranks are asked for.

  Returns:
    int64, ascending, of all that are in a list.
  """
  own = [r.ranks(p) for r, p in zip(rankings, places, strict=True)]
  scores = [r.at(ranks) for r, ranks in zip(rankings, own, strict=True)]
  lists = np.repeat(np.arange(len(own)), [len(ranks) for ranks in own])
  ranks, scores = np.concatenate(own), np.concatenate(scores)
  for number, ranking in enumerate(rankings):
    greater, equal = ranking.above(scores)
    earlier = np.where(number < lists, equal, 0)
    ranks += np.where(lists == number, 0, greater + earlier)
  return np.sort(ranks)


def _floats(scores: Array) -> np.ndarray:
  scores = np.asarray(scores)
  if scores.ndim != 1:
    raise ValueError(f'scores of shape {scores.shape}: expected [N]')
  exact = scores.dtype in (np.float32, np.float64)
  return scores if exact else scores.astype(np.float64)


def _equal_before(scores: np.ndarray, places: np.ndarray) -> np.ndarray:
  """For each place, at how many earlier ones the score is the same."""
  values, group = np.unique(scores[places], return_inverse=True)
  at = np.minimum(np.searchsorted(values, scores), len(values) - 1)
  members = np.flatnonzero(values[at] == scores)
  keys = np.sort(at[members] * len(scores) + members)  # by value, then place
  first = group * len(scores)
  return np.searchsorted(keys, first + places) - np.searchsorted(keys, first)


def average_precision(ranks: Array, relevant: int) -> float:
  """The mean precision at the ranks of all that is relevant.

  >>> average_precision([0, 3], relevant=4)  # (1/1 + 2/4 + 0 + 0) / 4
  0.375

  Args:
    ranks: of what is relevant and was found, 0 the best, ascending.
    relevant: how many are relevant, found or not.

  Returns:
    0 to 1; NaN if nothing is relevant.
  """
  if not relevant:
    return np.nan
  ranks = np.asarray(ranks, np.int64)
  return float(_precision(ranks).sum() / relevant)


def trapezoid_precision(ranks: Array, relevant: int) -> float:
  """Average precision with trapezoids under the curve, as EVVE defines it.

  Before each hit the precision is what it was without it; 1 at the first rank.

  >>> trapezoid_precision([0, 3], relevant=2)  # (1 + 1)/4 + (1/3 + 2/4)/4
  0.7083333333333333

  Args:
    ranks: of what is relevant and was found, 0 the best, ascending.
    relevant: how many are relevant, found or not.

  Returns:
    0 to 1; 0 if nothing is relevant.
  """
  if not relevant:
    return 0.0
  ranks = np.asarray(ranks, np.int64)
  before = np.where(ranks == 0, 1, np.arange(len(ranks)) / np.maximum(ranks, 1))
  return float((before + _precision(ranks)).sum() / 2 / relevant)


def _precision(ranks: np.ndarray) -> np.ndarray:
  return np.arange(1, len(ranks) + 1) / (ranks + 1)


def tied_average_precision(
  scores: Array, places: Sequence[int] | Array, relevant: int
) -> float:
  """Average precision by threshold: equal scores are retrieved together.

  SVD's, which is scikit-learn's.

  >>> tied_average_precision([0.9, 0.5, 0.5], [1], relevant=1)
  0.3333333333333333

  Args:
    scores: `[N]`; NaN is never retrieved.
    places: of what is relevant and in the list.
    relevant: how many are relevant, in the list or not.

  Returns:
    0 to 1; NaN if nothing is relevant.
  """
  if not relevant:
    return np.nan
  every, hits = Ranking(scores), Ranking(np.asarray(scores)[list(places)])
  right = hits.reached(range(len(places)))
  return float((right / every.reached(places)).sum() / relevant)


def recall(ranks: Array, relevant: int, k: int) -> float:
  """The share of what is relevant among the first k, of k at most.

  >>> recall([0, 3, 10], relevant=3, k=10), recall([0, 3, 10], 3, k=1)
  (0.6666666666666666, 1.0)

  Args:
    ranks: of what is relevant and was found, 0 the best.
    relevant: how many are relevant, found or not. Where they are more than k,
      k of them are all that can be asked for.
    k: at least 1.

  Returns:
    0 to 1; NaN if nothing is relevant.
  """
  if not relevant:
    return np.nan
  return float((np.asarray(ranks) < k).sum() / min(relevant, k))
