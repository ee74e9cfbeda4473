"""Reads a video file into what a system indexes, or searches for."""

import io
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from deltax.data.images import views
from deltax.data.video.files import Video, appended, read_chunks
from deltax.retrieval.system import System

CHUNK = 64  # frames read at once
PICTURE, QUALITY = 96, 70  # pixels of the shorter side; of JPEG
VIEWED = 300  # frames of a query
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
  return _read(system, path, viewed=0)


def read_query(system: System, path: str | os.PathLike) -> ReadVideo:
  """As `read_video`, with the other views that a search takes too.

  A video of more than `VIEWED` frames has none: its parts are seldom all cut
  out, and it would take long.
  """
  return _read(system, path, viewed=VIEWED)


def _read(system: System, path: str | os.PathLike, *, viewed: int) -> ReadVideo:
  """A video, with other views if it has at most `viewed` frames."""
  regions, pictures, times, frames = None, [], [], []
  last: Video | None = None
  for last in read_chunks(pathlib.Path(path), CHUNK):
    extracted = np.asarray(system.extract(last.frames), np.float32)
    regions = appended(regions, extracted)
    pictures += map(small_picture, last.frames)
    times.append(last.times)
    frames.append(last.frames)
    if len(regions) > viewed:
      frames.clear()
  others = views(np.concatenate(frames)) if frames else ()
  return ReadVideo(
    regions,
    pictures,
    np.concatenate(times),
    last.duration,
    last.damaged,
    last.resized,
    tuple(np.asarray(system.extract(x), np.float32) for x in others),
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


def pictured_frames(count: int) -> list[int]:
  """Numbers of the frames, of `count`, whose pictures are kept.

  >>> pictured_frames(3), pictured_frames(12), pictured_frames(60)[:4]
  ([0, 1, 2], [0, 3, 6, 9], [0, 5, 10, 15])
  """
  kept = min(count, max(FEWEST, math.ceil(count / EVERY)))
  return [n * count // kept for n in range(kept)]
