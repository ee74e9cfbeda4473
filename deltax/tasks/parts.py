"""What the tasks of every kind share."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deltax.types import Array, ModelState, Params


def variables_of(params: Params, model_state: ModelState) -> dict[str, Any]:
  """The teacher's variables, from what is trained and what is tracked."""
  return {
    'params': params['teacher'],
    # A network may have none, and a saved tree has no empty branches.
    'batch_stats': model_state.get('batch_stats', {}),
  }


def delta_params(params: Params, model_state: ModelState) -> Params:
  """Parameters of a delta network, its gates as a search has settled them."""
  gates = {
    name: model_state[name] for name in ('gates',) if name in model_state
  }
  teacher = variables_of(params, model_state)
  # A saved tree has no empty branches, as of students without parameters.
  return {'students': {}, **params, **gates, 'teacher': teacher}


def teacher_beside(options: Mapping[str, Any]) -> Any:
  """The variables that a delta network started from, by its task's options.

  Returns:
    None where they were drawn, and for a network without delta: it has left
    them behind.
  """
  return None if options.get('delta') is None else options.get('teacher')


def fold(x: Array) -> Array:
  """`[B, T, ...]` to `[B * T, ...]`: the frames of all clips as one batch."""
  return x.reshape(-1, *x.shape[2:])


def unfold(x: Array, batch: int) -> Array:
  """`[B * T, ...]` to `[B, T, ...]`, the inverse of `fold`."""
  return x.reshape(batch, -1, *x.shape[1:])


def options_of(
  function: Callable[..., Any], *, needed: bool = False
) -> list[str]:
  """Names of the keyword options that a function has, or cannot do without."""
  kinds = inspect.Parameter.KEYWORD_ONLY
  parameters = inspect.signature(function).parameters.values()
  return [
    each.name
    for each in parameters
    if each.kind == kinds and (each.default is each.empty or not needed)
  ]


def check_options(
  what: str,
  given: Iterable[str],
  known: Iterable[str],
  needed: Iterable[str] = (),
) -> None:
  """Raises a ValueError that names an unknown or a missing option."""
  given, known = list(given), list(known)
  unknown = [repr(name) for name in given if name not in known]
  if unknown:
    raise ValueError(
      f'{what} has no option {", ".join(unknown)}; known: {", ".join(known)}'
    )
  missing = [repr(name) for name in needed if name not in given]
  if missing:
    raise ValueError(f'{what} needs the option {", ".join(missing)}')
