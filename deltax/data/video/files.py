"""Reads and writes video files.

Which frames are kept, and how they are cropped, follows the published features.
Source: Kordopatis-Zilos et al., ViSiL, ICCV 2019; Distill-and-Select, IJCV
2022, and their released code.
"""

import fractions
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from deltax import files
from deltax.data.video.shown import as_shown, within
from deltax.data.video.stream import (
  MOST_PIXELS,
  VideoError,
  decode,
  find_stream,
  open_video,
)
from deltax.data.video.timing import Clock, Sampler, Stamps, announced

_BT601, _LIMITED = 6, 1  # numbers of FFmpeg for a matrix and a range
_CUT_SECONDS, _CUT_SHARE = 0.5, 0.05  # missing at the end: the file is cut off


class Video(NamedTuple):
  """Frames of a video, in order.

  Attributes:
    frames: uint8 `[T, H, W, 3]` RGB.
    times: float64 `[T]`, seconds since the video's first frame.
    duration: seconds from the first frame to the end of the last one decoded.
    damaged: decoded frames that the decoder calls corrupt, kept or not, and
      those that are lost: data that gave no frame, and about as many as a hole
      in the file had.
    resized: how often the size of the pictures changes.
  """

  frames: np.ndarray
  times: np.ndarray
  duration: float
  damaged: int
  resized: int = 0


def read_video(
  path: str | os.PathLike,
  *,
  rate: float = 1.0,
  short_side: int | None = 256,
  crop: int | None = 224,
) -> Video:
  """A whole video; see `read_chunks`."""
  options = {'rate': rate, 'short_side': short_side, 'crop': crop}
  parts = list(read_chunks(path, 64, **options))
  return Video(
    np.concatenate([part.frames for part in parts]),
    np.concatenate([part.times for part in parts]),
    *parts[-1][2:],
  )


def read_chunks(
  path: str | os.PathLike,
  size: int,
  *,
  rate: float = 1.0,
  short_side: int | None = 256,
  crop: int | None = 224,
) -> Iterator[Video]:
  """A video by parts, so that an hour needs no more memory than a minute.

  Frame number c is kept if c mod round(fps / rate) is 0, where an average frame
  rate of the file that is unknown or above 144 counts as 25; with a variable
  frame rate, the first frame of each 1 / rate seconds. Kept frames are shown as
  a player does, see `as_shown`, scaled (bicubic) so that their shorter side has
  `short_side` pixels, and their middle `crop x crop` pixels are taken. All have
  the size of the first: where the size of a video changes, those that then
  differ are put on black, in their proportions.

  Args:
    path: a file of any container and codec that FFmpeg knows.
    size: frames in a part; the last part may have fewer.
    rate: frames to keep of a second.
    short_side: pixels; None keeps the size.
    crop: pixels; None keeps all. A smaller picture is not padded.

  Yields:
    Parts of at least one frame. 'duration' and 'damaged' are those up to there,
    so that the last part has the video's.

  Raises:
    FileNotFoundError: there is no such file.
    VideoError: no video, none of its frames can be decoded, or it ends more
      than half a second and 5% before the end that its header announces; the
      last is known, and raised, at the end.
    ValueError: a size or rate that is not positive.
  """
  import av

  sides = [side for side in (size, short_side, crop) if side is not None]
  if rate <= 0 or min(sides) < 1:
    raise ValueError(
      f'expected a positive size, rate, short_side and crop, got {size}, '
      f'{rate}, {short_side}, {crop}'
    )
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file')
  if not path.stat().st_size:
    raise VideoError(f'{path}: the file is empty')
  try:
    with open_video(str(path)) as container:
      stream = find_stream(container, path)
      stream.thread_type = 'AUTO'
      clock, keep = Clock(container, stream), Sampler(stream, rate)
      damaged, resized = 0, -1
      first = end = size_before = shape = None
      pictures, times = [], []
      # All frames are decoded, as they refer to each other, but only those kept
      # are converted to RGB and scaled.
      for frame in decode(container, stream):
        if frame is None:
          clock.lost()
          damaged += 1
          continue
        damaged += frame.is_corrupt
        time, length = clock(frame)
        first = time if first is None else first
        end = time + length
        resized += (frame.height, frame.width) != size_before
        size_before = frame.height, frame.width
        if keep(time - first):
          # A full part waits for the next kept frame, so that the last part is
          # never empty and has the duration up to the end.
          if len(pictures) == size:
            yield _part(pictures, times, time - first, damaged, resized)
            pictures, times = [], []
          upright = as_shown(frame, stream, path)
          _check_sides(upright, short_side, path)
          picture = _crop(_scale(upright, short_side), crop)
          shape = shape or picture.shape
          pictures.append(within(picture, shape))
          times.append(time - first)
      if end is None:
        raise VideoError(f'{path}: not one frame can be decoded')
      seconds = announced(container, stream)
      missing = seconds - max(end, end - first)  # it may be counted from either
      if missing > max(_CUT_SECONDS, _CUT_SHARE * seconds):
        raise VideoError(
          f'{path}: the file is cut off: it ends after {end:.1f} of '
          f'{seconds:.1f} seconds'
        )
      yield _part(pictures, times, end - first, damaged, resized)
  except (av.error.FFmpegError, cv2.error) as error:
    reason = getattr(error, 'strerror', None) or error
    raise VideoError(f'{path}: no readable video: {reason}') from error


def appended(whole: np.ndarray | None, part: np.ndarray) -> np.ndarray:
  """An array with a part behind it; hours of them are never there twice.

  Args:
    whole: what this function gave before, used up by it; None at the start.
    part: of the same shape, but for its length.

  >>> appended(appended(None, np.ones((2, 1))), np.zeros((1, 1))).ravel()
  array([1., 1., 0.])
  """
  if whole is None:
    return np.array(part)
  start = len(whole)
  # In place: the system moves pages, and no bytes are copied.
  whole.resize((start + len(part), *whole.shape[1:]), refcheck=False)
  whole[start:] = part
  return whole


def write_video(
  path: str | os.PathLike,
  frames: Iterable[np.ndarray],
  rate: float,
  *,
  crf: int = 18,
  times: Sequence[float] | None = None,
) -> None:
  """Writes H.264; the file is there whole or not at all.

  The same frames give the same pictures; with .mp4, the same bytes too.

  Args:
    path: its ending says which container, such as .mp4 or .mkv.
    frames: uint8 `[T, H, W, 3]` RGB, or one `[H, W, 3]` after the other; H and
      W are even.
    rate: frames per second.
    times: seconds from which each frame is shown, and at last those at which
      the video ends; may grow while frames are taken. A container that has no
      times of its own, such as .avi, rounds them to 1 / rate. None: frames are
      equally far apart.
    crf: quality: 18 shows no loss, 35 is poor, 51 is the worst.

  Raises:
    ValueError: no frames, frames of another shape or type, or a container that
      does not exist or has no H.264.
  """
  import av

  path = pathlib.Path(path)
  rate = fractions.Fraction(rate).limit_denominator(1001)
  frames = iter(frames)
  frame = next(frames, None)
  if frame is None:
    raise ValueError(f'{path}: a video needs at least one frame')
  frame = _checked(frame, None)
  shape = frame.shape
  try:
    with (
      files.replacing(path) as beside,
      # Without 'file:', a colon in a name would make it an address.
      av.open(f'file:{beside}', 'w') as container,
    ):
      stream = container.add_stream('libx264', rate)
      stream.height, stream.width = shape[:2]
      stream.pix_fmt = 'yuv420p'
      # How the pictures are converted; players guess otherwise, by the size.
      stream.codec_context.colorspace = _BT601
      stream.codec_context.color_range = _LIMITED
      # x264's 'macroblock tree' gives small videos other bytes at each run.
      stream.options = {'crf': str(crf), 'x264-params': 'mbtree=0'}
      stamps = None if times is None else Stamps(container, stream, rate, times)
      while frame is not None:
        picture = av.VideoFrame.from_ndarray(frame, format='rgb24')
        if stamps:
          stamps.mark(picture)
        packets = stream.encode(picture)
        container.mux(stamps.ready(packets) if stamps else packets)
        frame = next(frames, None)
        frame = None if frame is None else _checked(frame, shape)
      packets = stream.encode(None)
      container.mux(stamps.all(packets) if stamps else packets)
  except (av.error.FFmpegError, ValueError) as error:
    raise ValueError(f'{path}: cannot write H.264: {error}') from error


def _check_sides(picture: np.ndarray, short_side: int | None, path) -> None:
  """Raises for a picture so long and thin that its scaled form is too large."""
  height, width = picture.shape[:2]
  shorter = min(height, width)
  scale = (short_side or shorter) / shorter
  if height * width * scale**2 > MOST_PIXELS:
    raise VideoError(
      f'{path}: a picture of {height}x{width} pixels cannot be scaled to a '
      f'shorter side of {short_side}'
    )


def _scale(picture: np.ndarray, short_side: int | None) -> np.ndarray:
  shorter = min(picture.shape[:2])
  if short_side in (None, shorter):
    return picture
  ratio = short_side / shorter
  picture = np.ascontiguousarray(picture)
  return cv2.resize(
    picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_CUBIC
  )


def _crop(picture: np.ndarray, size: int | None) -> np.ndarray:
  if size is None:
    return picture
  top, left = (int(max(0, side - size) / 2) for side in picture.shape[:2])
  return picture[top : top + size, left : left + size]


def _part(pictures, times, *about) -> Video:
  return Video(np.stack(pictures), np.array(times), *about)


def _checked(frame, shape) -> np.ndarray:
  frame = np.asarray(frame)
  good = frame.ndim == 3 and frame.shape[-1] == 3 and frame.dtype == np.uint8
  if not good or frame.shape[0] % 2 or frame.shape[1] % 2:
    raise ValueError(
      'expected uint8 frames [H, W, 3] of even height and width, got '
      f'{frame.dtype} {list(frame.shape)}'
    )
  if frame.shape != (shape or frame.shape):
    raise ValueError(
      f'frames of one video differ in shape: {shape}, {frame.shape}'
    )
  return frame
