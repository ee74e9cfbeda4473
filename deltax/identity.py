"""What a file is: its content, whatever it is called and wherever it lies."""

import hashlib
import os
from typing import Any, BinaryIO, NamedTuple

from deltax import plain

WHOLE = 1 << 20  # bytes; a file that is no longer is read whole
_END, _BLOCK, _BLOCKS = 1 << 18, 1 << 14, 32  # bytes of ends; of blocks between
_INTEGER = plain.Form('a whole number', lambda value: type(value) is int)
FORM = (plain.COUNT, _INTEGER, plain.TEXT)


class Identity(NamedTuple):
  """Of a file.

  Attributes:
    size: bytes.
    modified: nanoseconds since 1970, when it was written last.
    content: a digest of the size and of samples of the bytes; of all of them in
      a file of up to 1 MiB.
  """

  size: int
  modified: int
  content: str

  def is_as_it_was(self, path: str | os.PathLike) -> bool:
    """Whether a file has the size and the time, so that nobody wrote to it.

    Raises:
      OSError: there is no such file.
    """
    about = os.stat(path)
    return (self.size, self.modified) == (about.st_size, about.st_mtime_ns)


def identify(path: str | os.PathLike) -> Identity:
  """The identity of a file; reads at most 1 MiB of it.

  Raises:
    OSError: it cannot be read.
  """
  with open(path, 'rb') as file:
    about = os.fstat(file.fileno())
    return Identity(
      about.st_size, about.st_mtime_ns, content_of(file, about.st_size)
    )


def content_of(file: BinaryIO, size: int) -> str:
  """The `content` of an identity, of a file at its start, of `size` bytes."""
  digest = hashlib.blake2b(str(size).encode(), digest_size=16)
  if size <= WHOLE:
    digest.update(file.read(WHOLE))
  else:
    # Headers stand at either end, and tell most films apart.
    between = size - 2 * _END
    places = [_END + k * between // _BLOCKS for k in range(_BLOCKS)]
    digest.update(file.read(_END))
    for place in places:
      file.seek(place)
      digest.update(file.read(_BLOCK))
    file.seek(size - _END)
    digest.update(file.read(_END))
  return digest.hexdigest()


def as_stored(identity: Identity | None) -> list[Any] | None:
  """Plain values of an identity, for a file."""
  return None if identity is None else list(identity)


def read_stored(value: Any, what: str | os.PathLike) -> Identity | None:
  """An identity of plain values; None where a file was not known.

  Raises:
    ValueError: it is damaged; names `what` it is of.
  """
  if value is None:
    return None
  return Identity(*plain.check(value, FORM, what))


def is_elsewhere(path: str | os.PathLike) -> bool:
  """Whether a path is the address of a file that is not on this machine.

  >>> is_elsewhere('gs://films/a.mp4'), is_elsewhere('films/a.mp4')
  (True, False)
  """
  return '://' in os.fspath(path)


def state_of(path: str, identity: Identity | None) -> str:
  """What became of a file: 'missing', 'changed', or '' if it is as it was.

  Args:
    path: where it was; '' for a video that is of no file. One that is not on
      this machine is not asked for.
    identity: what it was; None if that is not known.
  """
  if not path or is_elsewhere(path):
    return ''
  try:
    if identity is None or identity.is_as_it_was(path):
      return '' if os.path.isfile(path) else 'missing'
    same = identify(path).content == identity.content
  except OSError:
    return 'missing'
  return '' if same else 'changed'
