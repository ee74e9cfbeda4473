"""Arrays of HDF5 files, and features of videos in the published layout.

The latter has one data set a video, float32 `[T, R, D]`, at its id; an id with
a slash lies in groups. Source: the files released with Distill-and-Select, IJCV
2022.
"""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from deltax import files, plain
from deltax.data.features.shards.records import FeatureError
from deltax.errors import DeltaxError

# How h5py tells what HDF5 finds damaged.
_DAMAGE = (
  *(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError),
  *(OverflowError, NotImplementedError, IndexError),
)
# A heap, and an object in it, begin with 16 bytes, the last 8 of them a size.
_HEAP, _HEAP_HEAD = b'GCOL\x01', 16
_SEARCHED = 16 << 20  # bytes at both ends of a file
_DENSEST = 1032  # times that deflate packs at best
# Features of this size are read however small they are packed; larger ones may
# be so many times the file.
_ALWAYS, _PACKED = 256 << 20, 4


class Hdf5Arrays:
  """Reads a file; `name in arrays`, `arrays[name]`, `len(arrays)`.

  Nothing is read but what the file itself holds: no link is followed.

  Args:
    path: the file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no HDF5 file.
  """

  damaged: type[DeltaxError] = DeltaxError  # what is raised for such a file

  def __init__(self, path: str | os.PathLike):
    import h5py

    self.path = pathlib.Path(path)
    if not self.path.is_file():
      raise FileNotFoundError(f'{path}: no such file')
    with self._reading(' is no readable HDF5 file'):
      self._file = h5py.File(self.path, 'r')

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """All names, in alphabetical order of each group."""
    import h5py

    names = []

    def visit(name, item):
      if not isinstance(name, str):
        raise ValueError(f'the name {name!r:.80} is no text')
      if isinstance(item, h5py.Dataset):
        names.append(name)

    with self._reading(': its list of names is damaged'):
      self._file.visititems(visit)
    return tuple(names)

  def __contains__(self, name: object) -> bool:
    return self._dataset(name) is not None

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, name: str) -> np.ndarray:
    """An array as it is stored.

    Raises:
      KeyError: there is no such array.
      DeltaxError: it cannot be read.
    """
    dataset = self._dataset(name)
    if dataset is None:
      raise KeyError(f'{self.path} has no array {name!r}')
    return self._read(dataset, f'the array {name!r:.80} is')

  def is_number(self, name: str) -> bool:
    """Whether an array is of numbers, or of two bytes, as a bfloat16 is."""
    dataset = self._dataset(name)
    with self._reading(f': the array {name!r:.80} is damaged'):
      return dataset is not None and (
        dataset.dtype.kind in 'biuf' or dataset.dtype == np.dtype('V2')
      )

  def texts(self, attribute: str) -> dict[str, str]:
    """An attribute of all groups of arrays that have it, by their names.

    Raises:
      DeltaxError: one is damaged, or no text.
    """
    groups = {name.rpartition('/')[0] for name in self.names} - {''}
    with self._reading(f': a {attribute} is damaged'):
      _check_heaps(self.path, self.path.stat().st_size)
    found = {
      group: self._text(self._item(group), attribute)
      for group in sorted(groups)
    }
    return {group: text for group, text in found.items() if text is not None}

  def close(self) -> None:
    self._file.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def _read(self, dataset: Any, what: str) -> np.ndarray:
    with self._reading(f': {what} damaged'):
      _check_stored(dataset, self.path.stat().st_size)
      return dataset[()]

  def _dataset(self, name):
    import h5py

    item = self._item(name)
    return item if isinstance(item, h5py.Dataset) else None

  def _item(self, name):
    """A group or array; None where there is none."""
    import h5py

    if not isinstance(name, str) or not _is_key(name):
      return None
    with self._reading(f': the place of {name!r:.80} is damaged'):
      # A link may lead to another file, or to itself: we follow none.
      parts = name.split('/')
      for end in range(1, len(parts) + 1):
        link = self._file.get('/'.join(parts[:end]), getlink=True)
        if not isinstance(link, h5py.HardLink):
          return None
      return self._file.get(name)

  def _text(self, item: Any, attribute: str) -> str | None:
    """An attribute that is a text, once the heaps of texts are checked."""
    import h5py

    with self._reading(f': its {attribute} is damaged'):
      if item is None or attribute not in item.attrs:
        return None
      stored = item.attrs.get_id(attribute)
      if stored.shape != () or stored.get_storage_size() > _SEARCHED:
        raise ValueError('it is an array, or too long')
      # Lists of other kinds would end the process where they are damaged.
      if not isinstance(stored.get_type(), h5py.h5t.TypeStringID):
        raise ValueError(f'it is {stored.dtype}, expected a text')
      value = item.attrs[attribute]
      if not isinstance(value, str):
        raise ValueError(f'it is {type(value).__name__}, expected a text')
      return value

  @contextlib.contextmanager
  def _reading(self, problem: str) -> Iterator[None]:
    """Tells what the library finds damaged, in whatever way, as one error."""
    try:
      yield
    except _DAMAGE as error:
      reason = (str(error) or type(error).__name__).splitlines()[0]
      raise self.damaged(f'{self.path}{problem}: {reason}') from error


class Hdf5Features(Hdf5Arrays):
  """Reads a file; `name in features`, `features[name]`, `len(features)`.

  Args:
    path: the file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no HDF5 file.
  """

  damaged = FeatureError

  @property
  def fingerprint(self) -> str | None:
    """Of what made the features; None where the file does not tell."""
    return self._attribute('fingerprint')

  @property
  def description(self) -> dict[str, Any]:
    """What made the features, as plain values; empty if the file is silent."""
    text = self._attribute('description')
    if text is None:
      return {}
    with self._reading(': its description is damaged'):
      return plain.check(plain.loads(text), plain.DICT, 'the description')

  def shape(self, name: str) -> tuple[int, int, int]:
    """(T, R, D) of a video, without reading it."""
    return _three(self._features(name).shape)

  def __getitem__(self, name: str) -> np.ndarray:
    """Regions of a video, float32 `[T, R, D]`; R is 1 where it is not stored.

    Raises:
      KeyError: there is no such video.
      FeatureError: it cannot be read.
    """
    dataset = self._features(name)
    values = self._read(dataset, f'the features of {name!r:.80} are')
    with np.errstate(over='ignore'):  # of float64 and wider
      return values.reshape(_three(values.shape)).astype(np.float32)

  def _features(self, name: str):
    """The data set of a video, of a type and shape that features may have."""
    dataset = self._dataset(name)
    if dataset is None:
      raise KeyError(f'{self.path} has no features of {name!r}')
    with self._reading(f': the features of {name!r:.80} are damaged'):
      shape, dtype = dataset.shape, dataset.dtype
    if dtype.kind != 'f' or shape is None or len(shape) not in (2, 3):
      raise FeatureError(
        f'{self.path}: {name!r:.80} is {dtype} '
        f'{"without a shape" if shape is None else list(shape)}, expected '
        'float [T, R, D]'
      )
    return dataset

  def _attribute(self, name: str) -> str | None:
    with self._reading(f': its {name} is damaged'):
      _check_heaps(self.path, _SEARCHED)
    return self._text(self._file, name)


def _check_heaps(path: pathlib.Path, searched: int) -> None:
  """Raises a ValueError for a heap of texts in which HDF5 would never end.

  It walks the objects of a heap by their sizes, and stays where one is zero.
  The heaps of a file's own attributes lie where it was begun or ended.

  Args:
    path: of the file.
    searched: bytes at both ends of it in which heaps are looked for.
  """
  size = path.stat().st_size
  with open(path, 'rb') as file:
    for start in sorted({0, max(0, size - searched)}):
      file.seek(start)
      content = file.read(searched)
      place = content.find(_HEAP)
      while place >= 0:
        end = place + int.from_bytes(content[place + 8 : place + 16], 'little')
        at = place + _HEAP_HEAD
        while at + _HEAP_HEAD <= end <= len(content):
          number = int.from_bytes(content[at : at + 2], 'little')
          length = int.from_bytes(content[at + 8 : at + 16], 'little')
          step = _HEAP_HEAD + -(-length // 8) * 8 if number else length
          if not 0 < step <= end - at:
            raise ValueError('an object in its heap has an impossible size')
          at += step
        place = content.find(_HEAP, place + 1)


def _check_stored(dataset, size: int) -> None:
  """Raises a ValueError for values that this file cannot hold.

  Args:
    dataset: of the file.
    size: of the file, in bytes.
  """
  if dataset.external or dataset.is_virtual:
    raise ValueError('its values lie in another file')
  stored = dataset.id.get_storage_size()
  if dataset.nbytes > min(_DENSEST * stored, _ALWAYS + _PACKED * size):
    raise ValueError(
      f'{dataset.nbytes} bytes are announced where {stored} are stored'
    )


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
