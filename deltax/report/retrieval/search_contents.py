"""What the page of a search is made of.

Times are seconds from the start of a video, pictures JPEG files. Scores are 0
to 1.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Stretch = tuple[float, float]  # start and end


class ShownQuery(NamedTuple):
  """The video that was searched for.

  Attributes:
    name: of its file.
    duration: of the video.
    pictures: by their times.
  """

  name: str
  duration: float
  pictures: Mapping[float, bytes]


class ShownSegment(NamedTuple):
  """A stretch of the query that matches one of a video.

  Attributes:
    query: the stretch of the query.
    target: the stretch of the video.
    score: of these stretches.
    backward: whether the video runs in reverse there.
  """

  query: Stretch
  target: Stretch
  score: float
  backward: bool


def same_moment(segment: ShownSegment, second: float) -> float:
  """When the query shows what the video shows at a moment of a segment.

  >>> same_moment(ShownSegment((0.0, 4.0), (10.0, 12.0), 1.0, True), 11.5)
  1.0
  """
  a, b = segment.query[::-1] if segment.backward else segment.query
  c, d = segment.target
  return a + (second - c) * (b - a) / max(d - c, 1e-9)


class SideBySide(NamedTuple):
  """Two pictures to be seen together.

  Attributes:
    query: time and picture of the query.
    target: time and picture of the video.
    segment: place of the segment that both are from; None for none.
  """

  query: tuple[float, bytes]
  target: tuple[float, bytes]
  segment: int | None


class ShownMatch(NamedTuple):
  """A video that is like the query.

  Attributes:
    name: of its file.
    path: of its file.
    score: that it is ranked by; a little beyond 0 and 1 if it is normalised.
    coarse: score by coarse vectors.
    reranked: whether it was compared frame by frame.
    duration: of the video.
    segments: what matches; empty where that is not known.
    pairs: pictures.
  """

  name: str
  path: str
  score: float
  coarse: float
  reranked: bool
  duration: float
  segments: Sequence[ShownSegment]
  pairs: Sequence[SideBySide]
