"""How much moves in a video, read from the motion vectors of its codec.

A codec stores for each block of a frame from where in another frame it is
copied; a decoder can tell these motion vectors beside the pictures.
"""

import io
import os
import pathlib
from typing import NamedTuple

import numpy as np

from deltax.data.video.stream import VideoError, decode, find_stream, open_video

INTRA_PIXELS = 16.0  # the side of a block of H.264: nothing of it is left
_CUT = 0.5  # share of new blocks from which on it is another picture
_CELL = 8  # pixels; the smallest block that is told apart


class Motion(NamedTuple):
  """Motion of each frame of a video since the frame before.

  Attributes:
    pixels: float32 `[T]`, mean length over the picture; a block that is stored
      as a picture of its own, without motion, counts 16. Infinite where at
      least half of the blocks are such: a cut, or a frame that stands alone.
    intra: float32 `[T]`, 0 to 1: the share of such blocks.
  """

  pixels: np.ndarray
  intra: np.ndarray


def read_motion(path: str | os.PathLike) -> Motion:
  """Motion of every frame of a video file, in the order of their showing.

  Only frames that refer back are asked (P-frames), each taken to refer to the
  last such frame or the last that stands alone (I-frame); what moves up to one
  is shared evenly among the frames in between. Frames between the last of both
  and a cut or the end move as before.

  Args:
    path: a video whose decoder exports motion: H.264, MPEG-1, -2, -4, H.263.

  Raises:
    FileNotFoundError: there is no such file.
    VideoError: no video, no frame can be decoded, or the decoder exports no
      motion.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path}: no such file')
  return _read(str(path), path)


def measure_motion(frames) -> Motion:
  """Motion of frames, by a fast H.264 encoder whose output is thrown away.

  Args:
    frames: uint8 `[T, H, W, 3]` RGB; H and W are even.

  Raises:
    ValueError: frames of another shape or type.
  """
  import av

  frames = np.asarray(frames)
  even = frames.ndim == 4 and not any(n % 2 for n in frames.shape[1:3])
  if not even or frames.shape[3] != 3 or frames.dtype != np.uint8:
    raise ValueError(
      'expected uint8 frames [T, H, W, 3] of even height and width, got '
      f'{frames.dtype} {list(frames.shape)}'
    )
  buffer = io.BytesIO()
  with av.open(buffer, 'w', format='matroska') as container:
    stream = container.add_stream('libx264', 25)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    # Every frame refers to the one before.
    stream.options = {
      'preset': 'veryfast',
      'x264-params': 'bframes=0:ref=1:keyint=infinite:scenecut=0',
    }
    for frame in frames:
      picture = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(frame), format='rgb24'
      )
      container.mux(stream.encode(picture))
    container.mux(stream.encode(None))
  buffer.seek(0)
  return _read(buffer, 'the encoded frames')


def _read(source, name) -> Motion:
  import av
  from av.video.frame import PictureType

  anchors, count = [], 0  # (number of the frame, pixels, intra)
  predicted = told = False
  try:
    with open_video(source) as container:
      stream = find_stream(container, name, flags2='+export_mvs')
      codec = stream.codec_context.name
      for frame in decode(container, stream):
        if frame is None:
          continue
        kind = PictureType(frame.pict_type).name
        predicted |= kind in 'PBS'
        vectors = frame.side_data.get('MOTION_VECTORS')
        told |= vectors is not None
        if kind != 'B':
          size = frame.height, frame.width
          anchors.append((count, *_summary(vectors, *size)))
        count += 1
  except av.error.FFmpegError as error:
    reason = getattr(error, 'strerror', None) or error
    raise VideoError(f'{name}: no readable video: {reason}') from error
  if not anchors:
    raise VideoError(f'{name}: not one frame can be decoded')
  # A cut of H.264 may be all new too; other decoders may just not tell.
  if predicted and not told and codec != 'h264':
    raise VideoError(f'{name}: the decoder of {codec} exports no motion')
  return _spread(anchors, count)


def _summary(vectors, height: int, width: int) -> tuple[float, float]:
  """Mean length and share of intra blocks of one frame."""
  # One length per cell of 8 x 8 pixels; NaN where no vector covers the cell, as
  # blocks that are stored as pictures have none.
  lengths = np.full((-(-height // _CELL), -(-width // _CELL)), np.nan)
  if vectors is not None:
    table = vectors.to_ndarray()
    table = table[table['source'] < 0]
    moved = np.hypot(table['motion_x'], table['motion_y'])
    moved = moved / np.maximum(table['motion_scale'], 1)
    # 'dst' is the middle of a block, which covers one, two or four cells.
    top = (table['dst_y'].astype(int) - table['h'] // 2) // _CELL
    left = (table['dst_x'].astype(int) - table['w'] // 2) // _CELL
    for down, right in np.ndindex(2, 2):
      row, col = top + down, left + right
      inside = (table['h'] > _CELL * down) & (table['w'] > _CELL * right)
      inside &= (row >= 0) & (row < len(lengths))
      inside &= (col >= 0) & (col < len(lengths[0]))
      lengths[row[inside], col[inside]] = moved[inside]
  intra = np.isnan(lengths)
  return float(np.where(intra, INTRA_PIXELS, lengths).mean()), intra.mean()


def _spread(anchors, count: int) -> Motion:
  """The motion of every frame, of anchors (number, pixels, intra)."""
  # A vector spans all frames since the last anchor: its length is shared among
  # them, as the frames in between (B-frames) refer to both sides.
  motion, previous = np.zeros((count, 2), np.float32), -1
  for number, pixels, intra in anchors:
    if intra >= _CUT:
      motion[number] = np.inf, intra
    else:
      # Up to the end, in case that nothing follows but a cut; what follows
      # overwrites it.
      motion[previous + 1 :] = np.array([pixels, intra]) / (number - previous)
    previous = number
  return Motion(motion[:, 0], motion[:, 1])
