"""What a video file is made of, without decoding it."""

import contextlib
import os
from typing import NamedTuple

from deltax.data.video.stream import VideoError, find_stream, open_video
from deltax.data.video.timing import announced


class Facts(NamedTuple):
  """Of a video file.

  Attributes:
    bytes: of the file.
    width: pixels of a picture, as they are stored.
    height: the same.
    bits_per_second: of the whole file; 0 where its length is not told.
    codec: FFmpeg's name of it.
  """

  bytes: int
  width: int
  height: int
  bits_per_second: int
  codec: str


def read_facts(path: str | os.PathLike) -> Facts:
  """Reads the header of a video.

  Raises:
    FileNotFoundError: there is no such file.
    VideoError: it is no video that can be read.
  """
  size = os.stat(path).st_size
  with _opened(path) as (container, stream):
    context = stream.codec_context
    return Facts(
      size,
      context.width,
      context.height,
      int(container.bit_rate or 0),
      context.name,
    )


def read_length(path: str | os.PathLike) -> float:
  """Seconds of a video as its header tells them; 0 where it tells none.

  Raises:
    FileNotFoundError, VideoError: see `read_facts`.
  """
  with _opened(path) as opened:
    return announced(*opened)


@contextlib.contextmanager
def _opened(path: str | os.PathLike):
  """The container and the video stream of a file."""
  import av

  try:
    with open_video(os.fspath(path)) as container:
      yield container, find_stream(container, path)
  except av.error.FFmpegError as error:
    reason = getattr(error, 'strerror', None) or error
    raise VideoError(f'{path}: no readable video: {reason}') from error
