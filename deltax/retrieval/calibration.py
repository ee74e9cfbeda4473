"""What scores of both students mean: log-odds of a copy, and 0 to 1 to read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

THOUSAND = 1000
_STEPS = 100
_DECAY = 1.0  # of the slope, which else grows for ever where classes part
_NARROWEST = 1e-3  # between the threshold and the best odds
_ABOVE = 1e-5  # more than rounding
_HIGHEST = 0.99  # score that may be the threshold


class Calibration(NamedTuple):
  """Puts the scores of the coarse and of the fine student on one scale.

  Each score becomes the log-odds that the pair is a copy, by a line fitted to
  labelled pairs. Where the fine student has looked at a pair, its odds stand in
  place of the coarse ones. So a budget cannot make the order worse where the
  fine student is right: a copy that it raises and another video that it lowers
  change places with nothing in the wrong direction, and the odds of a pair that
  it did not look at stay low for want of evidence.

  Attributes:
    coarse: slope and offset of the line, of coarse scores from 0 to 1.
    fine: the same, of fine scores from 0 to 1 as `search.scores.calibrate`
      gives them.
    threshold: log-odds that are the score of 0.5.
    false_alarms: of a thousand videos that hold no copy of a query, how many
      are expected to have a score of 0.5 or more, whoever gave it; None if
      nobody has counted.
  """

  coarse: tuple[float, float]
  fine: tuple[float, float]
  threshold: float
  false_alarms: float | None

  def coarse_odds(self, scores: ArrayLike) -> np.ndarray:
    """Log-odds of coarse scores, at most those of a video and itself."""
    slope, offset = self.coarse
    odds = slope * np.clip(np.asarray(scores, float), 0, 1) + offset
    return np.minimum(odds, self._best)

  def fine_odds(self, scores: ArrayLike) -> np.ndarray:
    """Log-odds of fine scores."""
    slope, offset = self.fine
    return slope * np.clip(np.asarray(scores, float), 0, 1) + offset

  def readable(self, odds: ArrayLike) -> np.ndarray:
    """Scores from 0 to 1 in the order of the log-odds.

    The fine score of a video against itself gives 1, the threshold 0.5, and
    nothing in common 0; between these it is a straight line.
    """
    odds = np.asarray(odds, float)
    above = max(self._best - self.threshold, _NARROWEST)
    worst = min(self.coarse[1], self.fine[1])
    below = max(self.threshold - worst, _NARROWEST)
    beyond = odds - self.threshold
    width = np.where(beyond > 0, above, below)
    return np.clip(0.5 + beyond / (2 * width), 0, 1)

  @property
  def _best(self) -> float:
    return self.fine[0] + self.fine[1]


# Of networks of which nothing is known: a typical trained student's line, and
# all coarse scores below all fine ones, since they may be of any size.
UNCALIBRATED = Calibration((3.0, -9.5), (9.8, -6.3), 1.7, None)


def fit_calibration(
  coarse: ArrayLike,
  fine: ArrayLike,
  copies: ArrayLike,
  *,
  false_alarms: float = 1.0,
) -> Calibration:
  """Fits the scale of two students to labelled pairs.

  Args:
    coarse: `[N]`, coarse scores; below 0 counts as 0.
    fine: `[N]`, fine scores of the same pairs, 0 to 1.
    copies: bool `[N]`, which pairs are copies.
    false_alarms: of a thousand pairs that are none, how many may have a score
      of 0.5 or more.

  Returns:
    The scale.

  Raises:
    ValueError: arrays of other shapes, or no pairs of one kind.

  Example:
    >>> scale = fit_calibration(
    ...   [0.1, 0.2, 0.6, 0.4], [0.2, 0.3, 0.9, 0.8], [False, False, True, True]
    ... )
    >>> bool(scale.readable(scale.fine_odds(0.8)) > 0.5)
    True
  """
  coarse, fine = np.asarray(coarse, float), np.asarray(fine, float)
  copies = np.asarray(copies, bool)
  if not coarse.shape == fine.shape == copies.shape == (copies.size,):
    raise ValueError(
      f'scores {coarse.shape} and {fine.shape} of pairs {copies.shape}: '
      'expected [N] of each'
    )
  if copies.all() or not copies.any():
    raise ValueError('expected pairs that are copies, and others')
  coarse, fine = np.clip(coarse, 0, 1), np.clip(fine, 0, 1)
  by_coarse, by_fine = (_line(scores, copies) for scores in (coarse, fine))
  # Just above the highest score that is not allowed.
  allowed = 1 - min(false_alarms / THOUSAND, 1)
  least, coarse_least = (
    float(np.quantile(scores[~copies], allowed, method='higher')) + _ABOVE
    for scores in (fine, coarse)
  )
  least = min(least, _HIGHEST)  # a video and itself must stand above
  threshold = by_fine[0] * least + by_fine[1]
  # Where the coarse student is too sure of others, it has to step back.
  excess = by_coarse[0] * coarse_least + by_coarse[1] - threshold
  by_coarse = by_coarse[0], by_coarse[1] - max(excess, 0.0)
  return Calibration(by_coarse, by_fine, threshold, float(false_alarms))


def _line(scores: np.ndarray, copies: np.ndarray) -> tuple[float, float]:
  """Slope, not negative, and offset of the log-odds: logistic regression."""
  middle, width = scores.mean(), max(scores.std(), 1e-6)
  inputs = np.stack([(scores - middle) / width, np.ones_like(scores)], 1)
  decay = np.array([_DECAY, 0])
  weights = np.array([0.0, np.log(copies.mean() / (1 - copies.mean()))])

  def loss(weights):
    odds = inputs @ weights
    return (
      np.logaddexp(0, odds).sum()
      - odds[copies].sum()
      + (decay * weights**2).sum() / 2
    )

  for _ in range(_STEPS):
    chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -50, 50)))
    slope = inputs.T @ (chance - copies) + decay * weights
    curve = (inputs * (chance * (1 - chance))[:, None]).T @ inputs
    step = np.linalg.solve(curve + np.diag(decay + 1e-9), slope)
    share = 1.0
    # Newton's step overshoots where nearly all chances are 0 or 1.
    while share > 1e-6 and loss(weights - share * step) > loss(weights):
      share /= 2
    weights = weights - share * step
    if np.abs(share * step).max() < 1e-9:
      break
  slope = max(float(weights[0]), 0.0) / float(width)
  return slope, float(weights[1]) - slope * float(middle)
