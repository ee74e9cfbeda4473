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
    `[B]` by layer: the mean over everything but the clips; float32 of layers
    that compute in less.
  """
  errors = {}
  for name, delta in predicted.items():
    # A sum of squares in less loses all small ones, or is infinite.
    exact = jnp.promote_types(delta.dtype, jnp.float32)
    error = delta.astype(exact) - target[name].astype(exact)
    errors[name] = jnp.square(error).mean(tuple(range(1, delta.ndim)))
  return errors


def average(errors: Mapping[str, Array]) -> Array:
  """`[B]` mean over layers of `[B]` errors."""
  return jnp.stack(list(errors.values())).mean(0)


def last_calls(errors: Mapping[str, Array]) -> dict[str, Array]:
  """Keeps only the last call of layers that are called several times a frame.

  The published code overwrites a layer's change at every call.

  Args:
    errors: by layer call, as `distillation` names them.

  Returns:
    The entries that are left, by module path.

  Example:
    >>> last_calls({'head:10': 3, 'head:9': 2, 'head': 1, 'stem': 4})
    {'head': 3, 'stem': 4}
  """
  last: dict[str, tuple[int, Array]] = {}
  for name, error in errors.items():
    path, _, call = name.partition(':')
    number = int(call or 0)
    if path not in last or number > last[path][0]:
      last[path] = (number, error)
  return {path: error for path, (_, error) in last.items()}


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
    by the sum of the teacher's costs; 0 where no layer has a gate.

  Example:
    >>> gates = {'conv': jnp.array([0.25, 0.75])}
    >>> float(budget(gates, {'conv': (128.0, 32.0)}, {'conv': 128.0}))
    0.4375
  """
  expected = [
    jnp.dot(gate, jnp.asarray(costs[path], gate.dtype))
    for path, gate in gates.items()
  ]
  return sum(expected, jnp.zeros(())) / sum(teacher.values())
