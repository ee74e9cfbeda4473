"""A decoded frame as a player shows it: upright, and of square pixels."""

import struct

import cv2
import numpy as np

from deltax.data.video.stream import MOST_PIXELS, VideoError

_WIDEST = 16  # times as wide as high a pixel may be; of more, it is a mistake


def as_shown(frame, stream, path) -> np.ndarray:
  """The picture of a frame of PyAV, uint8 `[H, W, 3]` RGB.

  Colours are by the matrix and the range that the file tells, BT.601 and
  limited where it tells none. Pixels that are not square are spread to be so,
  and the picture is turned and mirrored as the file says.

  Args:
    frame: of PyAV.
    stream: that it is of.
    path: of the file, for messages.

  Raises:
    VideoError: of square pixels it would be too large.
  """
  height, width = frame.height, frame.width
  aspect = float(stream.sample_aspect_ratio or 1)
  if aspect != 1 and 1 / _WIDEST <= aspect <= _WIDEST:
    # No pixel is given up: the side grows that is too short.
    width = round(width * max(1, aspect))
    height = round(height / min(1, aspect))
  if height * width > MOST_PIXELS:
    raise VideoError(
      f'{path}: a picture of {height}x{width} pixels is too large; at most '
      f'{MOST_PIXELS} pixels are read'
    )
  size = {'width': width, 'height': height}
  # By this thread: those of its own would live as long as the frame does, which
  # is part of a cycle of objects, and a process may have only so many.
  rgb = frame.to_ndarray(format='rgb24', threads=1, **size)
  matrix = frame.side_data.get('DISPLAYMATRIX')
  return rgb if matrix is None else _turned(rgb, bytes(matrix))


def _turned(picture: np.ndarray, matrix: bytes) -> np.ndarray:
  """The picture as a display matrix puts it, in quarters of a turn.

  The matrix takes a place (x, y) of the picture to (ax + cy, bx + dy).
  """
  a, b, _, c, d, *_ = struct.unpack('=9i', matrix[:36])
  if abs(b) + abs(c) > abs(a) + abs(d):
    picture, a, d = picture.transpose(1, 0, 2), c, b
  return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def within(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """A picture of another size, as large as it fits into `shape`, on black.

  So a player shows a film whose size changes, in a window that does not.
  """
  if picture.shape == shape:
    return picture
  scale = min(shape[0] / picture.shape[0], shape[1] / picture.shape[1])
  rows, columns = (max(1, round(scale * side)) for side in picture.shape[:2])
  rows, columns = min(rows, shape[0]), min(columns, shape[1])
  whole = np.zeros(shape, np.uint8)
  top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
  whole[top : top + rows, left : left + columns] = cv2.resize(
    np.ascontiguousarray(picture),
    (columns, rows),
    interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
  )
  return whole
