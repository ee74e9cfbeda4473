"""PyTorch files as numpy arrays: without PyTorch, and running nothing.

A file that `torch.save` wrote is a pickle of the object, in which tensors are
calls of a few functions on storages, and the storages' bytes: entries of a zip
archive, or one after the other behind the pickle in files from before 2020. A
plain pickle of tensors is read too, and so are safetensors files. A file can
name nothing but what `torch_names` lists.
"""

import io
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from deltax.convert import safetensors
from deltax.convert.torch_names import (
  ADMITTED,
  TYPES,
  Storage,
  Type,
  build,
  is_size,
  plain,
)
from deltax.data import pickles
from deltax.data.pickles import Function, Refused
from deltax.errors import DeltaxError

_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of the sequential form
_LEGACY = b'\x80\x02\x8a\x0a' + _MAGIC.to_bytes(10, 'little')
_VERSION = 1001


class TorchFileError(DeltaxError):
  """A file that is damaged, or that holds more than weights."""


Load = Callable[[np.dtype, str, int], np.ndarray]


def read(path: str | os.PathLike) -> Any:
  """The object that a PyTorch file holds.

  Args:
    path: of a file written by `torch.save`, of either form, a pickle of tensors
      or numpy arrays, or a safetensors file.

  Returns:
    It, of dicts, lists, tuples and plain values, with a numpy array in the
    place of every tensor: a read-only view where several tensors share one
    storage. bfloat16 stays bfloat16. What does no harm and is no weight, such
      as a path, is an `Inert` that tells its name.

  Raises:
    TorchFileError: the file is cut short, damaged, no PyTorch file, or names
      anything that weights do not need. Nothing in it is ever run.
  """
  path = pathlib.Path(path)
  with path.open('rb') as file:
    try:
      return _read(file, path.stat().st_size)
    except Refused as error:
      raise TorchFileError(f'cannot read {path}: {error}') from error


def _read(file: BinaryIO, size: int) -> Any:
  start = file.read(len(_LEGACY))
  file.seek(0)
  if start.startswith(b'PK\x03\x04'):
    return plain(_read_zip(file, size))
  if start[:4] == _LEGACY[:4]:
    return plain(_read_sequential(file, size, ADMITTED))
  if safetensors.is_safetensors(start, size):
    return safetensors.read(file, size)
  if start[:1] == b'\x80':
    pickle = io.BytesIO(file.read(pickles.LONGEST))
    return plain(pickles.load(pickle, _ADMITTED_ALONE, build=build))
  raise Refused('it is no PyTorch file, and no safetensors file')


# The zip form: `<name>/data.pkl`, `<name>/data/<key>`, `<name>/byteorder`.


def _read_zip(file: BinaryIO, size: int) -> Any:
  try:
    with zipfile.ZipFile(file) as archive:
      return _read_archive(archive, size)
  except (zipfile.BadZipFile, RuntimeError, EOFError, OSError) as error:
    raise Refused(
      f'its archive is cut short or damaged ({str(error)[:80]})'
    ) from error


def _read_archive(archive: zipfile.ZipFile, size: int) -> Any:
  entries = {entry.filename: entry for entry in archive.infolist()}
  roots = [n.rpartition('/')[0] for n in entries if n.endswith('/data.pkl')]
  if len(roots) != 1:
    raise Refused('it is a zip archive without one data.pkl')
  within = _budget(size)

  def content(name):
    entry = entries.get(f'{roots[0]}/{name}')
    if entry is None:
      raise Refused(f'its entry {name[:80]!r} is missing')
    if entry.compress_type != zipfile.ZIP_STORED:
      raise Refused(
        f'its entry {name[:80]!r} is compressed; PyTorch compresses nothing'
      )
    within(entry.file_size)
    if entry.compress_size != entry.file_size:
      raise Refused(f'its entry {name[:80]!r} has two sizes')
    # Without a number, `zipfile` makes room for up to two gigabytes.
    with archive.open(entry) as opened:
      return opened.read(entry.file_size)

  swapped = False
  if f'{roots[0]}/byteorder' in entries:
    swapped = content('byteorder').strip() == b'big'
  storages: dict[str, np.ndarray] = {}

  def load(dtype, key, count):
    if key not in storages:
      raw = np.frombuffer(content(f'data/{key}'), np.uint8)
      if swapped and len(raw) % dtype.itemsize == 0:
        raw = raw.reshape(-1, dtype.itemsize)[:, ::-1].reshape(-1)
      storages[key] = raw
    return _typed(storages[key], dtype, count)

  if entries[f'{roots[0]}/data.pkl'].file_size > pickles.LONGEST:
    raise Refused(f'its pickle is longer than {pickles.LONGEST} bytes')
  return pickles.load(
    io.BytesIO(content('data.pkl')),
    ADMITTED,
    persistent=_persistent(load),
    build=build,
  )


# The sequential form: a magic number, a version, facts of the writer's machine,
# the object, the keys of the storages; then of each its count and its elements,
# little end first.


def _read_sequential(
  file: BinaryIO, size: int, admitted: Mapping[str, Any]
) -> Any:
  within, storages, itemsizes = _budget(size), {}, {}

  def load(dtype, key, count):
    if key not in storages:
      within(count * dtype.itemsize)
      storages[key] = np.zeros(count * dtype.itemsize, np.uint8)
      itemsizes[key] = dtype.itemsize
    return _typed(storages[key], dtype, count)

  start = io.BytesIO(file.read(pickles.LONGEST))
  options = dict(persistent=_persistent(load), build=build)
  magic = pickles.load(start, {})
  version = pickles.load(start, {})
  if (magic, version) != (_MAGIC, _VERSION):
    raise Refused('it is no PyTorch file of a known version')
  pickles.load(start, {})
  found = pickles.load(start, admitted, **options)
  keys = pickles.load(start, {})
  if type(keys) is not list or sorted(storages) != sorted(map(str, keys)):
    raise Refused('its list of storages is not that of its tensors')
  file.seek(start.tell())
  for key in map(str, keys):
    raw = storages[key]
    count = int.from_bytes(file.read(8), 'little')
    if count * itemsizes[key] != len(raw):
      raise Refused(f'it is cut short or damaged at storage {key[:80]!r}')
    if file.readinto(raw) != len(raw):
      raise Refused(f'it is cut short in storage {key[:80]!r}')
  return found


def _budget(size: int) -> Callable[[int], None]:
  """Counts bytes that a file claims to hold, before they are allocated."""
  left = size

  def within(count: int) -> None:
    nonlocal left
    left -= count
    if left < 0:
      raise Refused(f'it claims to hold more than its {size} bytes')

  return within


def _typed(raw: np.ndarray, dtype: np.dtype, count: int) -> np.ndarray:
  if count * dtype.itemsize != len(raw):
    raise Refused(
      f'a storage of {len(raw)} bytes is declared to hold {count} elements of '
      f'{dtype}'
    )
  return raw.view(dtype)


def _persistent(load: Load) -> Callable[[Any], Storage]:
  """Storages by `('storage', type, key, device, count[, view])`."""

  def storage(mark, kind, key, device, count, view=None):
    del device
    if mark != 'storage' or type(kind) is not Type or view is not None:
      raise Refused('it refers to something that is no storage of its own')
    if not is_size(count):
      raise Refused('the size of a storage is out of range')
    return Storage(load(kind.dtype, str(key), count))

  return lambda identity: storage(*identity)


def _storage_of_bytes(content):
  """A storage saved on its own, inside a plain pickle of a tensor."""
  if not content.startswith(_LEGACY):
    raise Refused('a storage in it is not of the form that PyTorch writes')
  # It may hold no tensors, and so no other storage that holds one.
  return _read_sequential(io.BytesIO(content), len(content), TYPES)


# In a plain pickle, a storage is a file within the file.
_ADMITTED_ALONE = {
  **ADMITTED,
  'torch.storage._load_from_bytes': Function(_storage_of_bytes),
}
