"""What a PyTorch file may name, and what that stands for here.

Tensors become views of numpy arrays. Whatever else they are for (gradients,
hooks, devices) is dropped.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from deltax.data import pickles
from deltax.data.pickles import Function, Refused

_MOST_AXES = 16
_DTYPES = {
  **{'Double': 'float64', 'Float': 'float32', 'Half': 'float16'},
  **{'BFloat16': 'bfloat16', 'Bool': 'bool', 'Byte': 'uint8'},
  **{'Char': 'int8', 'Short': 'int16', 'Int': 'int32', 'Long': 'int64'},
}


class Type(NamedTuple):
  """A type of storages."""

  dtype: np.dtype


class Storage(NamedTuple):
  """Elements that tensors are views of."""

  array: np.ndarray


class Inert(dict):
  """An object that does no harm and is no weight: only its name is kept.

  Options of training scripts are often a kind of dict, and are one here.
  """

  name = ''


class _Namespace(dict):
  """Attributes of a namespace, such as the options of a training script."""


class _Reconstructed:
  """A numpy array before its state is known, and then the array."""

  array: np.ndarray | None = None


def _tensor(storage, offset, size, stride, *rest):
  del rest
  if type(storage) is not Storage or len(size) != len(stride):
    raise Refused('a tensor in it has no storage of its own or no strides')
  if len(size) > _MOST_AXES or not all(map(is_size, (offset, *size, *stride))):
    raise Refused('a tensor in it has a size or stride out of range')
  array, count, steps = storage.array, math.prod(size), tuple(stride)
  last = offset + sum((n - 1) * s for n, s in zip(size, steps, strict=True))
  if count > len(array) or (count and last >= len(array)):
    raise Refused(
      f'a tensor of {count} elements in it reaches out of its storage of '
      f'{len(array)}'
    )
  if not count:
    return np.zeros(size, array.dtype)
  return np.lib.stride_tricks.as_strided(
    array[offset:],
    tuple(size),
    tuple(step * array.itemsize for step in steps),
    writeable=False,
  )


def is_size(value: Any) -> bool:
  """Whether a value of a file may be a count of elements."""
  return type(value) is int and 0 <= value < 1 << 48


def _encode(text, encoding):
  if encoding != 'latin1':
    raise Refused('bytes in it are not written as PyTorch writes them')
  return text.encode(encoding)


def _copy(items=None):
  if items is not None and not isinstance(items, dict):
    raise Refused('a dict in it is not made of one')
  return dict(items or {})


def _ordered(pairs=()):
  return {pickles.plain_key(key): value for key, value in pairs}


def _set(items=()):
  return set(map(pickles.plain_key, items))


def _dtype(code, *rest):
  del rest
  dtype = np.dtype(str(code)[:4])
  if dtype.kind not in 'biuf':
    raise Refused(f'numbers in it are of kind {dtype.kind!r}')
  return dtype


def _scalar(dtype, content):
  return _elements(content, dtype)[0]


def _elements(content, dtype):
  if not isinstance(dtype, np.dtype) or type(content) is not bytes:
    raise Refused('an array in it is not written as numpy writes them')
  return np.frombuffer(content, dtype)


def _reconstruct(*_):
  return _Reconstructed()


def _inert(name):
  def make(*_):
    made = Inert()
    made.name = name
    return made

  return Function(make)


def inert_objects(found: Any, place: str = '') -> Iterator[tuple[str, str]]:
  """Keys and names of the inert objects in what a file holds."""
  waiting, seen = [(place, found)], set()
  while waiting:
    place, value = waiting.pop()
    if isinstance(value, Inert):
      yield place, value.name
    if not isinstance(value, dict | list | tuple) or id(value) in seen:
      continue
    seen.add(id(value))
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    waiting += [
      (f'{place}.{key}' if place else str(key), v) for key, v in pairs
    ]


def build(target, state):
  """Gives an object its state, where that means anything to the weights."""
  if isinstance(target, Inert):
    return
  if isinstance(target, _Namespace):
    for key, value in state.items():
      target[key] = value
  elif isinstance(target, np.dtype):
    if state[1] not in ('<', '|', '='):
      raise Refused('numbers in it are written big end first')
  elif isinstance(target, _Reconstructed):
    _, shape, dtype, is_fortran, content = state
    order = 'F' if is_fortran else 'C'
    target.array = _elements(content, dtype).reshape(shape, order=order)
  elif not isinstance(target, dict):  # an OrderedDict's state says nothing
    raise Refused('it gives a state to something that has none')


def plain(found: Any) -> Any:
  """An object of a file, as an array if it is one."""
  return found.array if isinstance(found, (_Reconstructed, Storage)) else found


# Made without running anything of theirs, as nothing of theirs is here.
_HARMLESS = (
  *(
    f'{module}.{kind}{system}Path'
    for module in ('pathlib', 'pathlib._local')
    for kind in ('', 'Pure')
    for system in ('', 'Posix', 'Windows')
  ),
  *(
    f'datetime.{kind}'
    for kind in ('date', 'time', 'datetime', 'timedelta', 'timezone')
  ),
  *('decimal.Decimal', 'fractions.Fraction', 'uuid.UUID', 'uuid.SafeUUID'),
  'types.SimpleNamespace',
  'pytorch_lightning.utilities.parsing.AttributeDict',
  'lightning.fabric.utilities.data.AttributeDict',
  'lightning.pytorch.utilities.parsing.AttributeDict',
  'lightning_fabric.utilities.data.AttributeDict',
  'easydict.EasyDict',
  'yacs.config.CfgNode',
  'ml_collections.config_dict.config_dict.ConfigDict',
)
TYPES = {
  f'torch.{name}Storage': Type(np.dtype(jnp.dtype(dtype)))
  for name, dtype in _DTYPES.items()
}
ADMITTED = {
  **{name: _inert(name) for name in _HARMLESS},
  'torch._utils._rebuild_tensor': Function(_tensor),
  'torch._utils._rebuild_tensor_v2': Function(_tensor),
  'torch._utils._rebuild_parameter': Function(lambda data, *rest: data),
  'torch._utils._rebuild_parameter_with_state': Function(
    lambda data, *rest: data
  ),
  'torch.Size': Function(lambda sizes=(): tuple(sizes)),
  'torch.device': Function(lambda *place: ':'.join(map(str, place))),
  'collections.OrderedDict': Function(_ordered),
  'collections.defaultdict': Function(lambda *factory: {}),
  'collections.Counter': Function(_copy),
  'argparse.Namespace': Function(_Namespace),
  '_codecs.encode': Function(_encode),
  'numpy.dtype': Function(_dtype),
  'numpy.ndarray': None,
  **{
    f'{module}.multiarray.{name}': Function(function)
    for module, (name, function) in itertools.product(
      ('numpy.core', 'numpy._core'),
      (('scalar', _scalar), ('_reconstruct', _reconstruct)),
    )
  },
  **TYPES,
  **{f'torch.{dtype}': dtype for dtype in _DTYPES.values()},
  **{
    f'{module}.{name}': Function(function)
    for module, (name, function) in itertools.product(
      ('builtins', '__builtin__'), (('dict', _copy), ('set', _set))
    )
  },
}
