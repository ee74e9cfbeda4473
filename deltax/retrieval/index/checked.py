"""Files of a shard, compared with their checksums before they are used."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltax import plain
from deltax.retrieval.index.parts import Parts

_BETWEEN = 2  # bytes between two entries of a list: ', '


class CheckedFiles:
  """Files of a shard.

  Args:
    parts: their bytes.
    sizes: by name, `{'bytes': ...}`, and `'checksum'` of those that have one:
      CRC-32 of all of a file, or of the numbers alone of an array of vectors.

  Attributes:
    sizes: as given.
    compared: names of files that were compared.
  """

  def __init__(self, parts: Parts, sizes: Mapping[str, Mapping[str, int]]):
    self._parts, self.sizes = parts, sizes
    self.compared: set[str] = set()
    self._starts: dict[str, int] = {}  # of vectors in their files

  def path(self, name: str) -> str:
    """What messages call a file."""
    return f'{self._parts.place}/{name}'

  def content(self, name: str) -> np.ndarray:
    """uint8 `[N]`, all bytes of a file."""
    content = self._all(name)
    self.compare(name, content)
    return content

  def compare(self, name: str, values: np.ndarray) -> None:
    """Raises a ValueError if a file was changed; looks once."""
    if name in self.compared:
      return
    if zlib.crc32(values) != self.sizes[name]['checksum']:
      raise ValueError(f'{self.path(name)} is damaged: its checksum is another')
    self.compared.add(name)

  def array(self, name: str) -> np.ndarray:
    """The array of an .npy file."""
    return self._array_of(name, self.content(name))

  def vectors(
    self, name: str, dtype: type, shape: tuple[int, int]
  ) -> np.ndarray:
    """Vectors of that type and shape, mapped; they are not compared."""
    content = self._all(name)
    if name not in self._starts:
      # Behind a header that says what they are.
      array = self._array_of(name, content)
      if (array.dtype, array.shape) != (dtype, shape) or (
        not array.flags.c_contiguous
      ):
        raise ValueError(f'{self.path(name)} is damaged: it has other vectors')
      self._starts[name] = len(content) - array.nbytes
    return content[self._starts[name] :].view(dtype).reshape(shape)

  def listed(self, name: str, form: Any, count: int) -> list[Any]:
    """A list of so many entries of a form, in JSON."""
    listed = self._loaded(name, self.content(name), [form])
    if len(listed) != count:
      raise ValueError(
        f'{self.path(name)} is damaged: it has not {count} videos'
      )
    return listed

  def entry(self, name: str, place: Sequence[int], form: Any) -> Any:
    """An entry of a list, without parsing the others.

    Args:
      name: of the file.
      place: bytes where it and the next one begin.
      form: see `plain.check`.
    """
    if name not in self.compared:
      self.content(name)
    first, last = place[0], place[1] - _BETWEEN
    if not 0 <= first < last < self.sizes[name]['bytes']:
      raise ValueError(f'{self.path(name)} is damaged: it has other entries')
    return self._loaded(name, self._parts.read(name, first, last), form)

  def _all(self, name: str) -> np.ndarray:
    return self._parts.read(name, 0, self.sizes[name]['bytes'])

  def _loaded(self, name: str, content: np.ndarray, form: Any) -> Any:
    try:
      value = plain.loads(content.tobytes().decode('utf-8'))
    except ValueError as error:
      raise ValueError(f'{self.path(name)} is damaged: {error}') from error
    return plain.check(value, form, self.path(name))

  def _array_of(self, name: str, content: np.ndarray) -> np.ndarray:
    try:
      return plain.array_of(content, 'it')
    except ValueError as error:
      raise ValueError(f'{self.path(name)} is damaged: {error}') from error
