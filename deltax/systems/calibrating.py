"""Puts the scores of a system on one scale, by videos that are known."""

import os
import pathlib
import tempfile

import numpy as np
import tqdm

from deltax.data.features.annotations import Copies
from deltax.retrieval.calibration import Calibration, fit_calibration
from deltax.retrieval.search.searcher import Budget, Searcher
from deltax.retrieval.system import System
from deltax.systems.indexing import index_features
from deltax.systems.reading import read_query, read_video

# Log-odds that are the fine scores themselves.
AS_THEY_ARE = Calibration((1.0, 0.0), (1.0, 0.0), 0.5, None)


def calibrate(
  system: System,
  folder: str | os.PathLike,
  annotation: Copies,
  *,
  false_alarms: float = 1.0,
  progress: bool = False,
) -> Calibration:
  """Fits the scale of a system's scores to searches of which all is known.

  The networks must not have been trained on these videos: of what they know by
  heart they are too sure.

  Args:
    system: the system.
    folder: of the videos, `NAME.mp4`.
    annotation: queries and what is relevant to them, by name; all other videos
      of its database count as no copies.
    false_alarms: of a thousand videos that hold no copy of a query, how many
      may have a score of 0.5 or more.
    progress: whether to draw bars.

  Returns:
    The scale.

  Raises:
    ValueError: the annotation names no database, there are no copies, or a
      video cannot be read.
    FileNotFoundError: a video is not there.
  """
  if not annotation.database:
    raise ValueError('the annotation names no videos to search in')
  path, system = pathlib.Path(folder), system._replace(calibration=AS_THEY_ARE)
  regions = {
    name: read_video(system, path / f'{name}.mp4').regions
    for name in tqdm.tqdm(
      sorted(annotation.database), 'videos', disable=not progress
    )
  }
  coarse, fine, copies = [], [], []
  with tempfile.TemporaryDirectory() as made:
    index = index_features(pathlib.Path(made) / 'index', regions, system)
    searcher = Searcher(index, system)
    for name, relevant in tqdm.tqdm(
      sorted(annotation.relevant.items()), 'queries', disable=not progress
    ):
      query = read_query(system, path / f'{name}.mp4')
      found = searcher.search(
        query.regions,
        views=query.views,
        k=len(index),
        budget=Budget(len(index)),
        locate=False,
      )
      others = [match for match in found.matches if match.name != name]
      coarse += [match.coarse for match in others]
      fine += [match.score for match in others]
      copies += [match.name in relevant for match in others]
  return fit_calibration(
    coarse, fine, np.array(copies, bool), false_alarms=false_alarms
  )
