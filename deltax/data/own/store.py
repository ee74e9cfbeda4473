"""A decoded video in one file, from which any frame is read at once.

The frames' bytes, then a table of arrays (npz), then where that table begins.
"""

import io
import os
import struct
import zipfile
from typing import BinaryIO, NamedTuple

import numpy as np

_MARK = b'deltaxo1'
_END = struct.Struct('<8sQ')


class Stored(NamedTuple):
  """A video in a store.

  Attributes:
    frames: uint8 `[N, H, W, 3]` RGB, in the file and not in memory.
    times: float64 `[N]`, seconds since the video's first frame.
    changes: float32 `[N]`, grey levels since the frame before, see `Changes`.
    starts: bool `[N]`, where a shot begins: after a cut, or after frames that
      are not stored.
    limit: frames that it could have had; 0 if all are here.
  """

  frames: np.ndarray
  times: np.ndarray
  changes: np.ndarray
  starts: np.ndarray
  limit: int


def close(
  file: BinaryIO,
  size: tuple[int, int],
  *,
  times: np.ndarray,
  changes: np.ndarray,
  starts: np.ndarray,
  limit: int,
) -> None:
  """Writes what belongs behind the frames; see `Stored`.

  Args:
    file: with the frames' bytes and nothing else.
    size: rows and columns.
    times: float `[N]`.
    changes: float `[N]`.
    starts: bool `[N]`.
    limit: of frames, or 0.
  """
  table = io.BytesIO()
  np.savez(
    table,
    size=np.array(size, np.int64),
    times=np.asarray(times, np.float64),
    changes=np.asarray(changes, np.float32),
    starts=np.asarray(starts, bool),
    limit=np.array(limit, np.int64),
  )
  file.seek(0, os.SEEK_END)
  begin = file.tell()
  file.write(table.getvalue())
  file.write(_END.pack(_MARK, begin))


def read(path: str | os.PathLike) -> Stored | None:
  """A stored video; None if there is none, or the file is not whole.

  Raises:
    OSError: the file cannot be read.
  """
  try:
    with open(path, 'rb') as file:
      length = file.seek(0, os.SEEK_END)
      file.seek(max(0, length - _END.size))
      mark, begin = _END.unpack(file.read(_END.size))
      if mark != _MARK or begin > length:
        return None
      file.seek(begin)
      table = io.BytesIO(file.read(length - _END.size - begin))
    with np.load(table, allow_pickle=False) as arrays:
      about = {name: arrays[name] for name in arrays.files}
    shape = len(about['times']), *about.pop('size').tolist(), 3
    if np.prod(shape) != begin:
      return None
    limit = int(about.pop('limit'))
    frames = np.memmap(path, np.uint8, 'r', shape=shape)
    return Stored(frames=frames.view(np.ndarray), limit=limit, **about)
  except FileNotFoundError:
    return None
  except (struct.error, zipfile.BadZipFile, ValueError, KeyError, EOFError):
    return None
