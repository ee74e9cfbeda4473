"""Pickles of annotations and scores, read as plain data.

`pickle.load` imports and calls whatever a file names. Here a file can name the
built-in containers and numbers of numpy, and nothing else: what is not admitted
is neither imported nor called.
"""

import os
import pickle

import numpy as np


class _NumberType:
  """Stands for a numpy dtype of numbers, whatever state a file gives it."""

  def __init__(self, code, *_):
    dtype = np.dtype(str(code))
    if dtype.kind not in 'biuf':
      raise pickle.UnpicklingError(f'a number of dtype {code!r} is not plain')
    self.dtype = dtype

  def __setstate__(self, state):
    self.dtype = self.dtype.newbyteorder(state[1])


def _number(kind: _NumberType, data: bytes):
  return np.frombuffer(data, kind.dtype, 1)[0].item()


def _encode(text: str, coding: str) -> bytes:
  del coding  # latin1, the only one that pickles of bytes use
  return text.encode('latin1')


_ADMITTED = {
  ('builtins', 'set'): set,
  ('builtins', 'frozenset'): frozenset,
  ('__builtin__', 'set'): set,
  ('__builtin__', 'frozenset'): frozenset,
  ('_codecs', 'encode'): _encode,
  ('numpy', 'dtype'): _NumberType,
  ('numpy.core.multiarray', 'scalar'): _number,
  ('numpy._core.multiarray', 'scalar'): _number,
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module, name):
    if (module, name) not in _ADMITTED:
      raise pickle.UnpicklingError(
        f'it names {module}.{name}, which is no plain data; nothing was run'
      )
    return _ADMITTED[module, name]


def load(path: str | os.PathLike):
  """What a pickle of plain data holds.

  Args:
    path: of a file made of None, bools, numbers, strings, bytes, lists, tuples,
      dicts and sets. Numbers of numpy are read as Python's own.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged, or names anything else; nothing of it was run.
  """
  with open(path, 'rb') as file:
    try:
      return _Unpickler(file).load()
    except (
      *(pickle.UnpicklingError, EOFError, AttributeError, LookupError),
      *(TypeError, ValueError, OverflowError, MemoryError, ImportError),
    ) as error:
      raise ValueError(f'{path} is no pickle of plain data: {error}') from error
