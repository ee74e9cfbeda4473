"""Reading and writing pictures, with errors that name the file."""

import os
import pathlib
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

NEARER, FARTHER = 0.7, 0.8  # of the sides: what a view keeps; what it leaves
# how files of a kind start and end
_MARKS = {
  '.png': (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'),
  '.jpg': (b'\xff\xd8', b'\xff\xd9'),
}


def encode_png(image) -> bytes:
  """uint8 or uint16 `[H, W]`, `[H, W, 1]` or RGB `[H, W, 3]` as PNG bytes."""
  image = np.asarray(image)
  if image.ndim == 3 and image.shape[-1] == 3:
    image = image[..., ::-1]
  fast = [cv2.IMWRITE_PNG_COMPRESSION, 2]
  written, data = cv2.imencode('.png', np.ascontiguousarray(image), fast)
  if not written:
    raise ValueError(f'cannot encode {image.dtype} {image.shape} as PNG')
  return data.tobytes()


def decode_png(data: bytes, name: str) -> np.ndarray:
  """Image bytes to `[H, W]`, or `[H, W, 3]` RGB; depth as stored.

  Raises:
    ValueError: the bytes are no image; the message has `name`.
  """
  packed = np.frombuffer(data, np.uint8)
  image = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED) if len(packed) else None
  if image is None:
    raise ValueError(f'{name} is not a readable image ({len(packed)} bytes)')
  kinds = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
  kind = None if image.ndim == 2 else kinds.get(image.shape[-1])
  if kind is None or image.dtype not in (np.uint8, np.uint16):
    return image if image.ndim == 2 else image[..., 2::-1]
  # In memory as it is taken: a view of the channels backwards would be copied
  # byte by byte later, which takes a third of the time of decoding.
  return cv2.cvtColor(image, kind)


def read(path, channels: int) -> np.ndarray:
  """Reads a frame (3 channels, RGB) or a label map (1 channel) of 8 bits.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is broken or of another kind.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file')
  with open(path, 'rb') as file:
    image = decode_png(file.read(), str(path))
  kind = 'an RGB image' if channels == 3 else 'a label map'
  present = 1 if image.ndim == 2 else image.shape[-1]
  if image.dtype != np.uint8 or present != channels:
    raise ValueError(
      f'{path}: expected {kind} of 8 bits and {channels} channel(s), found '
      f'{image.dtype} with {present} channel(s)'
    )
  return image


def check_files(paths: Iterable, wanted: str) -> None:
  """Raises one FileNotFoundError for all that is missing.

  Args:
    paths: files that must exist.
    wanted: what they are, for the message.
  """
  missing = [str(path) for path in paths if not os.path.isfile(path)]
  if missing:
    listed = '\n  '.join(missing[:5])
    more = f'\n  and {len(missing) - 5} more' if len(missing) > 5 else ''
    raise FileNotFoundError(
      f'{len(missing)} missing file(s), expected {wanted}:\n  {listed}{more}'
    )


def check_split(split: str, known: Sequence[str]) -> None:
  """Raises ValueError for an unknown split, with the known ones."""
  if split not in known:
    raise ValueError(f'unknown split {split!r}, known: {", ".join(known)}')


def check_image(path) -> None:
  """Checks that a PNG or JPEG is complete, by its first and last bytes.

  Raises:
    ValueError: the file does not start or does not end as its kind does.
  """
  start, end = _MARKS[os.path.splitext(path)[1]]
  with open(path, 'rb') as file:
    head = file.read(len(start))
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - len(end)))
    tail = file.read()
  if head != start:
    raise ValueError(f'{path}: the content is not what the name says')
  if tail != end:
    raise ValueError(f'{path}: the file is cut off')


def check_same_size(frame, frame_path, labels, labels_path) -> None:
  """Raises ValueError unless a frame and its label map have one size."""
  if frame.shape[:2] != labels.shape[:2]:
    raise ValueError(
      f'{frame_path} has {frame.shape[0]}x{frame.shape[1]} pixels, but '
      f'{labels_path} has {labels.shape[0]}x{labels.shape[1]}'
    )


def find_root(root, variable: str) -> pathlib.Path:
  """The data set's folder: the argument, or else an environment variable.

  Raises:
    ValueError: neither is given.
    FileNotFoundError: there is no such folder.
  """
  chosen = root or os.environ.get(variable)
  if not chosen:
    raise ValueError(f'give root=FOLDER or set {variable} to the data set')
  folder = pathlib.Path(chosen).expanduser()
  if not folder.is_dir():
    raise FileNotFoundError(f'{folder}: no such folder (root or {variable})')
  return folder


def views(frames: np.ndarray) -> tuple[np.ndarray, ...]:
  """Other views of a video: its middle enlarged, and all of it made smaller.

  Regions of frames are compared at the size that they have. A copy that was cut
  out of the picture, or stands inside of another one, has other sizes; a query
  that is shown nearer and farther away has them too.

  Args:
    frames: uint8 `[T, H, W, 3]`.

  Returns:
    As many frames of the same size each, uint8; what surrounds the smaller ones
    is black.
  """
  height, width = frames.shape[1:3]
  high, wide = (max(1, int(NEARER * side)) for side in (height, width))
  y, x = (height - high) // 2, (width - wide) // 2
  nearer = [
    cv2.resize(np.ascontiguousarray(frame), (width, height))
    for frame in frames[:, y : y + high, x : x + wide]
  ]
  high, wide = (max(1, int(FARTHER * side)) for side in (height, width))
  y, x = (height - high) // 2, (width - wide) // 2
  farther = np.zeros_like(frames)
  for under, frame in zip(farther, frames, strict=True):
    small = cv2.resize(frame, (wide, high), interpolation=cv2.INTER_AREA)
    under[y : y + high, x : x + wide] = small
  return np.stack(nearer), farther
