"""One step of training: losses, exact gradients, update."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from deltax.layers import noise
from deltax.task import Task
from deltax.training.optimizers import learning_rates
from deltax.training.parallel import (
  axis_index,
  axis_size,
  mean_over_devices,
  sum_over_devices,
)
from deltax.training.state import TrainState
from deltax.types import Array, Batch


def train_step(
  state: TrainState,
  batch: Batch,
  *,
  task: Task,
  optimizer: optax.GradientTransformation,
  axis_name: str | None = None,
  accumulate: int = 1,
) -> tuple[TrainState, dict[str, Array]]:
  """Minimises the sum of a task's losses over one batch.

  A `[B]` loss counts by its mean over the examples of all devices whose mask is
  1; a `[]` loss as it is. The gradient is that of the whole batch, however the
  examples and the masks fall on the devices.

  Args:
    state: the same on every device.
    batch: this device's examples.
    task: its losses get `fold_in(state.key, state.step)`, the same key on every
      device.
    optimizer: any optax transform.
    axis_name: the mapped axis over devices, None where there is none.
    accumulate: parts that each device takes its examples in, one after the
      other, to hold fewer activations. What a task pools over a batch, such as
      batch statistics, is then pooled over a part, and the mean of the parts
      is kept; otherwise the step is that of the whole batch.

  Returns:
    The next state, and metrics that are the same on every device: each loss by
    its name, 'loss' (their sum), 'gradient_norm' and 'learning_rate...'.

  Raises:
    ValueError: a loss that is neither `[]` nor `[B]`, or is called 'loss'; or
      examples that do not divide into the parts.
  """
  whole = jnp.asarray(batch['mask'], jnp.float32).sum()
  whole = jnp.maximum(sum_over_devices(whole, axis_name), 1)
  key = jax.random.fold_in(state.key, state.step)
  first = axis_index(axis_name) * len(batch['mask'])
  parts = accumulate * axis_size(axis_name)

  def of_part(params, batch, place):
    """What some examples add to the losses of the whole batch."""
    count = len(batch['mask'])
    part = noise.Part(first + place, accumulate, count, parts * count)
    # Every part draws what the whole batch does: a reuse that is wanted.
    noise_key = jax.random.clone(key)
    with noise.part_of_batch(part):
      losses, model_state = task.losses(
        params, state.model_state, batch, noise_key
      )
    shares = _shares(losses, batch['mask'], whole, parts)
    return sum(shares.values()), (shares, model_state)

  gradient = jax.grad(of_part, has_aux=True)
  if accumulate == 1:
    gradients, (losses, model_state) = gradient(state.params, batch, 0)
  else:
    gradients, (losses, model_state) = _accumulated(
      functools.partial(gradient, state.params), batch, accumulate
    )
  gradients, losses = sum_over_devices((gradients, losses), axis_name)
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  metrics = {
    **losses,
    'loss': sum(losses.values()),
    'gradient_norm': optax.tree.norm(gradients),
    **learning_rates(opt_state),
  }
  state = state._replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    model_state=mean_over_devices(model_state, axis_name),
    opt_state=opt_state,
  )
  return state, metrics


def _shares(
  losses: Mapping[str, Array], mask: Array, examples: Array, parts: int
) -> dict[str, Array]:
  """What a part of a batch adds to each of its losses.

  Args:
    losses: of the part, `[B]` or `[]`.
    mask: `[B]`.
    examples: real ones of the whole batch.
    parts: of the batch.

  Raises:
    ValueError: see `train_step`.
  """
  shares = {}
  for name, loss in losses.items():
    if name == 'loss' or loss.shape not in ((), mask.shape):
      raise ValueError(
        f'loss {name!r} of shape {loss.shape}: expected [] or [B] = '
        f"{mask.shape}, and a name other than 'loss', which is the sum"
      )
    if loss.ndim:
      shares[name] = jnp.where(mask > 0, loss, 0).sum() / examples
    else:
      shares[name] = loss / parts
  return shares


def _accumulated(gradient, batch: Batch, parts: int):
  """Sums over parts of a batch, one after the other; means of statistics.

  Only one part's activations are alive at a time.
  """
  size = len(batch['mask'])
  if size % parts:
    raise ValueError(
      f'a batch of {size} on a device does not divide into accumulate={parts} '
      'parts'
    )

  def dealt(x):
    # Not one stretch after the other: these lie on different devices.
    return jnp.reshape(x, (size // parts, parts, *x.shape[1:])).swapaxes(0, 1)

  split = jax.tree.map(dealt, batch)

  def add(total, part):
    gradients, (losses, model_state) = gradient(*part)
    summed = jax.tree.map(jnp.add, total, (gradients, losses))
    return summed, model_state

  places = jnp.arange(parts)
  zeros = jax.tree.map(jnp.zeros_like, _shape_of_sums(gradient, split))
  (gradients, losses), states = jax.lax.scan(add, zeros, (split, places))
  return gradients, (losses, jax.tree.map(_mean_or_last, states))


def _shape_of_sums(gradient, split):
  first = jax.tree.map(lambda x: x[0], split)
  gradients, (losses, _) = jax.eval_shape(gradient, first, 0)
  return gradients, losses


def _mean_or_last(x: Array) -> Array:
  return x.mean(0) if jnp.issubdtype(x.dtype, jnp.floating) else x[-1]
