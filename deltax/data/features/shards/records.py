"""A video's features as bytes in a shard file.

A record is a header, the name and the values, row by row. The header has two
checksums (CRC-32), one of the values, one of itself and the name; so a record
is found, and told from rubbish, without any index.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from deltax.errors import DeltaxError

DTYPES = {'float32': np.dtype('<f4'), 'float16': np.dtype('<f2')}

_MAGIC = b'\xd7DXF'
# magic; bytes of the name, of a value; T, R, D; checksum of the values
_FIELDS = struct.Struct('<4s2H4I')
_CHECKSUM = struct.Struct('<I')  # of the fields and the name
_HEADER = _FIELDS.size + _CHECKSUM.size
_LONGEST_NAME = 2**16 - 1
_BY_SIZE = {dtype.itemsize: dtype for dtype in DTYPES.values()}
_BLOCK = 2**20


class FeatureError(DeltaxError):
  """Stored features that are damaged; the message names file and video."""


class Head(NamedTuple):
  """What a record says of itself.

  Attributes:
    name: of the video.
    shape: (T, R, D).
    dtype: of the values as stored.
    checksum: of the values.
    content: bytes before the values.
    length: bytes of the whole record.
  """

  name: str
  shape: tuple[int, int, int]
  dtype: np.dtype
  checksum: int
  content: int
  length: int


def pack(name: str, values: np.ndarray) -> bytes:
  """The record of `values [T, R, D]`, of one of `DTYPES`.

  Raises:
    ValueError: the name is longer than 65535 bytes.
  """
  text = name.encode('utf-8', 'surrogatepass')
  if len(text) > _LONGEST_NAME:
    raise ValueError(f'{name[:80]!r}...: a name has at most 65535 bytes')
  content = np.ascontiguousarray(values).tobytes()
  checksum = zlib.crc32(content)
  fields = _FIELDS.pack(
    _MAGIC, len(text), values.itemsize, *values.shape, checksum
  )
  checked = _CHECKSUM.pack(zlib.crc32(fields + text))
  return b''.join((fields, checked, text, content))


def unpack(data: bytes) -> tuple[str, np.ndarray] | None:
  """Name and float32 values of a record, or None if a byte of it is wrong."""
  head = _read_head(data)
  if head is None or head.length != len(data):
    return None
  content = memoryview(data)[head.content :]
  if zlib.crc32(content) != head.checksum:
    return None
  values = np.frombuffer(content, head.dtype).reshape(head.shape)
  return head.name, values.astype(np.float32)


def find(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, Head]]:
  """The records of a shard whose header is right; what is between is skipped.

  Args:
    file: the shard.
    start: where to begin.
    end: of the file.

  Yields:
    Where a record starts, and its head. The values are there, not looked at.
  """
  # After a broken record, the next begins where there are the magic bytes and a
  # header whose checksum is right: values may look like magic bytes by chance.
  while start + _HEADER <= end:
    file.seek(start)
    head = _read_head(file.read(_HEADER + _LONGEST_NAME))
    if head is None or start + head.length > end:
      start = _find_magic(file, start + 1, end)
    else:
      yield start, head
      start += head.length


def _find_magic(file: BinaryIO, start: int, end: int) -> int:
  """Where a record may start next; `end` if nowhere."""
  while start < end:
    file.seek(start)
    block = file.read(_BLOCK)
    place = block.find(_MAGIC)
    if place >= 0:
      return start + place
    # The magic bytes may begin in this block and end in the next.
    start += max(1, len(block) - len(_MAGIC) + 1)
  return end


def _read_head(data: bytes) -> Head | None:
  if len(data) < _HEADER or data[: len(_MAGIC)] != _MAGIC:
    return None
  fields = data[: _FIELDS.size]
  _, length, size, *shape, checksum = _FIELDS.unpack(fields)
  (checked,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
  text = data[_HEADER : _HEADER + length]
  if zlib.crc32(fields + text) != checked or size not in _BY_SIZE:
    return None
  try:
    name = text.decode('utf-8', 'surrogatepass')
  except UnicodeDecodeError:
    return None
  content = _HEADER + length
  values = size * shape[0] * shape[1] * shape[2]
  return Head(
    name, tuple(shape), _BY_SIZE[size], checksum, content, content + values
  )
