"""Pickles read as plain data, whatever they ask for.

`pickle.loads` imports and calls whatever a file names. Here a file can name
only what the caller admits, and a machine of some forty operations puts
containers together; any other operation is refused. Nothing is imported, no
method of a loaded object is called, and nothing is hashed but plain keys.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from deltax.errors import DeltaxError
from deltax.plain import written

LONGEST = 64 << 20  # bytes of pickles that a file may hold
MOST_OPERATIONS = 1_000_000
_LARGEST_KEY = 1 << 64
_ELEMENT = 100  # bytes, about, of an element of a container
_COPIED = 12  # bytes of arguments for each operation, where there are many


class Refused(DeltaxError):
  """What a file holds is damaged, or no part of a checkpoint."""


class Function(NamedTuple):
  """A function that a file may call by its name."""

  call: Callable[..., Any]


def _refuse_all(*_):
  raise Refused('it refers to objects that it cannot hold')


def load(
  file: io.BytesIO,
  admitted: Mapping[str, Any],
  *,
  persistent: Callable[[Any], Any] = _refuse_all,
  build: Callable[[Any, Any], None] = _refuse_all,
  most_operations: int | None = None,
  purpose: str = 'checkpoint of weights',
) -> Any:
  """What one pickle holds; `file` is left behind its end.

  Args:
    file: at the start of a pickle.
    admitted: values by dotted name, all that the pickle may name. It may call
      those that are a `Function`.
    persistent: maps a persistent id to the object it stands for.
    build: `(object, state)`, told of the state of an object.
    most_operations: that the pickle may take; None for a million.
    purpose: what the pickle should be, for messages.

  Returns:
    The object.

  Raises:
    Refused: the pickle is damaged, too long, or asks for something else.

  Example:
    >>> import pickle
    >>> load(io.BytesIO(pickle.dumps({'epoch': (1, 2.5)}, protocol=2)), {})
    {'epoch': (1, 2.5)}
  """
  most_operations = most_operations or MOST_OPERATIONS
  machine = _Machine(admitted, persistent, build, purpose)
  machine.most_handed = max(LONGEST, _COPIED * most_operations)
  try:
    for name, value in _operations(file, most_operations, purpose):
      if name == 'STOP':
        return machine.stack.pop()
      _DO[name](machine, value)
  except Refused:
    raise
  except (
    *(LookupError, TypeError, ValueError, AttributeError, OverflowError),
  ) as error:
    raise Refused(
      f'its pickle is cut short or damaged ({type(error).__name__})'
    ) from error


class _Machine:
  """What a pickle has put together so far, and what it may ask for.

  Each method is an operation; most take what lies on top of the stack.
  """

  def __init__(self, admitted, persistent, build, purpose):
    self.admitted, self.persistent, self.told = admitted, persistent, build
    self.purpose = purpose
    self.stack: list[Any] = []
    self.marks: list[int] = []
    self.memo: dict[int, Any] = {}
    # Bytes of arguments: a file that passes the same ones again and again to
    # functions that copy them would fill the memory.
    self.handed, self.most_handed = 0, LONGEST

  def push(self, value):
    self.stack.append(value)

  def mark(self, _):
    self.marks.append(len(self.stack))

  def since_mark(self):
    start = self.marks.pop()
    items = self.stack[start:]
    del self.stack[start:]
    return items

  def tuple_of(self, count):
    items = [self.stack.pop() for _ in range(count)]
    self.push(tuple(reversed(items)))

  def tuple(self, _):
    self.push(tuple(self.since_mark()))

  def list(self, _):
    self.push(self.since_mark())

  def dict(self, _):
    items = self.since_mark()
    self.push({})
    _update(self.stack[-1], items)

  def frozenset(self, _):
    self.push(frozenset(map(plain_key, self.since_mark())))

  def put(self, place):
    self.memo[place] = self.stack[-1]

  def memoize(self, _):
    self.put(len(self.memo))

  def get(self, place):
    self.push(self.memo[place])

  def append(self, _):
    _extend(self.stack[-2], [self.stack.pop()])

  def appends(self, _):
    items = self.since_mark()
    _extend(self.stack[-1], items)

  def set_item(self, _):
    _update(self.stack[-3], [self.stack.pop(-2), self.stack.pop()])

  def set_items(self, _):
    items = self.since_mark()
    _update(self.stack[-1], items)

  def add_items(self, _):
    items = self.since_mark()
    self.stack[-1].update(map(plain_key, items))

  def name(self, name):
    self.push(_named(name, self.admitted, self.purpose))

  def name_of_stack(self, _):
    module, attribute = self.stack.pop(-2), self.stack.pop()
    self.name(f'{module}.{attribute}')

  def call(self, _):
    arguments = self.stack.pop()
    self.handed += sum(map(_weight, arguments))
    if self.handed > self.most_handed:
      raise Refused('it copies what it holds again and again')
    self.push(_call(self.stack.pop(), arguments))

  def persist(self, _):
    self.push(self.persistent(self.stack.pop()))

  def build(self, _):
    state = self.stack.pop()
    self.told(self.stack[-1], state)


def _pushing(make):
  """An operation that pushes a new value: an empty container must be new."""
  return lambda machine, _: machine.push(make())


def _tuple_of(count):
  return lambda machine, _: machine.tuple_of(count)


# Every operation that a pickle may ask for; 'STOP' alone stands in `load`.
_DO: dict[str, Callable[[_Machine, Any], None]] = {
  **dict.fromkeys(
    (
      *('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'),
      *('BINUNICODE', 'SHORT_BINUNICODE', 'SHORT_BINSTRING', 'BINSTRING'),
      *('BINBYTES', 'SHORT_BINBYTES'),
      *('INT', 'LONG', 'FLOAT', 'STRING', 'UNICODE'),  # of protocol 0
    ),
    _Machine.push,
  ),
  **dict.fromkeys(('PROTO', 'FRAME'), lambda machine, _: None),
  'NONE': _pushing(lambda: None),
  'NEWTRUE': _pushing(lambda: True),
  'NEWFALSE': _pushing(lambda: False),
  'EMPTY_DICT': _pushing(dict),
  'EMPTY_LIST': _pushing(list),
  'EMPTY_TUPLE': _pushing(tuple),
  'EMPTY_SET': _pushing(set),
  'TUPLE1': _tuple_of(1),
  'TUPLE2': _tuple_of(2),
  'TUPLE3': _tuple_of(3),
  'MARK': _Machine.mark,
  'TUPLE': _Machine.tuple,
  'LIST': _Machine.list,
  'DICT': _Machine.dict,
  'FROZENSET': _Machine.frozenset,
  'APPEND': _Machine.append,
  'APPENDS': _Machine.appends,
  'SETITEM': _Machine.set_item,
  'SETITEMS': _Machine.set_items,
  'ADDITEMS': _Machine.add_items,
  **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT'), _Machine.put),
  **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), _Machine.get),
  'MEMOIZE': _Machine.memoize,
  'GLOBAL': _Machine.name,
  'STACK_GLOBAL': _Machine.name_of_stack,
  **dict.fromkeys(('REDUCE', 'NEWOBJ'), _Machine.call),
  'BINPERSID': _Machine.persist,
  'BUILD': _Machine.build,
}
_KNOWN = {*_DO, 'STOP'}


def _operations(
  file: io.BytesIO, most: int, purpose: str
) -> Iterator[tuple[str, Any]]:
  for _ in range(most):
    code = file.read(1)
    operation = pickletools.code2op.get(code.decode('latin-1'))
    if operation is None:
      raise Refused('its pickle is cut short or damaged')
    if operation.name not in _KNOWN:
      raise Refused(f'it asks for {operation.name}, which no {purpose} needs')
    value = None
    if operation.name == 'GLOBAL':
      module, attribute = file.readline(), file.readline()
      value = f'{module[:-1].decode()}.{attribute[:-1].decode()}'
    elif operation.arg is not None:
      value = operation.arg.reader(file)
    yield operation.name, value
  raise Refused(f'its pickle has more than {most} operations')


def _named(name, admitted, purpose):
  if name not in admitted:
    raise Refused(
      f'it names {written(name)}, which no {purpose} needs; nothing was run'
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
