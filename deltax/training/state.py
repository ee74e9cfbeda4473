"""Everything that training changes, as one pytree of arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from deltax.task import Task
from deltax.types import Array, Batch, Key, ModelState, Params


class TrainState(NamedTuple):
  """What a training step takes and gives back; it holds arrays only.

  Attributes:
    step: int32 `[]`, the number of steps done, which is also the index of the
      next batch.
    params: what the optimizer changes.
    model_state: running statistics, changed by the forward pass.
    opt_state: the optimizer's own state.
    key: typed key `[]` of the whole run. It never changes: step `s` uses
      `fold_in(key, s)`, so a restarted run draws the same noise.
  """

  step: Array
  params: Params
  model_state: ModelState
  opt_state: optax.OptState
  key: Key


def create_state(
  task: Task,
  optimizer: optax.GradientTransformation,
  batch: Batch,
  seed: int,
) -> TrainState:
  """The state before the first step.

  Args:
    task: gives `params` and `model_state`.
    optimizer: gives `opt_state`.
    batch: the first batch of the training data.
    seed: the only source of randomness of the run.

  Returns:
    A state that shares no memory with what `task.init` returned, so that it may
    be donated to a step.
  """
  init_key, key = jax.random.split(jax.random.key(seed))
  params, model_state = task.init(init_key, batch)
  params, model_state = jax.tree.map(_copy, (params, model_state))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    model_state=model_state,
    opt_state=jax.tree.map(_copy, optimizer.init(params)),
    key=key,
  )


def not_finite(state: TrainState) -> list[str]:
  """Names of the leaves that hold a NaN or an infinity, '/' between keys."""
  flags = jax.device_get(_finite_flags(state))
  return [
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, finite in jax.tree_util.tree_leaves_with_path(flags)
    if not finite
  ]


@jax.jit
def _finite_flags(state: TrainState) -> TrainState:
  def finite(x: Array) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.floating):
      return jnp.array(True)
    return jnp.isfinite(x).all()

  return jax.tree.map(finite, state)


def _copy(x: Array) -> Array:
  # An explicit dtype also makes a weakly typed leaf strong: otherwise the
  # second step would see another type than the first, and compile again.
  return jnp.array(x, dtype=jnp.asarray(x).dtype, copy=True)
