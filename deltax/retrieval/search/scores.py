"""Scores that people can read, and that compare across queries."""

import numpy as np
from numpy.typing import ArrayLike

_NARROWEST = 0.1  # between the score of nothing in common and one's own


def calibrate(
  scores: ArrayLike,
  own: ArrayLike,
  back: ArrayLike | None = None,
  back_own: ArrayLike | None = None,
) -> np.ndarray:
  """Scores from 0, nothing in common, to 1, as much as with oneself.

  Linear between -1, which becomes 0, and the query's score against itself,
  which becomes 1, and cut off outside. A network that hardly recognises a video
  as itself (own scores near -1) would magnify small differences: a step of 0.1
  in the score is at most one of 1 in the result.

  Args:
    scores: `[...]` in [-1, 1], how much of the query is found in a target.
    own: `[...]`, of that shape or broadcast: the query against itself.
    back: `[...]`, how much of the target is found in the query. If it is given,
      the result is the mean of both directions.
    back_own: `[...]`, the target against itself.

  Returns:
    float64 `[...]` in [0, 1]: a video against itself gives 1.

  Raises:
    ValueError: if only one of `back` and `back_own` is given.

  Example:
    >>> calibrate([0.5, -0.25, -1.0], own=0.5).tolist()
    [1.0, 0.5, 0.0]
    >>> float(calibrate(0.5, own=0.5, back=-0.25, back_own=0.5))
    0.75
  """
  if (back is None) != (back_own is None):
    raise ValueError('both directions need `back` and `back_own`')
  scores, own = np.asarray(scores, float), np.asarray(own, float)
  width = np.maximum(1 + own, _NARROWEST)
  forward = np.clip(1 - (own - scores) / width, 0, 1)
  if back is None:
    return forward
  return (forward + calibrate(back, back_own)) / 2


def normalise(
  scores: ArrayLike,
  background: ArrayLike,
  *,
  top: int = 10,
  weight: float = 1.0,
) -> np.ndarray:
  """Scores less what the query scores against videos known not to match.

  A query that resembles everything (a black screen, a title) scores high
  against the background too, so that one threshold can serve all queries. For
  each query: `score - weight * (mean of its top highest background scores)`.

  Args:
    scores: `[Q, N]`.
    background: `[Q, K]`, the same queries against K videos that hold no copies.
    top: how many of the highest background scores count; all of fewer.
    weight: of what is subtracted.

  Returns:
    float64 `[Q, N]`. The order of one query's targets stays the same.

  Raises:
    ValueError: if the queries differ in number, or there is no background.

  Source: score normalisation of the descriptor baseline of Pizzi et al., "The
  2023 Video Similarity Dataset and Challenge", section 5.

  Example:
    >>> normalise([[3.0, 1.0]], [[0.0, 2.0, 1.0]], top=2).tolist()
    [[1.5, -0.5]]
  """
  scores, background = np.asarray(scores, float), np.asarray(background, float)
  if scores.ndim != 2 or background.ndim != 2 or len(scores) != len(background):
    raise ValueError(
      f'scores {scores.shape} and background {background.shape}: expected '
      '[Q, N] and [Q, K] of the same queries'
    )
  if not background.shape[1] or top < 1:
    raise ValueError(
      f'{background.shape[1]} background videos, top {top}: expected at least '
      '1 of each'
    )
  highest = np.sort(background, axis=1)[:, -top:]
  return scores - weight * highest.mean(1, keepdims=True)
