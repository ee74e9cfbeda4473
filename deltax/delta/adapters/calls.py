"""How a network is called where its user does not say."""

import functools
import inspect
from typing import Any

from deltax.delta.adapters.network import Call
from deltax.types import Array

_FLAGS = {'train': True, 'training': True, 'is_training': True}
_FLAGS['deterministic'] = False  # is the other way round


def default_call(kind: type) -> Call:
  """`(module, frames, train) -> outputs` of modules of a class.

  The flag that tells a module whether it is trained is given where the class
  has one, by the names that are usual.
  """
  named = inspect.signature(kind.__call__).parameters
  flag = next((flag for flag in _FLAGS if flag in named), None)
  return functools.partial(_called, flag)


def _called(flag: str | None, module: Any, frames: Array, train: bool) -> Any:
  if flag is None:
    return module(frames)
  return module(frames, **{flag: train == _FLAGS[flag]})
