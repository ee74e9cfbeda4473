"""Scores as people read them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deltax.retrieval.calibration import Calibration
from deltax.retrieval.search import scores
from deltax.retrieval.search.fine_search import ComparedPair


class Scale(NamedTuple):
  """How the scores of one query are made readable, all on one scale.

  Attributes:
    calibration: of the system.
    itself: the query compared with itself.
    symmetric: whether both directions count.
    background: the query's coarse scores with the background, `[K]`, and fine
      ones with the nearest of it, `[L]`, on this scale; None leaves them out.
  """

  calibration: Calibration
  itself: ComparedPair
  symmetric: bool
  background: tuple[np.ndarray, np.ndarray] | None = None

  def coarse(self, dots: np.ndarray) -> np.ndarray:
    """Of dot products of coarse vectors, `[N]`."""
    scale = self.calibration
    return self._normalised(scale.readable(scale.coarse_odds(dots)), 0)

  def fine(
    self, pairs: Sequence[ComparedPair], itself: np.ndarray
  ) -> np.ndarray:
    """Of pairs with N videos, whose scores against themselves are `[N]`."""
    back = [pair.back for pair in pairs], itself
    marks = scores.calibrate(
      [pair.score for pair in pairs],
      self.itself.score,
      *(back if self.symmetric else ()),
    )
    scale = self.calibration
    return self._normalised(scale.readable(scale.fine_odds(marks)), 1)

  def _normalised(self, marks: np.ndarray, kind: int) -> np.ndarray:
    if self.background is None:
      return marks
    return scores.normalise(marks[None], self.background[kind][None])[0]
