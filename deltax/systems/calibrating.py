"""Puts the scores of a system on one scale, by videos that are known."""

from collections.abc import Mapping

import numpy as np

from deltax.data.features.annotations import Copies
from deltax.retrieval.calibration import Calibration, fit_calibration
from deltax.retrieval.search import scores as search_scores
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.system import System, encode, encode_fine, vectors_of
from deltax.systems.scoring import score_all


def calibrate(
  system: System,
  features: Mapping[str, np.ndarray],
  annotation: Copies,
  *,
  false_alarms: float = 1.0,
  progress: bool = False,
) -> Calibration:
  """Fits the scale of a system's scores to the queries of an annotation.

  The networks must not have been trained on these videos: of what they know by
  heart they are too sure.

  Args:
    system: its networks.
    features: regions float32 `[T, R, D]` by name.
    annotation: queries and what is relevant to them; all other videos of the
      database count as no copies.
    false_alarms: of a thousand videos that hold no copy of a query, how many
      may have a score of 0.5 or more.
    progress: whether to draw bars.

  Returns:
    The scale.

  Raises:
    ValueError: no query has features, or there are no copies.
  """
  asked = sorted(name for name in annotation.relevant if name in features)
  database = sorted(
    name
    for name in annotation.database or getattr(features, 'names', features)
    if name in features
  )
  if not asked or not database:
    raise ValueError('no query of the annotation, or no video, has features')
  scored = score_all(system, features, asked, database, progress=progress)
  vectors = {
    name: vectors_of(encode(system, features[name]))
    for name in {*asked, *database}
  }
  coarse = np.array(
    [[(vectors[a] @ vectors[b].T).max() for b in database] for a in asked]
  )
  fine = FineSearch(system.fine)
  itself = [
    fine.with_itself(encode_fine(system.fine, features[name])).score
    for name in asked
  ]
  readable = search_scores.calibrate(scored.fine, np.array(itself)[:, None])
  copies, pairs = (
    np.array([[test(a, b) for b in database] for a in asked])
    for test in (
      lambda a, b: b in annotation.relevant[a],
      lambda a, b: b != a,
    )
  )
  return fit_calibration(
    coarse[pairs],
    readable[pairs],
    copies[pairs],
    false_alarms=false_alarms,
  )
