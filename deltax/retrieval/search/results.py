"""What a search gives, and where in two videos the same is seen."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.locate import Frames, locate


class Where(NamedTuple):
  """A part of the query and the part of a video that it is found in.

  Attributes:
    query: start and end, seconds.
    target: start and end, seconds.
    score: 0, as alike as any two frames of the two videos, to 1, the same.
    backward: whether the video shows it in reverse.
  """

  query: tuple[float, float]
  target: tuple[float, float]
  score: float
  backward: bool = False


class Match(NamedTuple):
  """A video that was found.

  Attributes:
    name: of the video.
    path: where its file was.
    score: 0 to 1; of a video against itself 1, and 0.5 or more of few videos
      that hold no copy, see `Calibration`. Normalised: any number, above 0 what
      is nearer than the background.
    coarse: the highest dot product of coarse vectors, of the videos or of
      clips of them, -1 to 1.
    reranked: whether the fine student gave the score, or the coarse one.
    duration: of the video, seconds.
    where: parts that show the same, the surest first; none where nothing
      exceeds chance, or without re-ranking.
    row: of the index.
    state: 'missing' where there is no file any more, 'changed' where it is
      another; else '', and where nobody looked.
  """

  name: str
  path: str
  score: float
  coarse: float
  reranked: bool
  duration: float
  where: tuple[Where, ...]
  row: int
  state: str = ''


class SearchResult(NamedTuple):
  """What a search gives.

  Attributes:
    matches: best first.
    videos: how many were searched.
    pairs: how many the fine student compared with the query.
    milliseconds: of the 'coarse' search, the 'selector', the 'fine' student,
      and of finding 'where'.
    best: the highest score of all, also if it is too low for a match; None
      where no video was searched.
    false_alarms: of a thousand videos without a copy of the query, how many are
      expected to have a score of 0.5 or more; None where that is not known.
  """

  matches: tuple[Match, ...]
  videos: int
  pairs: int
  milliseconds: Mapping[str, float]
  best: float | None = None
  false_alarms: float | None = None


def find_where(
  query: Frames, target: Frames, views: Sequence[np.ndarray] = ()
) -> tuple[Where, ...]:
  """The parts of two videos that show the same, the surest first.

  Args:
    query: the one video; `views` are codes of it, see `locate`.
    target: the other.
  """
  return tuple(
    Where(part.query, part.target, part.score, part.backward)
    for part in locate(query, target, views=views)
  )
