"""Where a network's arrays are in a file, as somebody may say it.

A function gives the key of an array by its path in the network, and tells in an
attribute `unused` which keys may be left over. A table has keys by paths, and
at the path '' a list of those that may be left over.
"""

from collections import abc
from collections.abc import Callable, Sequence
from typing import Any

from deltax import plain
from deltax.errors import DeltaxError
from deltax.models import brought

Table = abc.Mapping[str, Any]
Function = Callable[[str], str]


def read_mapping(name: str) -> Table | Function:
  """A mapping as `match` takes it, by its name.

  Args:
    name: of a JSON file that holds a table; or of a function, as
      `deltax.models.brought.function` takes it.

  Raises:
    FileNotFoundError: there is no such file.
    DeltaxError: there is no such function.
    ValueError: the file holds no table.
  """
  if not name.endswith('.json'):
    return brought.function(name)
  table = plain.read_json(name, plain.DICT, problem='is no table of keys')
  unused = [plain.TEXT] if '' in table else None
  form = {path: plain.TEXT for path in table if path}
  return plain.check(
    table,
    form | ({'': unused} if unused else {}),
    name,
    problem='is no table of keys',
  )


def keys_told(
  paths: Sequence[str], mapping: Table | Function | None
) -> tuple[dict[str, str], Sequence[str]]:
  """Keys by paths as a mapping tells them, and keys that may be left over.

  Args:
    paths: of the network's arrays.
    mapping: as `match` takes it.

  Raises:
    DeltaxError: a function fails for a path, or gives something else than text.
  """
  if mapping is None:
    return {}, ()
  if callable(mapping):
    told = {path: _asked(mapping, path) for path in paths}
    unused = getattr(mapping, 'unused', ())
  else:
    told = {path: key for path, key in mapping.items() if path}
    unused = mapping.get('', ())
  return told, [unused] if isinstance(unused, str) else list(unused)


def _asked(mapping: Callable[[str], str], path: str) -> str:
  try:
    key = mapping(path)
  except Exception as error:  # whatever its user wrote
    raise DeltaxError(
      f'the mapping fails for {path}: {type(error).__name__}: {error}'
    ) from error
  if not isinstance(key, str):
    raise DeltaxError(
      f'the mapping gives {key!r:.80} for {path}, expected the key of an array'
    )
  return key
