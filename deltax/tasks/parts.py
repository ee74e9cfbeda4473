"""What the tasks of every kind share."""

from typing import Any

from deltax.convert import packaged
from deltax.types import Array, ModelState, Params


def variables_of(params: Params, model_state: ModelState) -> dict[str, Any]:
  """The teacher's variables, from what is trained and what is tracked."""
  return {
    'params': params['teacher'],
    'batch_stats': model_state['batch_stats'],
  }


def delta_params(params: Params, model_state: ModelState) -> Params:
  """Parameters of a delta network, its gates as a search has settled them."""
  gates = {
    name: model_state[name] for name in ('gates',) if name in model_state
  }
  return {**params, **gates, 'teacher': variables_of(params, model_state)}


def start(variables: Any, pretrained: str) -> Any:
  """Variables whose backbone has packaged weights, if any are asked for."""
  return packaged.start(variables, pretrained) if pretrained else variables


def fold(x: Array) -> Array:
  """`[B, T, ...]` to `[B * T, ...]`: the frames of all clips as one batch."""
  return x.reshape(-1, *x.shape[2:])


def unfold(x: Array, batch: int) -> Array:
  """`[B * T, ...]` to `[B, T, ...]`, the inverse of `fold`."""
  return x.reshape(batch, -1, *x.shape[1:])
