"""Pickles read as plain data.

`pickle.loads` imports and calls whatever a file names. Here a file can name
only what the caller admits, and a machine of some thirty operations puts
containers together; any other operation is refused. Nothing is imported, no
method of a loaded object is called, and nothing is hashed but plain keys.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from deltax.errors import DeltaxError

LONGEST = 64 << 20  # bytes of pickles that a file may hold
MOST_OPERATIONS = 1_000_000
_LARGEST_KEY = 1 << 61
_ELEMENT = 100  # bytes, about, of an element of a container


class Refused(DeltaxError):
  """What a file holds is damaged, or no part of a checkpoint."""


class Function(NamedTuple):
  """A function that a file may call by its name."""

  call: Callable[..., Any]


_PUSHED = {
  *('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'),
  *('BINUNICODE', 'SHORT_BINUNICODE', 'SHORT_BINSTRING', 'BINSTRING'),
  *('BINBYTES', 'SHORT_BINBYTES'),
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_EMPTY = {
  'EMPTY_DICT': dict,
  'EMPTY_LIST': list,
  'EMPTY_TUPLE': tuple,
  'EMPTY_SET': set,
}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_KNOWN = {
  *(*_PUSHED, *_CONSTANTS, *_EMPTY, *_TUPLES, 'PROTO', 'FRAME', 'STOP'),
  *('MARK', 'TUPLE', 'APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'ADDITEMS'),
  *('BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'BINGET', 'LONG_BINGET'),
  *('GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'NEWOBJ', 'BINPERSID', 'BUILD'),
}


def _refuse_all(*_):
  raise Refused('it refers to objects that it cannot hold')


def load(
  file: io.BytesIO,
  admitted: Mapping[str, Any],
  *,
  persistent: Callable[[Any], Any] = _refuse_all,
  build: Callable[[Any, Any], None] = _refuse_all,
) -> Any:
  """What one pickle holds; `file` is left behind its end.

  Args:
    file: at the start of a pickle.
    admitted: values by dotted name, all that the pickle may name. It may call
      those that are a `Function`.
    persistent: maps a persistent id to the object it stands for.
    build: `(object, state)`, told of the state of an object.

  Returns:
    The object.

  Raises:
    Refused: the pickle is damaged, too long, or asks for something else.

  Example:
    >>> import pickle
    >>> load(io.BytesIO(pickle.dumps({'epoch': (1, 2.5)}, protocol=2)), {})
    {'epoch': (1, 2.5)}
  """
  stack: list[Any] = []
  marks: list[int] = []
  memo: dict[int, Any] = {}
  handed = 0  # bytes of arguments, which a file may pass again and again

  def since_mark():
    start = marks.pop()
    items = stack[start:]
    del stack[start:]
    return items

  try:
    for name, value in _operations(file):
      if name in _PUSHED:
        stack.append(value)
      elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
      elif name in _EMPTY:
        stack.append(_EMPTY[name]())
      elif name in _TUPLES:
        items = [stack.pop() for _ in range(_TUPLES[name])]
        stack.append(tuple(reversed(items)))
      elif name == 'MARK':
        marks.append(len(stack))
      elif name == 'TUPLE':
        stack.append(tuple(since_mark()))
      elif name in ('BINPUT', 'LONG_BINPUT'):
        memo[value] = stack[-1]
      elif name == 'MEMOIZE':
        memo[len(memo)] = stack[-1]
      elif name in ('BINGET', 'LONG_BINGET'):
        stack.append(memo[value])
      elif name == 'APPEND':
        _extend(stack[-2], [stack.pop()])
      elif name == 'APPENDS':
        items = since_mark()
        _extend(stack[-1], items)
      elif name == 'SETITEM':
        _update(stack[-3], [stack.pop(-2), stack.pop()])
      elif name == 'SETITEMS':
        items = since_mark()
        _update(stack[-1], items)
      elif name == 'ADDITEMS':
        items = since_mark()
        stack[-1].update(map(plain_key, items))
      elif name == 'GLOBAL':
        stack.append(_named(value, admitted))
      elif name == 'STACK_GLOBAL':
        module, attribute = stack.pop(-2), stack.pop()
        stack.append(_named(f'{module}.{attribute}', admitted))
      elif name in ('REDUCE', 'NEWOBJ'):
        arguments = stack.pop()
        handed += sum(map(_weight, arguments))
        if handed > LONGEST:
          raise Refused('it copies what it holds again and again')
        stack.append(_call(stack.pop(), arguments))
      elif name == 'BINPERSID':
        stack.append(persistent(stack.pop()))
      elif name == 'BUILD':
        state = stack.pop()
        build(stack[-1], state)
      elif name == 'STOP':
        return stack.pop()
  except Refused:
    raise
  except (LookupError, TypeError, ValueError, AttributeError) as error:
    raise Refused(
      f'its pickle is cut short or damaged ({type(error).__name__})'
    ) from error


def _operations(file: io.BytesIO) -> Iterator[tuple[str, Any]]:
  for _ in range(MOST_OPERATIONS):
    code = file.read(1)
    operation = pickletools.code2op.get(code.decode('latin-1'))
    if operation is None:
      raise Refused('its pickle is cut short or damaged')
    if operation.name not in _KNOWN:
      raise Refused(f'it asks for {operation.name}, which no checkpoint needs')
    value = None
    if operation.name == 'GLOBAL':
      module, attribute = file.readline(), file.readline()
      value = f'{module[:-1].decode()}.{attribute[:-1].decode()}'
    elif operation.arg is not None:
      value = operation.arg.reader(file)
    yield operation.name, value
  raise Refused(f'its pickle has more than {MOST_OPERATIONS} operations')


def _named(name, admitted):
  if name not in admitted:
    raise Refused(
      f'it names {name[:80]}, which no checkpoint of weights needs; nothing '
      'of it was run'
    )
  return admitted[name]


def _call(function, arguments):
  if type(function) is not Function or type(arguments) is not tuple:
    raise Refused('it calls something that is no function')
  return function.call(*arguments)


def _weight(argument):
  if type(argument) in (str, bytes):
    return len(argument)
  containers = (list, tuple, dict, set)
  return _ELEMENT * len(argument) if type(argument) in containers else 0


def _extend(target, items):
  if type(target) is not list:
    raise Refused('it appends to something that is no list')
  target.extend(items)


def _update(target, items):
  if not isinstance(target, dict) or len(items) % 2:
    raise Refused('it sets items of something that is no dict')
  for key, value in zip(items[::2], items[1::2], strict=True):
    target[plain_key(key)] = value


def plain_key(key: Any) -> Any:
  """A key that hashes at once, and not by walking through a structure.

  Raises:
    Refused: it is anything but a plain value or a tuple of such.
  """
  parts = key if type(key) is tuple else (key,)
  for part in parts:
    if not isinstance(part, (str, bytes, int, float, type(None))):
      raise Refused('a key in it is no plain value')
    if isinstance(part, int) and abs(part) >= _LARGEST_KEY:
      raise Refused('a key in it is a number out of range')
  return key
