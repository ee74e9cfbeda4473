"""safetensors files as numpy arrays.

Such a file is the length of its header in 8 bytes, little end first; the
header, a JSON object of `{key: {dtype, shape, data_offsets}}`; and the arrays'
bytes one after the other, in C order and little end first.
Source: the published description of the format.
"""

import math
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from deltax import plain
from deltax.data.pickles import Refused
from deltax.plain import COUNT, TEXT

_LENGTH = 8  # bytes of the header's length
_LONGEST = 100_000_000  # bytes of a header, as the format has it
_ABOUT = '__metadata__'
_DTYPES = {
  **{'F64': 'float64', 'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16'},
  **{'I64': 'int64', 'I32': 'int32', 'I16': 'int16', 'I8': 'int8'},
  **{'U64': 'uint64', 'U32': 'uint32', 'U16': 'uint16', 'U8': 'uint8'},
  **{'BOOL': 'bool', 'F8_E4M3': 'float8_e4m3fn', 'F8_E5M2': 'float8_e5m2'},
}
_FORM = {
  'dtype': plain.one_of(tuple(_DTYPES)),
  'shape': [COUNT],
  'data_offsets': (COUNT, COUNT),
}


def is_safetensors(start: bytes, size: int) -> bool:
  """Whether a file of `size` bytes that begins so is of this form."""
  length = int.from_bytes(start[:_LENGTH], 'little')
  return start[_LENGTH : _LENGTH + 1] == b'{' and length <= size - _LENGTH


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
  """The arrays of a file by their keys, in its order.

  Args:
    file: at its start.
    size: bytes of it.

  Raises:
    Refused: it is damaged.
  """
  length = int.from_bytes(file.read(_LENGTH), 'little')
  if length > min(_LONGEST, size - _LENGTH):
    raise Refused(f'its header of {length} bytes is too long')
  described = _header(file.read(length))
  data = np.fromfile(file, np.uint8, size - _LENGTH - length)
  end, arrays = 0, {}
  # Every byte belongs to one array, or the file could mean two things.
  ordered = sorted(described.items(), key=lambda item: item[1]['data_offsets'])
  for key, about in ordered:
    dtype = np.dtype(jnp.dtype(_DTYPES[about['dtype']]))
    start, stop = about['data_offsets']
    if start != end or stop > len(data):
      raise Refused(
        f'its array {plain.written(key)} has the bytes {start} to {stop} of '
        f'{len(data)}, expected {end} on'
      )
    if stop - start != math.prod(about['shape']) * dtype.itemsize:
      raise Refused(
        f'its array {plain.written(key)} has {stop - start} bytes, '
        f'{dtype} {about["shape"]} takes others'
      )
    arrays[key] = data[start:stop].view(dtype).reshape(about['shape'])
    end = stop
  if end != len(data):
    raise Refused(f'{len(data) - end} of its bytes are of no array')
  return {key: arrays[key] for key in described}


def _header(content: bytes) -> dict[str, Any]:
  """What is told of each array."""
  try:
    described = plain.loads(content.decode('utf-8'))
    about = described.pop(_ABOUT, {}) if isinstance(described, dict) else {}
    plain.check(described, {str: _FORM}, 'its header')
    plain.check(about, {str: TEXT}, 'its header')
  except ValueError as error:
    raise Refused(f'it is damaged: {str(error)[:200]}') from error
  return described
