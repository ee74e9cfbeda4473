"""Features of videos in a folder of our own layout, safe at any moment.

`store.json` says what made them; `shard-00000` and so on hold one record a
video, appended; the file `index` lists the records, so that opening a store
does not read the shards. `shards` has both formats.
"""

import contextlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from deltax import files, plain
from deltax.data.features.hdf5 import Hdf5Features
from deltax.data.features.shards import locations, records
from deltax.data.features.shards.locations import Location, shard_path
from deltax.data.features.shards.records import DTYPES, FeatureError

_VERSION = 1
_ABOUT = {
  'fingerprint': plain.TEXT,
  'dtype': plain.one_of(tuple(DTYPES)),
  'description': plain.DICT,
}
_SHARD_BYTES = 2**30


class FeatureStore:
  """Features of videos by name, float32 `[T, R, D]` each.

  It has `name in store`, `store[name]` and `len(store)`.

  A process may be killed while it adds: what was added stays, and a half-
  written record is dropped by the next writer. There is one writer at a time,
  and any number of readers, which see what was there when they opened.

  Args:
    folder: the store.
    fingerprint: of what makes the features. With it the store is opened to add
      to, and made if there is none; without it, to read.
    dtype: 'float32' or 'float16', how values are stored; None takes what the
      store has, float32 for a new one.
    description: plain values that say what makes the features, for a new store.

  Raises:
    FileNotFoundError: no store to read there.
    ValueError: no store of this version, another fingerprint or dtype than it
      has, or it is being added to already.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    *,
    fingerprint: str | None = None,
    dtype: str | None = None,
    description: Mapping[str, Any] | None = None,
  ):
    if dtype not in (None, *DTYPES):
      raise ValueError(f'unknown dtype {dtype!r}, known: {", ".join(DTYPES)}')
    self.folder = pathlib.Path(folder)
    self._file = None
    with contextlib.ExitStack() as stack:
      if fingerprint is not None:
        stack.enter_context(_locked(self.folder))
        _make(self.folder, fingerprint, dtype or 'float32', description or {})
      self._about = _read_about(self.folder)
      if fingerprint is not None:
        self._check('fingerprint', fingerprint)
        self._check('dtype', dtype or self.dtype)
      self._locations, ends = locations.locate(self.folder)
      if fingerprint is not None:
        self._shard = max(ends, default=0)
        self._end = ends.get(self._shard, 0)
        self._file = self._open_shard()
      self._closing = stack.pop_all()

  @property
  def fingerprint(self) -> str:
    """Of what made the features."""
    return self._about['fingerprint']

  @property
  def description(self) -> dict[str, Any]:
    """What made the features, as plain values."""
    return self._about['description']

  @property
  def dtype(self) -> str:
    """How values are stored."""
    return self._about['dtype']

  @property
  def names(self) -> tuple[str, ...]:
    """All names, in the order they were added."""
    return tuple(self._locations)

  def __contains__(self, name: object) -> bool:
    return name in self._locations

  def __len__(self) -> int:
    return len(self._locations)

  def shape(self, name: str) -> tuple[int, int, int]:
    """(T, R, D) of a video, without reading it."""
    return self._location(name).shape

  def __getitem__(self, name: str) -> np.ndarray:
    """Regions of a video, float32 `[T, R, D]`, as they were added.

    Raises:
      KeyError: there is no such video.
      FeatureError: its bytes are damaged.
    """
    location = self._location(name)
    path = shard_path(self.folder, location.shard)
    with open(path, 'rb', buffering=0) as file:
      file.seek(location.start)
      record = records.unpack(file.read(location.end - location.start))
    told = name, location.shape
    if record is None or (record[0], record[1].shape) != told:
      raise FeatureError(
        f'{path}: the features of {name!r} are damaged (bytes {location.start} '
        f'to {location.end})'
      )
    return record[1]

  def add(self, name: str, regions: np.ndarray) -> None:
    """Adds a video; when this returns, it is on the disk.

    Args:
      name: any string that is not in the store.
      regions: float `[T, R, D]`.

    Raises:
      ValueError: the store is open for reading, the name is taken, or regions
        are of another shape, empty or not finite.
    """
    if self._file is None:
      raise ValueError(
        f'{self.folder} is open for reading; give a fingerprint to add to it'
      )
    if name in self._locations:
      raise ValueError(f'{self.folder} already has features of {name!r}')
    record = records.pack(name, _stored(name, regions, self.dtype))
    if self._end >= _SHARD_BYTES:
      self._file.close()
      locations.write_list(self.folder, self._locations)
      self._shard, self._end = self._shard + 1, 0
      self._file = self._open_shard()
    try:
      with files.naming(shard_path(self.folder, self._shard)):
        rest = memoryview(record)
        while rest:
          rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
    except BaseException:  # a full disk, an interrupt: no half record stays
      self._file.truncate(self._end)
      raise
    start, self._end = self._end, self._end + len(record)
    self._locations[name] = Location(
      self._shard, start, self._end, tuple(np.shape(regions))
    )

  def close(self) -> None:
    """Writes the list of records, and lets another process add."""
    with self._closing:
      if self._file is not None:
        self._file.close()
        self._file = None
        locations.write_list(self.folder, self._locations)

  def __enter__(self) -> 'FeatureStore':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def _location(self, name: str) -> Location:
    if name not in self._locations:
      raise KeyError(f'{self.folder} has no features of {name!r}')
    return self._locations[name]

  def _check(self, what: str, value: str) -> None:
    if self._about[what] != value:
      raise ValueError(
        f'{self.folder} has features of {what} {self._about[what]}; it cannot '
        f'be continued with {value}'
      )

  def _open_shard(self):
    """The last shard, cut behind its last whole record, to be appended to."""
    path = shard_path(self.folder, self._shard)
    file = open(path, 'ab', buffering=0)
    file.truncate(self._end)
    return file


def open_features(path: str | os.PathLike) -> FeatureStore | Hdf5Features:
  """Opens features for reading: a folder of ours, or a published HDF5 file.

  Both have `names`, `in`, `len`, `[name]`, `shape(name)`, `fingerprint`,
  `description` and `close`.

  Raises:
    FileNotFoundError: neither is there.
    ValueError: the folder or the file is of another kind.
  """
  path = pathlib.Path(path)
  return Hdf5Features(path) if path.is_file() else FeatureStore(path)


@contextlib.contextmanager
def _locked(folder: pathlib.Path):
  folder.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(files.locked(folder / 'lock', wait=False))
    except BlockingIOError:
      raise ValueError(f'{folder} is being added to already') from None
    yield


def _make(folder, fingerprint, dtype, description) -> None:
  """Makes a store unless there is one."""
  if (folder / 'store.json').exists():
    return
  about = {
    'version': _VERSION,
    'fingerprint': fingerprint,
    'dtype': dtype,
    'description': dict(description),
  }
  files.write_json(folder / 'store.json', about, durable=True)


def _read_about(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / 'store.json'
  if not path.exists():
    raise FileNotFoundError(f'{folder}: no feature store there')
  about = plain.read_json(path, {'version': plain.COUNT})
  if about['version'] != _VERSION:
    raise ValueError(
      f'{folder} is a feature store of version {about["version"]}, expected '
      f'{_VERSION}'
    )
  return plain.check(about, _ABOUT, path)


def _stored(name: str, regions, dtype: str) -> np.ndarray:
  regions = np.asarray(regions)
  if regions.ndim != 3 or not regions.size or regions.dtype.kind != 'f':
    raise ValueError(
      f'{name!r}: expected float regions [T, R, D] with T, R, D at least 1, '
      f'got {regions.dtype} {list(regions.shape)}'
    )
  with np.errstate(over='ignore'):
    values = regions.astype(DTYPES[dtype])
  if not np.isfinite(values).all():
    raise ValueError(f'{name!r}: not all regions are finite as {dtype}')
  return values
