"""What the copies of a collection are told with: lists, JSON and a page.

Times are seconds from the start of a video, pictures JPEG files.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deltax.report.retrieval.search_contents import ShownSegment


class ListedVideo(NamedTuple):
  """A video of a collection.

  Attributes:
    name: of the video.
    path: where its file was.
    state: 'missing', 'changed' or ''.
    duration: seconds.
    bytes: of the file; 0 where it cannot be read, as the next three.
    width: pixels.
    height: pixels.
    bits_per_second: of the file.
    same_bytes: paths of other files of exactly the same bytes.
    praise: of 'longest', 'largest' and 'best', what it is among its group.
    pictures: by their times.
  """

  name: str
  path: str
  state: str
  duration: float
  bytes: int
  width: int
  height: int
  bits_per_second: int
  same_bytes: Sequence[str] = ()
  praise: Sequence[str] = ()
  pictures: Mapping[float, bytes] = {}


class ListedPair(NamedTuple):
  """Two videos that have something in common.

  Attributes:
    first: the one video; of a pair where one is contained, that one.
    second: the other.
    relation: 'same', 'contained' or 'part'.
    score: 0 to 1.
    shares: how much of the first is in the second, and the reverse.
    segments: parts that match, of the first (`query`) and the second.
  """

  first: ListedVideo
  second: ListedVideo
  relation: str
  score: float
  shares: tuple[float, float]
  segments: Sequence[ShownSegment]


class ListedCopies(NamedTuple):
  """The copies of a collection.

  Attributes:
    groups: videos that are the same.
    pairs: each once, those within the groups too.
    notes: sentences on how they were found.
  """

  groups: Sequence[Sequence[ListedVideo]]
  pairs: Sequence[ListedPair]
  notes: Sequence[str]
