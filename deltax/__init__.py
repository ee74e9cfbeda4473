"""Efficient video networks as pure functions over pytrees.

The modules listed here are imported when they are first used, as
`deltax.delta.distill` or `from deltax import retrieval`.
"""

import importlib
from typing import Any

__version__ = '0.1.0'

_MODULES = frozenset(
  {
    *('boxes', 'convert', 'data', 'delta', 'errors', 'experiment', 'layers'),
    *('losses', 'metrics', 'models', 'report', 'retrieval', 'systems', 'task'),
    *('tasks', 'training', 'types'),
  }
)


def __getattr__(name: str) -> Any:
  if name in _MODULES:
    return importlib.import_module(f'deltax.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted({*globals(), *_MODULES})
