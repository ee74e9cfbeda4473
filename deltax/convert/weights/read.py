"""Any file of weights as numpy arrays by key."""

import contextlib
import os
import pathlib
import types
import zipfile
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from deltax import plain
from deltax.convert import torch_file
from deltax.convert.checkpoint import state_dict_of
from deltax.convert.weights import msgpack_file, orbax_folder
from deltax.data.features.hdf5 import Hdf5Arrays
from deltax.errors import DeltaxError

_HDF5 = b'\x89HDF\r\n\x1a\n'
_ZIP = b'PK\x03\x04'
_HEAD = 16  # bytes that tell what a file is


class Arrays(dict[str, np.ndarray]):
  """Arrays by key.

  Attributes:
    layers: what layers are called, by the part of a key before its last '/':
      Keras numbers them by their kinds, and has their names besides.
  """

  layers: Mapping[str, str] = types.MappingProxyType({})


def read_arrays(path: str | os.PathLike) -> Arrays:
  """All arrays of a file of weights, by their keys in it.

  What a file is, its content says and not its name.

  Args:
    path: of a safetensors, PyTorch, `.npz`, HDF5 (Keras) or msgpack
      (`flax.serialization`) file, or the folder of an orbax checkpoint.

  Returns:
    Arrays as they are stored, in the order of the file. Nested keys are joined
    with '/'; keys of PyTorch keep their dots, and are those within 'state_dict'
    or 'model' where a file has such. bfloat16 stays bfloat16, in an `.npz` file
    too, which does not name it.

  Raises:
    FileNotFoundError: there is nothing.
    DeltaxError: it is damaged, of another form, or holds no arrays.
    ValueError: likewise.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    arrays = orbax_folder.read(path)
  elif path.is_file():
    arrays = _read_file(path)
  else:
    raise FileNotFoundError(f'there is no file of weights {path}')
  if not arrays:
    raise DeltaxError(f'{path} holds no arrays')
  numbers = Arrays({key: _number(array) for key, array in arrays.items()})
  numbers.layers = getattr(arrays, 'layers', numbers.layers)
  return numbers


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  with path.open('rb') as file:
    start = file.read(_HEAD)
  if start.startswith(_HDF5):
    return _read_hdf5(path)
  if start.startswith(_ZIP) and _is_npz(path):
    return plain.read_arrays(path)
  if msgpack_file.is_msgpack(start) and start[8:9] != b'{':
    return msgpack_file.read(path)
  return state_dict_of(torch_file.read(path), path)


def _read_hdf5(path: pathlib.Path) -> Arrays:
  with Hdf5Arrays(path) as stored:
    # Others are texts, such as the words that a layer knows.
    arrays = Arrays({n: stored[n] for n in stored.names if stored.is_number(n)})
    with contextlib.suppress(DeltaxError):  # the keys are there all the same
      arrays.layers = stored.texts('name')
  return arrays


def _is_npz(path: pathlib.Path) -> bool:
  try:
    with zipfile.ZipFile(path) as archive:
      names = archive.namelist()
  except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError):
    return False  # told by the reader of PyTorch's archives
  if any(name.endswith('.weights.h5') for name in names):
    raise DeltaxError(
      f'{path} is an archive of Keras: unpack it, and give the .weights.h5'
    )
  return all(name.endswith('.npy') for name in names)


def _number(array: np.ndarray) -> np.ndarray:
  """The array; numpy's files do not say that two bytes are a bfloat16."""
  return array.view(jnp.bfloat16) if array.dtype == np.dtype('V2') else array
