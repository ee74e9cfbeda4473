"""Which pairs the fine student looks at, and what that is worth.

Two rules: the published evaluation re-ranks a share of all pairs and puts the
scores of both students into one list as they are; a search re-ranks a budget of
pairs, within the best of the coarse student, and has all scores calibrated.
Where two score the same, the one that comes first is taken.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltax.metrics.protocols import evaluate

SHARES = tuple(step / 20 for step in range(21))


def to_unit(fine: np.ndarray) -> np.ndarray:
  """Scores of the fine student, -1 to 1, on the coarse student's scale.

  >>> to_unit(np.array([-1.0, 0.5]))
  array([0.  , 0.75])
  """
  return np.asarray(fine) / 2 + 0.5


def by_percentage(
  coarse: np.ndarray, selector: np.ndarray, fine: np.ndarray, share: float
) -> np.ndarray:
  """The published rule: the selector's first pairs have their fine score.

  The scores of both students stand in one list, as in the published evaluation.
  That is fair to a coarse student trained on the fine one's scores; a search,
  which may have another, has a `Calibration`.

  >>> by_percentage([0.1, 0.2, 0.3], [0.5, 0.9, 0.7], [0.8, 0.8, 0.8], 0.4)
  array([0.1, 0.8, 0.3])

  Args:
    coarse: float `[N]`; NaN for a video that is missing, which is no pair.
    selector: float `[N]`, the higher the more a pair needs the fine student.
    fine: float `[N]` on the scale of `coarse`, see `to_unit`.
    share: 0 to 1, of the pairs; a part of a pair is none.

  Returns:
    float `[N]`.

  Raises:
    ValueError: lengths differ, `share` is no share, or a pair that should have
      a fine score has none.

  Source: Kordopatis-Zilos et al., IJCV 2022, section 3.1, and its evaluation.
  """
  if not 0 <= share <= 1:
    raise ValueError(f'a share of {share} is not within 0 and 1')
  coarse, fine = np.asarray(coarse), np.asarray(fine)
  _same_length(coarse, selector=selector, fine=fine)
  pairs = np.flatnonzero(~np.isnan(coarse))
  chosen = pairs[_first(np.asarray(selector)[pairs], int(share * len(pairs)))]
  if np.isnan(fine[chosen]).any():
    place = chosen[np.isnan(fine[chosen])][0]
    raise ValueError(f'pair {place} is to be re-ranked and has no fine score')
  mixed = coarse.copy()
  mixed[chosen] = fine[chosen]
  return mixed


def by_budget(
  coarse: np.ndarray,
  selector: np.ndarray | None,
  top_k: int,
  *,
  pairs: int,
) -> np.ndarray:
  """The pairs that a search looks at again.

  >>> by_budget([0.9, 0.1, 0.8, 0.7], [0.2, 0.9, 0.3, 0.4], 3, pairs=2)
  array([3, 2])

  Args:
    coarse: float `[N]`; NaN is never looked at.
    selector: float `[N]`, the higher the more a pair needs the fine student;
      None: the best of the coarse student. Only read at its `top_k` best.
    top_k: how many of the coarse student's best may be looked at.
    pairs: how many at most are, see `pairs_within` for a budget of time.

  Returns:
    int `[K]`, places in the order of their need, K <= min(N, top_k, pairs).

  Raises:
    ValueError: lengths differ, or a count is negative.
  """
  coarse = np.asarray(coarse)
  if min(top_k, pairs) < 0:
    raise ValueError(f'top_k={top_k} and pairs={pairs} must not be negative')
  # A selector says where a coarse score is wrong, not where a copy is likely:
  # it is asked among the best coarse scores alone, where a copy may be.
  best = _first(coarse, top_k)
  if selector is None:
    return best[:pairs]
  _same_length(coarse, selector=selector)
  return best[_first(np.asarray(selector)[best], pairs)]


def pairs_within(milliseconds: float, ms_per_pair: float) -> int:
  """How many pairs fit into a time, at a measured time for one.

  Raises:
    ValueError: a time is negative, or a pair takes none.
  """
  if milliseconds < 0 or not ms_per_pair > 0:
    raise ValueError(
      f'{milliseconds} ms at {ms_per_pair} ms a pair: expected a time that is '
      'not negative, and a positive one for a pair'
    )
  return math.floor(milliseconds / ms_per_pair)


def trade_off(
  annotation: Any,
  coarse: np.ndarray,
  selector: np.ndarray,
  fine: np.ndarray,
  *,
  queries: Sequence[str],
  targets: Sequence[str],
  seconds: Mapping[str, float],
  bytes_per_video: float,
  shares: Sequence[float] = SHARES,
  **options: Any,
) -> list[dict[str, Any]]:
  """Scores, time and storage for each share of pairs that is re-ranked.

  By the published rule, `by_percentage`: of a coarse student that was not
  trained on the fine one's scores it says less than of a trained one.

  Args:
    annotation: one of `deltax.data.features.annotations`.
    coarse: float `[Q, N]`; NaN for a video that is missing.
    selector: float `[Q, N]`, the higher the more a pair needs the fine student.
    fine: float `[Q, N]`, -1 to 1.
    queries: Q names.
    targets: N names.
    seconds: a query's, of the 'coarse' student and of the 'selector' with all
      videos, and of the 'fine' student with all videos.
    bytes_per_video: stored for all of them.
    shares: 0 to 1.
    **options: of `deltax.metrics.protocols.evaluate`.

  Returns:
    For each share 'share', 'pairs' (the mean of a query), 'scores' by name,
    'seconds' a query (everything but the fine student in full, as published)
    and 'bytes' a video.

  Raises:
    ValueError: shapes or names do not fit.
  """
  expected = (len(queries), len(targets))
  arrays = {'coarse': coarse, 'selector': selector, 'fine': fine}
  for name, array in arrays.items():
    if np.shape(array) != expected:
      raise ValueError(
        f'{name} of shape {np.shape(array)}: expected {expected}, queries by '
        'targets'
      )
  known = (~np.isnan(coarse)).sum(1)
  fine = to_unit(fine)
  rows = []
  for share in shares:
    mixed = {
      query: by_percentage(c, s, f, share)
      for query, c, s, f in zip(queries, coarse, selector, fine, strict=True)
    }
    outcome = evaluate(annotation, mixed, targets=targets, **options)
    rows.append(
      {
        'share': share,
        'pairs': float((share * known).astype(int).mean()),
        'scores': outcome['scores'],
        'seconds': seconds['coarse']
        + seconds['selector']
        + share * seconds['fine'],
        'bytes': bytes_per_video,
      }
    )
  return rows


def _first(scores: np.ndarray, count: int) -> np.ndarray:
  """Places of the highest scores, best first; of equal ones the first. No NaN.

  It sorts no more than it gives: a million scores take some milliseconds.
  """
  # All that ties with the last place may or may not be among the first: what
  # lies above it is, and the rest is filled up in the order of the places.
  known = np.flatnonzero(~np.isnan(scores))
  count = min(count, len(known))
  if not count:
    return known[:0]
  scores = scores[known]
  least = np.partition(scores, len(scores) - count)[len(scores) - count]
  above = np.flatnonzero(scores > least)
  equal = np.flatnonzero(scores == least)[: count - len(above)]
  places = np.concatenate([above, equal])
  return known[places[np.argsort(-scores[places], kind='stable')]]


def _same_length(coarse: np.ndarray, **others: np.ndarray) -> None:
  for name, array in others.items():
    if np.shape(array) != coarse.shape or coarse.ndim != 1:
      raise ValueError(
        f'{name} of shape {np.shape(array)} for coarse scores of shape '
        f'{coarse.shape}: expected [N] and [N]'
      )
