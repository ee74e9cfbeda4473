"""One step of training: losses, exact gradients, update."""

import jax
import jax.numpy as jnp
import optax

from deltax.task import Task
from deltax.training.optimizers import learning_rates
from deltax.training.parallel import (
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

  Returns:
    The next state, and metrics that are the same on every device: each loss by
    its name, 'loss' (their sum), 'gradient_norm' and 'learning_rate...'.

  Raises:
    ValueError: a loss that is neither `[]` nor `[B]`, or is called 'loss'.
  """
  mask = jnp.asarray(batch['mask'], jnp.float32)
  examples = jnp.maximum(sum_over_devices(mask.sum(), axis_name), 1)
  key = jax.random.fold_in(state.key, state.step)

  def share(name: str, loss: Array) -> Array:
    """What this device adds to a loss of the whole batch."""
    if name == 'loss' or loss.shape not in ((), mask.shape):
      raise ValueError(
        f'loss {name!r} of shape {loss.shape}: expected [] or [B] = '
        f"{mask.shape}, and a name other than 'loss', which is the sum"
      )
    if loss.ndim:
      return jnp.where(mask > 0, loss, 0).sum() / examples
    return loss / axis_size(axis_name)

  def objective(params):
    losses, model_state = task.losses(params, state.model_state, batch, key)
    shares = {name: share(name, loss) for name, loss in losses.items()}
    return sum(shares.values()), (shares, model_state)

  gradient = jax.grad(objective, has_aux=True)
  gradients, (losses, model_state) = gradient(state.params)
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
