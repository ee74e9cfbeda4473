"""The losses of delta distillation, pure and per example.

Source: Habibian et al., ECCV 2022, sections 3.1 and 3.2.
"""

from collections.abc import Mapping

import jax.numpy as jnp

from deltax.types import Array


def distillation(
  predicted: Mapping[str, Array], target: Mapping[str, Array]
) -> dict[str, Array]:
  """Mean squared error of every layer's predicted change.

  Args:
    predicted: `[B, T', H, W, N]` change of a layer's output by layer, from the
      students.
    target: the teacher's own, of the same shapes.

  Returns:
    `[B]` by layer: the mean over everything but the clips.
  """
  return {
    name: jnp.square(delta - target[name]).mean(tuple(range(1, delta.ndim)))
    for name, delta in predicted.items()
  }


def average(errors: Mapping[str, Array]) -> Array:
  """`[B]` mean over layers of `[B]` errors."""
  return jnp.stack(list(errors.values())).mean(0)


def budget(
  gates: Mapping[str, Array],
  costs: Mapping[str, tuple[float, ...]],
  teacher: Mapping[str, float],
) -> Array:
  """Expected cost of the gated layers, as a share of the teacher's.

  Args:
    gates: `[K]` weights of the candidates, by layer.
    costs: cost of each of the K candidates, by layer.
    teacher: cost of the teacher's own layers.

  Returns:
    `[]`: the sum of weight times cost over all layers and candidates, divided
    by the sum of the teacher's costs.

  Example:
    >>> gates = {'conv': jnp.array([0.25, 0.75])}
    >>> float(budget(gates, {'conv': (128.0, 32.0)}, {'conv': 128.0}))
    0.4375
  """
  expected = [
    jnp.dot(gate, jnp.asarray(costs[path], gate.dtype))
    for path, gate in gates.items()
  ]
  return jnp.stack(expected).sum() / sum(teacher.values())
