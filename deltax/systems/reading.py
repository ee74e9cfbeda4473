"""Reads a video file into what a system indexes, or searches for."""

import io
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from deltax.data.images import views
from deltax.data.video.facts import read_length
from deltax.data.video.files import appended, read_chunks
from deltax.data.video.stream import VideoError
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.system import LONG, System, encode_parts

CHUNK = 64  # frames read at once
PICTURE, QUALITY = 96, 70  # pixels of the shorter side; of JPEG
VIEWED = 300  # frames of a query
VIEWS = 3  # of a query: as it is, its middle enlarged, all of it made smaller
EVERY, FEWEST = 5, 4  # frames for one picture that is kept; of them a video


class ReadVideo(NamedTuple):
  """A video file, read and put into regions.

  Attributes:
    regions: float32 `[T, R, D]`, of one frame a second.
    pictures: T small JPEG files.
    times: float64 `[T]`, seconds.
    duration: seconds.
    damaged: frames that are corrupt or lost, see `deltax.data.video.files`.
    resized: how often the size of the pictures changes.
    views: of a query, its regions as in other views, each `[T, R, D]`.
  """

  regions: np.ndarray
  pictures: list[bytes]
  times: np.ndarray
  duration: float
  damaged: int
  resized: int = 0
  views: tuple[np.ndarray, ...] = ()


class Encoded(NamedTuple):
  """A video as an index keeps it, and what was wrong with its file.

  Attributes:
    video: without a name, a path or what the file is.
    damaged: corrupt or lost frames.
    resized: how often the size of its pictures changes.
  """

  video: IndexedVideo
  damaged: int
  resized: int


def read_video(system: System, path: str | os.PathLike) -> ReadVideo:
  """Reads a video file, one frame a second, and extracts its regions.

  Frames are decoded and let go some at a time; regions and small pictures stay.

  Args:
    system: whose extractor makes the regions.
    path: of the file.

  Returns:
    What `deltax.retrieval.Searcher.search` and an index take.

  Raises:
    ValueError: it cannot be read.
    FileNotFoundError: it is not there.
  """
  return _joined(_chunks(system, path))


def read_parts(system: System, path: str | os.PathLike) -> Iterator[ReadVideo]:
  """The same, `LONG` frames at a time, for whoever needs no more at once.

  Times go on from one part to the next; the last part has the duration and the
  damage of the whole.

  Raises:
    ValueError, FileNotFoundError: see `read_video`.
  """
  chunks = _chunks(system, path)
  while part := list(itertools.islice(chunks, LONG // CHUNK)):
    yield _joined(part)


def read_query(
  system: System,
  path: str | os.PathLike,
  *,
  longest: float = math.inf,
  progress: Callable[[float], None] = lambda share: None,
) -> ReadVideo:
  """As `read_video`, with the other views that a search takes too.

  A video of more than `VIEWED` frames has none: its parts are seldom all cut
  out, and it would take long.

  Args:
    system: whose extractor makes the regions.
    path: of the file.
    longest: seconds; no more of a longer video is read.
    progress: called after every few frames with the share of the work that is
      done, 0 to 1, as far as the header of the file tells its length.

  Raises:
    ValueError: it cannot be read, or is longer.
    FileNotFoundError: it is not there.
  """
  frames, regions = [], []
  chunks = _chunks(system, path, frames)
  read = _joined(_counted(chunks, path, longest, progress))
  for view in views(np.concatenate(frames)) if frames else ():
    regions.append(np.asarray(system.extract(view), np.float32))
    progress((1 + len(regions)) / VIEWS)
  return read._replace(views=tuple(regions))


def _counted(
  chunks: Iterable[ReadVideo],
  path: str | os.PathLike,
  longest: float,
  progress: Callable[[float], None],
) -> Iterator[ReadVideo]:
  """The chunks of a query, while they are told and it is not too long."""
  length = None
  for chunk in chunks:
    if length is None:  # not before it is known to be a video
      length = read_length(path)
    if max(length, chunk.duration) > longest:
      raise VideoError(f'{path}: it is longer than {longest / 60:,.3g} minutes')
    if length:
      passes = 1 if length > VIEWED else VIEWS
      progress(min(chunk.duration / length, 1) / passes)
    yield chunk


def encode_video(
  system: System, fine: FineSearch, parts: Iterable[ReadVideo]
) -> Encoded:
  """What an index keeps of a video.

  A part is let go before the next one is read: of a recording of a day, only
  what is kept of it is in memory.

  Args:
    system: that encodes it.
    fine: the search of its fine student.
    parts: of the video, as `read_parts` gives them.
  """
  pictures, times, last = {}, [], None

  def regions():
    nonlocal last
    for last in parts:
      first = sum(map(len, times))
      for n, picture in enumerate(last.pictures, first):
        if may_be_pictured(n):
          pictures[n] = picture
      times.append(last.times)
      yield last.regions

  codes = encode_parts(system, regions())
  kept = pictured_frames(len(codes.fine)) if pictures else ()
  video = IndexedVideo(
    name='',
    path='',
    coarse=codes.coarse,
    fine=codes.fine,
    times=np.concatenate(times),
    selector=float(codes.selector),
    own=fine.with_itself(codes.fine).back,
    duration=last.duration,
    pictures={n: pictures[n] for n in kept},
    clips=codes.clips,
  )
  return Encoded(video, last.damaged, last.resized)


def _chunks(
  system: System,
  path: str | os.PathLike,
  frames: list[np.ndarray] | None = None,
) -> Iterator[ReadVideo]:
  """A video some frames at a time; a short one's frames are put into a list."""
  count = 0
  for video in read_chunks(pathlib.Path(path), CHUNK):
    count += len(video.frames)
    if frames is not None:
      frames.append(video.frames)
      if count > VIEWED:
        frames.clear()
    yield ReadVideo(
      np.asarray(system.extract(video.frames), np.float32),
      [small_picture(frame) for frame in video.frames],
      video.times,
      video.duration,
      video.damaged,
      video.resized,
    )


def _joined(chunks: Iterable[ReadVideo]) -> ReadVideo:
  regions, pictures, times, last = None, [], [], None
  for last in chunks:
    regions = appended(regions, last.regions)
    pictures += last.pictures
    times.append(last.times)
  return last._replace(
    regions=regions, pictures=pictures, times=np.concatenate(times)
  )


def small_picture(frame: np.ndarray) -> bytes:
  """A small JPEG file of a uint8 `[H, W, 3]` RGB frame."""
  height, width = frame.shape[:2]
  scale = PICTURE / min(height, width)
  size = max(1, round(scale * width)), max(1, round(scale * height))
  file = io.BytesIO()
  Image.fromarray(frame).resize(size, Image.Resampling.BOX).save(
    file, 'jpeg', quality=QUALITY
  )
  return file.getvalue()


def may_be_pictured(number: int) -> bool:
  """Whether a frame is one of `pictured_frames`, of some count."""
  return number <= FEWEST * EVERY or number % EVERY == 0


def pictured_frames(count: int) -> list[int]:
  """Numbers of the frames, of `count`, whose pictures are kept.

  Of many it is every fifth, whatever their number, so that the others can be
  let go before it is known.

  >>> pictured_frames(3), pictured_frames(12), pictured_frames(23)
  ([0, 1, 2], [0, 3, 6, 9], [0, 5, 10, 15, 20])
  """
  if count > FEWEST * EVERY:
    return list(range(0, count, EVERY))
  kept = min(count, FEWEST)
  return [n * count // kept for n in range(kept)]
