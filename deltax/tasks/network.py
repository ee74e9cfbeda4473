"""The network that a task's options name, and what it is shown."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from deltax import models
from deltax.delta.adapters import Network, as_network, first_variables
from deltax.models.brought import load
from deltax.models.inputs import make_preparation, normalise
from deltax.types import Array, Key


class Brought(NamedTuple):
  """A network as somebody brings it.

  Attributes:
    module: of linen or nnx.
    net: the same, as the transform sees it.
    prepare: from uint8 RGB frames `[..., H, W, 3]` to what it takes.
  """

  module: Any
  net: Network
  prepare: Callable[[Array], Array]

  def variables(self, key: Key, frame: Array) -> Any:
    """Such as it starts with; those of nnx are in the module."""
    return first_variables(self.module, key, frame)

  def shapes(self, frame: Any) -> Any:
    """Shapes of the variables; of a frame only the shape matters."""
    return jax.eval_shape(self.variables, jax.random.key(0), frame)


def bring(
  model: str,
  options: Mapping[str, Any] | None = None,
  preparation: Mapping[str, Any] | None = None,
) -> Brought:
  """A network by its name; see `deltax.tasks.imitation.task.make_task`.

  Raises:
    ValueError: there is no such network, option, or function of preparation.
  """
  module = load(model, options or {})
  prepare = make_preparation(**(preparation or {}))
  return Brought(module, as_network(module), prepare)


def brought_by(task: Mapping[str, Any]) -> Brought:
  """The network of a run, from the options of its task."""
  if task.get('name') == 'imitation':
    return bring(task['model'], task.get('options'), task.get('preparation'))
  net = models.create(task['model'], num_classes=task['num_classes'])
  return Brought(net, as_network(net), normalise)
