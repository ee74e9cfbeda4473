"""Every frame of a video, and at the size that a network takes."""

import dataclasses
import math
import os
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from deltax.data.augment_boxes import MEAN_COLOUR
from deltax.data.video.files import read_chunks
from deltax.data.video.stream import VideoError, find_stream, open_video
from deltax.data.video.timing import announced, told_rate


class Header(NamedTuple):
  """What a video's header tells.

  Attributes:
    rate: frames per second, on average; 25 where that is unknown.
    count: frames, about; None where that is unknown.
  """

  rate: float
  count: int | None


def read_header(path: str | os.PathLike) -> Header:
  """The header of a video that `read_frames` reads.

  Raises:
    VideoError: it is no video.
  """
  import av

  try:
    with open_video(str(path)) as container:
      stream = find_stream(container, path)
      rate = told_rate(stream)
      count = stream.frames or rate * announced(container, stream)
      return Header(rate, round(count) if 0 < count < math.inf else None)
  except av.error.FFmpegError as error:
    raise VideoError(
      f'{path}: no readable video: {error.strerror or error}'
    ) from error


@dataclasses.dataclass
class Noted:
  """What is known of the frames of a video that were read so far.

  Attributes:
    times: seconds of each since the first, and those of the end behind all.
    damaged: frames that are corrupt or lost, see `files.Video`.
    resized: how often the size changed.
  """

  times: list[float] = dataclasses.field(default_factory=list)
  damaged: int = 0
  resized: int = 0


def read_frames(
  path: str | os.PathLike, noted: Noted | None = None
) -> Iterator[np.ndarray]:
  """All frames of a video, uint8 `[H, W, 3]` RGB, as shown and of one size.

  Args:
    path: of the file.
    noted: is filled while frames are taken.

  Raises:
    FileNotFoundError: there is no such file.
    VideoError: see `deltax.data.video.files.read_chunks`.
  """
  options = {'rate': math.inf, 'short_side': None, 'crop': None}
  noted = noted or Noted()
  for part in read_chunks(path, 1, **options):
    noted.times.append(float(part.times[0]))
    noted.damaged, noted.resized = part.damaged, part.resized
    yield part.frames[0]
  noted.times.append(part.duration)


def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Scales a frame: means of areas where it shrinks, bilinear where it grows.

  Args:
    frame: uint8 `[H', W', 3]`.
    size: (H, W).

  Returns:
    uint8 `[H, W, 3]`.
  """
  shrinks = size[0] < frame.shape[0] or size[1] < frame.shape[1]
  how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(frame, size[::-1], interpolation=how)


def fitted(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
  """The largest rows and columns of `shape`'s proportions within `size`.

  >>> fitted((10, 40), (20, 20))
  (5, 20)
  """
  scale = min(size[0] / shape[0], size[1] / shape[1])
  rows, columns = (max(1, round(scale * side)) for side in shape)
  return rows, columns


def fit(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Scales a frame in its proportions until it just fits into (H, W).

  Args:
    frame: uint8 `[H', W', 3]`.
    size: (H, W).

  Returns:
    uint8 `[H, W, 3]`: the picture in the upper left, `fitted` to the size, and
    around it the mean colour of ImageNet, as the detectors are trained.
  """
  rows, columns = fitted(frame.shape[:2], size)
  whole = np.empty((*size, 3), np.uint8)
  whole[:] = MEAN_COLOUR
  whole[:rows, :columns] = resize(frame, (rows, columns))
  return whole
