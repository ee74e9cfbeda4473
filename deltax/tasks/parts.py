"""What the tasks of every kind share."""

from typing import Any

import jax.numpy as jnp

from deltax.convert import packaged
from deltax.types import Array, ModelState, Params

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(frames: Array) -> Array:
  """uint8 RGB, 0 to 255, to float32 of about zero mean and unit variance."""
  mean, std = (jnp.asarray(x, jnp.float32) * 255 for x in (MEAN, STD))
  axes = tuple(range(frames.ndim - 1))
  mean, std = jnp.expand_dims(mean, axes), jnp.expand_dims(std, axes)
  return (frames.astype(jnp.float32) - mean) / std


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
