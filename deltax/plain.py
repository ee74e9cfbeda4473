"""Plain values and arrays as files hold them: read, and checked, before use.

Whatever a file holds, it is refused with one ValueError that names the file and
what in it is wrong; and no file makes much more memory than it is long.
"""

import io
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

DEEPEST = 100  # that lists and dicts of a file may be nested
_LARGEST = 1 << 48  # that a count or size may be
_PACKED = 4  # times as long as its file may be what a packed file holds
_HEADER = 1 << 17  # bytes; no header of an array is longer
_SHOWN = 40  # letters of a value that a message shows


class Form(NamedTuple):
  """What a value must be.

  Attributes:
    text: what a message says is expected.
    fits: whether a value is so.
  """

  text: str
  fits: Callable[[Any], bool]


def is_count(value: Any) -> bool:
  """Whether a value is a whole number from 0 on that may be a size."""
  return type(value) is int and 0 <= value < _LARGEST


def is_number(value: Any) -> bool:
  """Whether a value is a finite number."""
  return type(value) in (int, float) and abs(value) < math.inf


COUNT = Form('a whole number of at least 0', is_count)
NUMBER = Form('a finite number', is_number)
TEXT = Form('a text', lambda value: isinstance(value, str))
TEXT_OR_NONE = Form('a text or null', lambda x: x is None or isinstance(x, str))
ANY = Form('anything', lambda value: True)
DICT = Form('an object', lambda value: isinstance(value, dict))


def one_of(known: Sequence[Any]) -> Form:
  """One of some plain values."""
  return Form(
    f'one of {", ".join(map(str, known))}',
    lambda value: isinstance(value, str | int) and value in known,
  )


def check(
  value: Any,
  form: Any,
  what: str | os.PathLike,
  *,
  problem: str = 'is damaged',
) -> Any:
  """The value, if it is of a form.

  Args:
    value: plain values.
    form: a `Form`; `[form]`, a list of such; `(form, form)`, a list of these;
      `{'name': form}`, a dict that has at least these; or `{str: form}`, a dict
      of such by any name.
    what: what a message begins with, the file that it is from.
    problem: how a message goes on.

  Raises:
    ValueError: it is not; names the place of what is wrong, and what was
      expected there.

  Example:
    >>> check({'sizes': [1, -2]}, {'sizes': [COUNT]}, 'a.json')
    Traceback (most recent call last):
    ValueError: a.json is damaged: sizes[1] is -2, expected a whole number of \
at least 0
  """
  if wrong := _wrong(value, form, ''):
    raise ValueError(f'{os.fspath(what)} {problem}: {wrong}')
  return value


def loads(text: str) -> Any:
  """The plain values of a JSON text.

  Raises:
    ValueError: it is none, or nested more than 100 deep.
  """
  try:
    value = json.loads(text)
    inside, depth = [value], 0
    while inside:
      if depth > DEEPEST:
        raise RecursionError
      inside, depth = [x for v in inside for x in _children(v)], depth + 1
  except RecursionError:
    raise ValueError(f'it is nested more than {DEEPEST} deep') from None
  return value


def read_json(
  path: str | os.PathLike, form: Any = None, *, problem: str = 'is damaged'
) -> Any:
  """The plain values of a JSON file.

  Args:
    path: of the file.
    form: what they must be, see `check`; None takes any.
    problem: how a message goes on that begins with the path.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no JSON in UTF-8, nested more than 100 deep, or of another
      form.
  """
  try:
    value = loads(pathlib.Path(path).read_text('utf-8'))
  except ValueError as error:
    raise ValueError(f'{path} {problem}: {error}') from error
  if form is not None:
    check(value, form, path, problem=problem)
  return value


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an .npz file, by name.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no such file, is cut short or damaged, or holds more than
      four times its own bytes.
  """
  left = _PACKED * os.path.getsize(path)
  arrays = {}
  try:
    with zipfile.ZipFile(path) as archive:
      for entry in archive.infolist():
        left -= entry.file_size
        if left < 0:
          raise ValueError(f'it holds more than {_PACKED} times its own bytes')
        with archive.open(entry) as file:
          # Without a number it would make room for up to two gigabytes.
          content = file.read(entry.file_size)
        name = entry.filename.removesuffix('.npy')
        arrays[name] = array_of(content, f'its array {name!r:.80}')
  # Archives are refused in many ways; an absent file is none of them.
  except FileNotFoundError:
    raise
  except Exception as error:
    raise ValueError(f'{path} is damaged: {_line(error)}') from error
  return arrays


def read_array(path: str | os.PathLike, *, mapped: bool = False) -> np.ndarray:
  """The array of an .npy file.

  Args:
    path: of the file.
    mapped: from the disk, to be read when it is used.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no such file, cut short or damaged.
  """
  try:
    with open(path, 'rb') as file:
      shape, order, dtype = _header(file)
      start = file.tell()
      _check_size(shape, dtype, os.path.getsize(path) - start, 'it')
      if mapped:
        return np.memmap(path, dtype, 'r', start, shape, order)
      return np.fromfile(file, dtype).reshape(shape, order=order)
  except ValueError as error:
    raise ValueError(f'{path} is damaged: {_line(error)}') from error


def written(name: Any) -> str:
  """A name of a file for a message: one line, of at most 80 letters.

  >>> written('conv1'), written('two\\nlines')
  ('conv1', "'two\\\\nlines'")
  """
  text = str(name)[:80]
  return text if text.isprintable() else repr(text)


def array_of(content: bytes | np.ndarray, what: str) -> np.ndarray:
  """The array of the bytes of an .npy file; they are not copied.

  Args:
    content: the bytes, or uint8 `[N]`.
    what: what a message begins with.

  Raises:
    ValueError: they are none, or cut short.
  """
  file = io.BytesIO(content[:_HEADER])
  shape, order, dtype = _header(file)
  values = memoryview(content)[file.tell() :]
  _check_size(shape, dtype, len(values), what)
  return np.frombuffer(values, dtype).reshape(shape, order=order)


def _header(file) -> tuple[tuple[int, ...], str, np.dtype]:
  """Shape, order and type of an array of numpy; nothing is made yet."""
  try:
    version = np.lib.format.read_magic(file)
    read = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read(file)
  except Exception as error:  # it is parsed as code of Python is
    raise ValueError(f'an array has no header: {_line(error)}') from error
  if dtype.hasobject or not all(map(is_count, shape)):
    raise ValueError(f'it holds {dtype} {list(shape)}, expected numbers')
  return shape, 'F' if is_fortran else 'C', dtype


def _check_size(shape, dtype, size: int, what: str) -> None:
  expected = math.prod(shape) * dtype.itemsize
  if expected != size or not dtype.itemsize:
    raise ValueError(
      f'{what} has {size} bytes of values, {dtype} {list(shape)} takes '
      f'{expected}'
    )


def _line(error: Exception) -> str:
  """The first line of what an error of a library says."""
  return (str(error) or type(error).__name__).splitlines()[0][:200]


def _children(value):
  if isinstance(value, dict):
    return value.values()
  return value if isinstance(value, list) else ()


def _wrong(value, form, place) -> str | None:
  """What is not of a form, and where."""
  if isinstance(form, Form):
    if form.fits(value):
      return None
    return f'{place or "it"} is {_shown(value)}, expected {form.text}'
  kind = dict if isinstance(form, dict) else list
  if not isinstance(value, kind):
    expected = 'an object' if kind is dict else 'a list'
    return f'{place or "it"} is {_shown(value)}, expected {expected}'
  if isinstance(form, tuple) and len(value) != len(form):
    return f'{place or "it"} has {len(value)} values, expected {len(form)}'
  for key, inner in _pairs(value, form):
    own = f'{place or "it"}[{key}]'
    if kind is dict:
      name = written(key)
      own = f'{place}.{name}' if place else name
    if kind is dict and key not in value:
      return f'{place or "it"} lacks {key!r}'
    if wrong := _wrong(value[key], inner, own):
      return wrong
  return None


def _pairs(value, form):
  """Keys of a container, and the forms of what is there."""
  if isinstance(form, tuple):
    return enumerate(form)
  if isinstance(form, list):
    return ((place, form[0]) for place in range(len(value)))
  if str in form:
    return ((name, form[str]) for name in value)
  return form.items()


def _shown(value) -> str:
  """A value, shortened; a long text or list is not written out first."""
  if isinstance(value, str):
    value = value[:_SHOWN]
  elif isinstance(value, list | dict):
    return 'a list' if isinstance(value, list) else 'an object'
  return f'{value!r:.{_SHOWN}}'
