"""Networks and functions that somebody brings, told by a text.

`ddrnet23_slim` is a network of ours, `package.module:factory` a function of a
module that Python finds, `path/to/file.py:factory` one of a file.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import operator
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
from flax import nnx

from deltax.errors import DeltaxError
from deltax.models import MODELS, create

Net = nn.Module | nnx.Module
_FORMS = "'package.module:name' or 'path/to/file.py:name'"
# What files have imported from their own folders, by folder.
_BESIDE: dict[str, dict[str, Any]] = {}


def load(name: str, options: Mapping[str, Any]) -> Net:
  """A network by its name.

  Args:
    name: of one of ours, as `deltax.models.create` takes it; or where its
      factory is, `package.module:factory` or `path/to/file.py:factory`: a
      function or class that gives a linen or nnx module, or such a module.
      Files import what lies beside them, when they are loaded or the factory
      is called.
    options: keyword arguments. Where a factory wants `rngs` and is given none,
      it gets `nnx.Rngs(0)`: the weights come from elsewhere.

  Returns:
    The linen or nnx module.

  Raises:
    DeltaxError: there is no such network, file, module or name in it; the
      file or module cannot be imported; it cannot have these options; or what
      it gives is no network.

  Example:
    >>> load('ddrnet23_tiny', {'num_classes': 11}).num_classes
    11
    >>> load('flax.linen:Dense', {'features': 4}).features
    4
  """
  if ':' not in name:
    return _of_ours(name, options)
  with _importable(_folder(name)):
    factory = _found(name)
    if isinstance(factory, Net) and not options:
      return factory
    if isinstance(factory, Net) or not callable(factory):
      raise DeltaxError(
        f'{name} is a {type(factory).__name__}, which takes no options; '
        'expected a function that makes a network'
      )
    net = _made(name, factory, dict(options))
  if isinstance(net, Net):
    return net
  kind = net if inspect.isclass(net) else type(net)
  told = 'the class' if inspect.isclass(net) else 'a'
  raise DeltaxError(
    f'{name} gives {told} {kind.__name__}, expected a flax.linen or flax.nnx '
    'module'
  )


def function(name: str) -> Callable[..., Any]:
  """A function by its name.

  Args:
    name: `package.module:function` or `path/to/file.py:function`. A file
      imports what lies beside it when it is loaded, not when it is called.

  Raises:
    DeltaxError: there is no such file, module or name in it; it cannot be
      imported; or it is no function.

  Example:
    >>> function('math:gcd')(12, 18)
    6
  """
  with _importable(_folder(name)):
    found = _found(name)
  if not callable(found):
    raise DeltaxError(f'{name} is a {type(found).__name__}, no function')
  return found


def _of_ours(name: str, options: Mapping[str, Any]) -> Net:
  if name not in MODELS:
    raise DeltaxError(
      f'no network {name!r}; expected {_FORMS}, or one of {", ".join(MODELS)}'
    )
  if 'num_classes' not in options:
    raise DeltaxError(f'the network {name!r} needs the option num_classes')
  return create(name, **options)


def _made(name: str, factory: Callable[..., Any], options: dict) -> Any:
  if _wants_rngs(factory):
    options.setdefault('rngs', nnx.Rngs(0))
  try:
    return factory(**options)
  # The first of a wrong name, both of a value that it cannot take.
  except (TypeError, ValueError) as error:
    given = [key for key in options if key != 'rngs']
    told = f'the options {", ".join(given)}' if given else 'no options'
    raise DeltaxError(
      f'{name} cannot be made with {told}: {_line(error)}'
    ) from error


def _wants_rngs(factory: Callable[..., Any]) -> bool:
  # The signature of a class of nnx is that of all classes.
  target = factory.__init__ if inspect.isclass(factory) else factory
  try:
    rngs = inspect.signature(target).parameters.get('rngs')
  except (TypeError, ValueError):  # of some that are written in C
    return False
  return rngs is not None and rngs.default is rngs.empty


def _split(name: str) -> tuple[str, str]:
  """A file or module, and a name in it."""
  place, _, attribute = name.rpartition(':')
  if not place or not attribute:
    raise DeltaxError(f'{name!r} names no function; expected {_FORMS}')
  return place, attribute


def _is_file(place: str) -> bool:
  return place.endswith('.py') or os.sep in place


def _folder(name: str) -> str:
  """The folder that the code named may import from."""
  place, _ = _split(name)
  if _is_file(place):
    return str(pathlib.Path(place).expanduser().resolve().parent)
  return os.getcwd()


def _found(name: str) -> Any:
  """What a name is, its folder being importable."""
  place, attribute = _split(name)
  module = (_file if _is_file(place) else _module)(place)
  try:
    return operator.attrgetter(attribute)(module)
  except AttributeError as error:
    known = ', '.join(_defined(module))
    raise DeltaxError(
      f'{place} has no {attribute!r}; it has {known or "nothing"}'
    ) from error


def _defined(module: Any) -> list[str]:
  """What a module defines that may be meant, the first ten names."""
  return [
    key
    for key, value in vars(module).items()
    if not key.startswith('_')
    and callable(value)
    and getattr(value, '__module__', '') == module.__name__
  ][:10]


def _file(place: str) -> Any:
  """The module of a file, the same however often it is asked for."""
  path = pathlib.Path(place).expanduser().resolve()
  if not path.is_file():
    raise DeltaxError(f'there is no file {place}')
  digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
  name = f'_brought_{digest}_{path.stem}'
  if name in sys.modules:
    return sys.modules[name]
  spec = importlib.util.spec_from_file_location(name, path)
  if spec is None:
    raise DeltaxError(f'{place} is no file of Python, which ends in .py')
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module  # dataclasses look themselves up there
  try:
    with _told(place):
      spec.loader.exec_module(module)
  except BaseException:
    del sys.modules[name]
    raise
  return module


def _module(name: str) -> Any:
  try:
    with _told(name):
      return importlib.import_module(name)
  except DeltaxError as error:
    absent = getattr(error.__cause__, 'name', None)
    if isinstance(error.__cause__, ModuleNotFoundError) and (
      name == absent or name.startswith(f'{absent}.')
    ):
      raise DeltaxError(f'there is no module {name!r}') from error
    raise


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
  """What is wrong with code that is imported, in a sentence."""
  try:
    yield
  except (Exception, SystemExit) as error:
    raise DeltaxError(
      f'{place} cannot be imported: {type(error).__name__}: {_line(error)}'
    ) from error


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
  """While the code of a folder runs, what lies there can be imported.

  The path of imports is afterwards what it was. Modules of one name in two
  folders are kept apart: each folder's code sees its own.
  """
  if folder in (os.path.abspath(place) for place in sys.path):
    yield
    return
  others = {
    name: sys.modules.pop(name)
    for other, modules in _BESIDE.items()
    for name, module in modules.items()
    if other != folder and sys.modules.get(name) is module
  }
  own = _BESIDE.setdefault(folder, {})
  for name, module in own.items():
    sys.modules.setdefault(name, module)
  before = set(sys.modules)
  sys.path.insert(0, folder)
  importlib.invalidate_caches()
  try:
    yield
  finally:
    if folder in sys.path:
      sys.path.remove(folder)
    for name in set(sys.modules) - before:
      if _is_beside(name.partition('.')[0], folder):
        own[name] = sys.modules[name]
    for name, module in others.items():
      sys.modules.setdefault(name, module)


def _is_beside(name: str, folder: str) -> bool:
  """Whether a top-level module is a file or folder of `folder`."""
  module = sys.modules.get(name)
  places = [getattr(module, '__file__', None), *_paths(module)]
  within = (
    os.path.join(folder, f'{name}.py'),
    os.path.join(folder, name),
    os.path.join(folder, name, '__init__.py'),
  )
  return any(os.path.realpath(place) in within for place in places if place)


def _paths(module: Any) -> list[str]:
  return list(getattr(module, '__path__', ()))


def _line(error: BaseException) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
