"""How much a network's outputs mind an error in each of its units.

To first order, an error `e` in a unit's output moves the network's outputs by
`g . e`, where `g` is their gradient: so the mean of `g g^T` weighs the errors
of a layer's channels against each other, as in K-FAC, and the squares of `g`
weigh its places. Both come of random sums of the outputs, one of each frame.

Source: Martens and Grosse, ICML 2015, for the two factors.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.delta.plan import Plan
from deltax.delta.units import Unit, path_of
from deltax.types import Array, Key, Params

_PIXELS = 1 << 17  # of the frames that are differentiated at once
_ROWS = 4096  # places of a unit that its channels are weighed by, at a time
_TINY = 1e-30
_FLOOR = 0.1  # where outputs mind nothing, in units of the mean


class Importance(NamedTuple):
  """How much the outputs mind errors in units.

  Attributes:
    places: `[n, P]` by call, for the n later frames (and windows) and P places
      of its output: weights of mean 1.
    channels: `[N, N]` by path, positive definite, of mean diagonal 1.
    scale: by path, what both are relative to: of a unit's errors, so weighted,
      the product with the scale is what they do to the outputs.
  """

  places: dict[str, Array]
  channels: dict[str, np.ndarray]
  scale: dict[str, float]


def features(unit: Unit) -> int:
  """N, the channels of a unit's output."""
  return unit.kernel[-1] if unit.linear else unit.outputs[-1]


def importance(plan: Plan, params: Params, frames: Array) -> Importance:
  """How much a network's outputs mind errors in its units.

  Args:
    plan: for frames of this size.
    params: of the delta network; only the teacher's count.
    frames: `[n, H, W, C]`, the later frames.

  Returns:
    The weights; all are equal where no output has a gradient.
  """
  number = len(frames)
  count = max(1, min(number, _PIXELS // frames[0, ..., 0].size))
  starts = range(0, number, count)
  # Some once more where frames are left over: one program does for all.
  frames = frames[np.arange(count * len(starts)) % number]
  square = jax.jit(functools.partial(_squares, plan))
  places: dict[str, list] = {}
  channels: dict[str, Any] = {}
  for first in starts:
    key = jax.random.fold_in(jax.random.key(0), first)
    squares = square(params, frames[first : first + count], key)
    for name, (rows, outer) in squares.items():
      places.setdefault(name, []).append(rows)
      outer, path = np.asarray(outer, np.float64), path_of(name)
      channels[path] = channels.get(path, 0.0) + outer / len(starts)
  joined = {
    name: jnp.concatenate(parts)[: number * len(parts[0]) // count]
    for name, parts in places.items()
  }
  return _relative(joined, channels)


def _squares(
  plan: Plan, params: Params, frames: Array, key: Key
) -> dict[str, tuple[Array, Array]]:
  """`[n, P]` and `[N, N]` by call: squares of the gradient of a random sum."""
  calls = (*plan.survey.layers, *plan.survey.blocks)
  names = {unit.path: unit for unit, _ in plan.selected.values()}
  units = {
    unit.name: unit
    for unit in (*(u for u in calls if u.path in names), *names.values())
    if plan.is_distilled(unit.name)
  }

  def hook(moved, name, teacher, inputs):
    z = teacher(*inputs)
    return z + moved[name].astype(z.dtype) if name in moved else z

  def summed(moved):
    outputs = plan.run(
      params['teacher'], frames, functools.partial(hook, moved)
    )
    return _random_sum(outputs, key)

  nothing = {
    name: jnp.zeros((len(frames) * unit.windows, *unit.outputs))
    for name, unit in units.items()
  }
  found = {}
  for name, gradient in jax.grad(summed)(nothing).items():
    rows = gradient.reshape(len(gradient), -1, features(units[name]))
    some = rows[:, :: max(1, rows[..., 0].size // _ROWS)]
    outer = jnp.einsum('npi,npj->ij', some, some) / some[..., 0].size
    found[name] = jnp.square(rows).sum(-1), outer
  return found


def _random_sum(outputs: Any, key: Key) -> Array:
  """Of all numbers with random signs, every output in units of its size."""
  total = jnp.zeros(())
  for index, out in enumerate(jax.tree.leaves(outputs)):
    if not jnp.issubdtype(out.dtype, jnp.floating):
      continue
    out = out.astype(jnp.float32)
    signs = jax.random.rademacher(
      jax.random.fold_in(key, index), out.shape, jnp.float32
    )
    size = jnp.sqrt(jnp.square(lax.stop_gradient(out)).mean())
    total += (signs * out).sum() / jnp.maximum(size, _TINY)
  return total


def _relative(
  places: Mapping[str, Array], channels: Mapping[str, np.ndarray]
) -> Importance:
  """Weights of mean 1, and what they are relative to."""
  means, norms, scale = {}, {}, {}
  for path, outer in channels.items():
    calls = [name for name in places if path_of(name) == path]
    mean = float(jnp.stack([places[name].mean() for name in calls]).mean())
    # What nobody minds at all, or is not to be differentiated, weighs alike.
    ok = np.isfinite(mean) and np.isfinite(outer).all() and mean > 0
    scale[path] = mean / len(outer) if ok else 0.0
    for name in calls:
      rows = places[name]
      rows = rows / mean if ok else jnp.ones_like(rows)
      means[name] = (rows + _FLOOR) / (1 + _FLOOR)
    outer = outer * len(outer) / np.trace(outer) if ok else 0.0 * outer
    floor = _FLOOR if ok else 1.0
    eye = np.eye(len(outer))
    norms[path] = (np.nan_to_num(outer) + floor * eye) / (floor + ok)
  return Importance(means, norms, scale)
