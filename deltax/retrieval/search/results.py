"""What a search gives, and where in two videos the same is seen."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.segments import find_segments
from deltax.retrieval.search.fine_search import ComparedPair
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
    score: 0 to 1; of a video against itself 1, and 0.5 or more of few videos
      that hold no copy, see `Calibration`. Normalised: any number, above 0 what
      is nearer than the background.
    coarse: the highest dot product of coarse vectors, of the videos or of
      clips of them, -1 to 1.
    reranked: whether the fine student gave the score, or the coarse one.
    duration: of the video, seconds.
    where: parts that belong together, the most alike first; none unless
      re-ranked.
    row: of the index.
    state: 'missing' where there is no file any more, 'changed' where it is
      another; else ''.
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
  pair: ComparedPair,
  itself: ComparedPair,
  typical: float,
  query: tuple[np.ndarray, float | None],
  target: tuple[np.ndarray, float | None],
) -> tuple[Where, ...]:
  """The parts of two videos that belong together, the most alike first.

  Args:
    pair: the query and the video, as the fine student compared them.
    itself: the query compared with itself.
    typical: similarity of parts that do not belong together, -1 to 1; only read
      where the fine student has no comparator.
    query: seconds of each frame, float64 `[T]`, and the duration in seconds, or
      None for that of the last frame.
    target: the same of the video.
  """
  # A trained comparator puts parts that match above 0 and others below. Frames
  # as they are have no such bound: any two are somewhat alike. It is put
  # halfway between what is typical of them and the same frames again.
  comparator = pair.stride > 1
  threshold = 0.0 if comparator else (typical + itself.score) / 2
  segments = find_segments(pair.map, threshold=threshold, stride=pair.stride)
  return tuple(
    Where(
      _seconds(segment.query_start, segment.query_end, *query),
      _seconds(segment.target_start, segment.target_end, *target),
      float(calibrate(segment.score, itself.score)),
      segment.backward,
    )
    for segment in segments
  )


def _seconds(start, end, times, duration) -> tuple[float, float]:
  """From frames, the last one excluded, to seconds."""
  if end < len(times):
    last = times[end]
  else:
    last = times[-1] if duration is None else duration
  return float(times[min(start, len(times) - 1)]), float(last)
