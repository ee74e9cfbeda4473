"""Bytes of the files of a shard: those that are asked for, and no others."""

import contextlib
import fcntl
import mmap
import os
import pathlib
import weakref
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from deltax.files import Path

_MAPPED = 1 << 18  # bytes; fewer are read, as that is faster than to map them


class Parts(Protocol):
  """Where the bytes of a shard come from.

  Attributes:
    place: what messages call the shard.
  """

  place: str

  def read(self, name: str, first: int, last: int) -> np.ndarray:
    """uint8 `[last - first]`, read-only bytes of a file from `first` on.

    Raises:
      ValueError: the file has fewer.
      OSError: it cannot be read.
    """


class LocalParts:
  """A shard in a folder, which no writer deletes as long as this is there.

  Nothing is held but the folder: large parts are mapped when they are asked
  for, and let go with what is made of them.

  Args:
    folder: of the shard.
    files: as the manifest has them: a size by the name of each file.

  Raises:
    FileNotFoundError: the folder is gone, or a file.
    ValueError: a file has another size.
  """

  def __init__(self, folder: pathlib.Path, files: Mapping[str, Mapping]):
    self.place, self._folder = str(folder), str(folder)
    handle = os.open(folder, os.O_RDONLY)
    self._close = weakref.finalize(self, os.close, handle)
    with contextlib.suppress(OSError):  # not every file system has locks
      fcntl.flock(handle, fcntl.LOCK_SH)
    for name, file in files.items():
      path = f'{self._folder}/{name}'
      size = os.stat(path).st_size
      if size != file['bytes']:
        raise ValueError(f'{path} has {size} bytes, expected {file["bytes"]}')

  def read(self, name: str, first: int, last: int) -> np.ndarray:
    """See `Parts`."""
    return read_part(f'{self._folder}/{name}', first, last)

  def written(self) -> int:
    """When the shard was put there; nanoseconds since 1970."""
    return os.stat(self._folder).st_mtime_ns


def read_part(path: Path, first: int, last: int) -> np.ndarray:
  """uint8 `[last - first]` of a file; mapped where that is faster.

  Raises:
    ValueError: the file is shorter.
    OSError: it cannot be read.
  """
  size, handle = last - first, os.open(path, os.O_RDONLY)
  try:
    if size < _MAPPED:
      part = np.frombuffer(os.pread(handle, size, first), np.uint8)
    elif os.fstat(handle).st_size < last:
      part = np.zeros(0, np.uint8)
    else:
      mapped = mmap.mmap(handle, last, access=mmap.ACCESS_READ)
      part = np.frombuffer(mapped, np.uint8, size, first)
  finally:
    os.close(handle)
  if len(part) < size:
    raise ValueError(f'{path} is damaged: it ends before byte {last}')
  return part


@contextlib.contextmanager
def claimed(folder: pathlib.Path) -> Iterator[bool]:
  """Whether nobody has opened the shard of a folder, nor will inside."""
  handle = os.open(folder, os.O_RDONLY)
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    free = True
  except BlockingIOError:
    free = False
  except OSError:  # not every file system has locks
    free = True
  try:
    yield free
  finally:
    os.close(handle)
