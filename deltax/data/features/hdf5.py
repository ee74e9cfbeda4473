"""Features of videos in the published HDF5 layout.

One data set a video, float32 `[T, R, D]`, at its id; an id with a slash lies in
groups. Source: the files released with Distill-and-Select, IJCV 2022.
"""

import functools
import json
import os
import pathlib
from typing import Any

import numpy as np

from deltax import files
from deltax.data.features.shards.records import FeatureError


class Hdf5Features:
  """Reads a file; `name in features`, `features[name]`, `len(features)`.

  Args:
    path: the file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no HDF5 file.
  """

  def __init__(self, path: str | os.PathLike):
    import h5py

    self.path = pathlib.Path(path)
    if not self.path.is_file():
      raise FileNotFoundError(f'{path}: no such file')
    try:
      self._file = h5py.File(self.path, 'r')
    except OSError as error:
      raise ValueError(f'{path} is no readable HDF5 file: {error}') from error

  @property
  def fingerprint(self) -> str | None:
    """Of what made the features; None where the file does not tell."""
    return self._file.attrs.get('fingerprint')

  @property
  def description(self) -> dict[str, Any]:
    """What made the features, as plain values; empty if the file is silent."""
    return json.loads(self._file.attrs.get('description', '{}'))

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """All names, in alphabetical order of each group."""
    import h5py

    names = []

    def visit(name, item):
      if isinstance(item, h5py.Dataset):
        names.append(name)

    self._file.visititems(visit)
    return tuple(names)

  def __contains__(self, name: object) -> bool:
    return self._dataset(name) is not None

  def __len__(self) -> int:
    return len(self.names)

  def shape(self, name: str) -> tuple[int, int, int]:
    """(T, R, D) of a video, without reading it."""
    return _three(self._known(name).shape)

  def __getitem__(self, name: str) -> np.ndarray:
    """Regions of a video, float32 `[T, R, D]`; R is 1 where it is not stored.

    Raises:
      KeyError: there is no such video.
      FeatureError: it cannot be read.
    """
    dataset = self._known(name)
    try:
      values = dataset[()]
    except OSError as error:
      raise FeatureError(
        f'{self.path}: the features of {name!r} are damaged: {error}'
      ) from error
    if values.ndim not in (2, 3) or values.dtype.kind != 'f':
      raise FeatureError(
        f'{self.path}: {name!r} is {values.dtype} {list(values.shape)}, '
        'expected float [T, R, D]'
      )
    return values.reshape(_three(values.shape)).astype(np.float32)

  def close(self) -> None:
    self._file.close()

  def __enter__(self) -> 'Hdf5Features':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def _known(self, name: str):
    dataset = self._dataset(name)
    if dataset is None:
      raise KeyError(f'{self.path} has no features of {name!r}')
    return dataset

  def _dataset(self, name):
    import h5py

    if not isinstance(name, str) or not _is_key(name):
      return None
    item = self._file.get(name)
    return item if isinstance(item, h5py.Dataset) else None


def write_hdf5(
  path: str | os.PathLike, features, *, gzip: int | None = 9
) -> None:
  """Writes features in the published layout, whole or not at all.

  Args:
    path: the file to write or replace.
    features: what `open_features` gives.
    gzip: how hard to compress, 0 to 9 (published); None does not.

  Raises:
    ValueError: a name that HDF5 cannot hold as it is: a part between slashes is
      empty, '.' or '..', or it is also the folder of another.
  """
  import h5py

  path = pathlib.Path(path)
  options = {} if gzip is None else {'compression': 'gzip'}
  options = options and {**options, 'compression_opts': gzip}
  names = set(features.names)
  for name in features.names:
    parts = name.split('/')
    above = {'/'.join(parts[:i]) for i in range(1, len(parts))}
    if not _is_key(name) or above & names:
      raise ValueError(f'{name!r} cannot be a name in an HDF5 file')
  with files.replacing(path) as beside, h5py.File(beside, 'w') as file:
    if features.fingerprint is not None:
      file.attrs['fingerprint'] = features.fingerprint
    if features.description:
      file.attrs['description'] = json.dumps(features.description)
    for name in features.names:
      file.create_dataset(name, data=features[name], **options)


def _is_key(name: str) -> bool:
  return '\0' not in name and not {'', '.', '..'} & set(name.split('/'))


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
  return (shape[0], 1, shape[1]) if len(shape) == 2 else tuple(shape)
