"""What a search gives, and where in two videos the same is seen."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.segments import find_segments
from deltax.retrieval.search.fine_search import Pair
from deltax.retrieval.search.scores import calibrate


class Where(NamedTuple):
  """A part of the query and the part of a video that it is found in.

  Attributes:
    query: start and end, seconds.
    target: start and end, seconds.
    score: 0 to 1, of these parts.
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
    score: 0 to 1; of a video against itself 1. Normalised: any number, above 0
      what is nearer than the background. Comparable with the scores of matches
      of the same `reranked` alone.
    coarse: the dot product of coarse vectors, -1 to 1.
    reranked: whether the fine student gave the score, or the coarse one.
    duration: of the video, seconds.
    where: parts that belong together, the most alike first; none unless
      re-ranked.
    row: of the index.
  """

  name: str
  path: str
  score: float
  coarse: float
  reranked: bool
  duration: float
  where: tuple[Where, ...]
  row: int


class Found(NamedTuple):
  """What a search gives.

  Attributes:
    matches: those re-ranked, best first, and behind them the others, best
      first.
    videos: how many were searched.
    pairs: how many the fine student compared with the query.
    milliseconds: of the 'coarse' search, the 'selector', the 'fine' student,
      and of finding 'where'.
  """

  matches: tuple[Match, ...]
  videos: int
  pairs: int
  milliseconds: Mapping[str, float]


def find_where(
  pair: Pair,
  own: Pair,
  typical: float,
  query: tuple[np.ndarray, float | None],
  target: tuple[np.ndarray, float | None],
) -> tuple[Where, ...]:
  """The parts of two videos that belong together, the most alike first.

  Args:
    pair: what the fine student found.
    own: of the query against itself.
    typical: similarity of parts that do not belong together. Trained
      comparators take them below 0 and others above; frames as they are have no
      such bound, and it is put halfway to the query's own score.
    query: seconds of each frame, float64 `[T]`, and the duration or None.
    target: the same.
  """
  compared = pair.stride > 1
  threshold = 0.0 if compared else (typical + own.score) / 2
  return tuple(
    Where(
      _seconds(found.query_start, found.query_end, *query),
      _seconds(found.target_start, found.target_end, *target),
      float(calibrate(found.score, own.score)),
      found.backward,
    )
    for found in find_segments(
      pair.map, threshold=threshold, stride=pair.stride
    )
  )


def _seconds(start, end, times, duration) -> tuple[float, float]:
  """From frames, the last one excluded, to seconds."""
  if end < len(times):
    last = times[end]
  else:
    last = times[-1] if duration is None else duration
  return float(times[min(start, len(times) - 1)]), float(last)
