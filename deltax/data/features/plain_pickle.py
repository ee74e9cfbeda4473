"""Pickles of annotations and scores, read as plain data.

`pickle.load` imports and calls whatever a file names. Here a file can name the
built-in containers and numbers of numpy, and nothing else: what is not admitted
is neither imported nor called.
"""

import io
import os
import pathlib
from typing import Any

import numpy as np

from deltax.data import pickles
from deltax.data.pickles import Function, Refused, plain_key


class _NumberType:
  """Stands for a numpy dtype of numbers."""

  def __init__(self, code, *_):
    dtype = np.dtype(str(code)[:4])
    if dtype.kind not in 'biuf':
      raise Refused(f'a number of dtype {str(code)[:4]!r} is not plain')
    self.dtype = dtype


def _build(target: Any, state: Any) -> None:
  if not isinstance(target, _NumberType):
    raise Refused('it gives a state to something that has none')
  target.dtype = target.dtype.newbyteorder(state[1])


def _number(kind, data):
  if not isinstance(kind, _NumberType) or type(data) is not bytes:
    raise Refused('a number in it is not written as numpy writes them')
  return np.frombuffer(data, kind.dtype, 1)[0].item()


def _encode(text, coding):
  del coding  # latin1, the only one that pickles of bytes use
  return text.encode('latin1')


def _set_of(kind):
  return Function(lambda items=(): kind(map(plain_key, items)))


_ADMITTED = {
  **{
    f'{module}.{kind.__name__}': _set_of(kind)
    for module in ('builtins', '__builtin__')
    for kind in (set, frozenset)
  },
  '_codecs.encode': Function(_encode),
  'numpy.dtype': Function(_NumberType),
  'numpy.core.multiarray.scalar': Function(_number),
  'numpy._core.multiarray.scalar': Function(_number),
}


def load(path: str | os.PathLike) -> Any:
  """What a pickle of plain data holds.

  Args:
    path: of a file made of None, bools, numbers, strings, bytes, lists, tuples,
      dicts and sets, of any protocol. Numbers of numpy are read as Python's.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged, or names anything else; nothing of it was run.
  """
  content = pathlib.Path(path).read_bytes()
  try:
    return pickles.load(
      io.BytesIO(content),
      _ADMITTED,
      build=_build,
      most_operations=len(content),
      purpose='annotation',
    )
  except Refused as error:
    raise ValueError(f'{path} is no pickle of plain data: {error}') from error
