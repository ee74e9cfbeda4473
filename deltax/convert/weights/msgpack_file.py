"""Files of `flax.serialization` as numpy arrays.

Such a file is one msgpack value of nested maps. An array in it is an extension
of code 1 (3 for a single number) that holds a msgpack list of shape, name of
the type and bytes, in C order; one above a gigabyte is a map of its parts.
Source: the description in the module's own code.
"""

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import msgpack
import numpy as np

from deltax import plain
from deltax.data.pickles import Refused
from deltax.errors import DeltaxError

_ARRAYS = (1, 3)  # codes of extensions
_PARTS = '__msgpack_chunked_array__'


def is_msgpack(start: bytes) -> bool:
  """Whether a file that begins so is one: a map that is not empty."""
  return bool(start) and (0x81 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of a file by their keys, joined with '/'.

  Raises:
    DeltaxError: it is damaged.
  """
  content = pathlib.Path(path).read_bytes()
  try:
    value = msgpack.unpackb(content, ext_hook=_array, strict_map_key=False)
    pairs = list(_flat(value, ()))
    arrays = dict(pairs)
    if len(arrays) < len(pairs):
      raise Refused('it has two arrays of one name')
  # Whatever it was that the library, or numpy, did not like.
  except Exception as error:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise DeltaxError(f'{path} is damaged: {line[:200]}') from error
  return arrays


def _array(code: int, data: bytes) -> Any:
  if code not in _ARRAYS:
    return None  # a complex number: no weight
  shape, name, values = msgpack.unpackb(data)
  dtype = np.dtype(jnp.dtype(name))
  if not (jnp.issubdtype(dtype, jnp.number) or dtype.kind == 'b'):
    raise Refused(f'an array in it is of {plain.written(name)}')
  if not all(map(plain.is_count, shape)):
    raise Refused(f'an array in it has the shape {plain.written(shape)}')
  if math.prod(shape) * dtype.itemsize != len(values):
    raise Refused(
      f'an array in it has {len(values)} bytes of values, {dtype} {shape} '
      'takes others'
    )
  return np.frombuffer(values, dtype).reshape(shape)


def _flat(value: Any, above: tuple[str, ...]) -> Iterator:
  """Arrays by their keys; what is none is left out."""
  if len(above) > plain.DEEPEST:
    raise Refused(f'it is nested more than {plain.DEEPEST} deep')
  if isinstance(value, np.ndarray):
    yield '/'.join(above), value
  elif isinstance(value, dict) and _PARTS in value:
    yield '/'.join(above), _whole(value)
  elif isinstance(value, dict | list):
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
      yield from _flat(inner, (*above, str(key)))


def _whole(value: dict[str, Any]) -> np.ndarray:
  """An array from its parts, which are numbered."""
  shape, parts = (
    [numbered[str(place)] for place in range(len(numbered))]
    for numbered in (value['shape'], value['chunks'])
  )
  return np.concatenate(parts).reshape([int(size) for size in shape])
