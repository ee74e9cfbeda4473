"""Least squares for one student: its weights from what comes in and out.

A layer's student is linear in its last kernel, which is solved for in closed
form; a low-rank one is first taken apart anew, weighted by what goes through
it. A block's student is not linear: it is improved by Gauss-Newton steps.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.units import Dense, Unit
from deltax.types import Array

WIDEST = 1024  # unknowns of an output channel that are still solved for
RIDGE = 1e-2  # relative to the mean square of what the last kernel sees
_STEPS, _ITERATIONS = 2, 10  # of Gauss-Newton, and of the conjugate gradient

Weights = Mapping[str, Any]


class Data(NamedTuple):
  """What a student is given, and what it should make of it.

  Attributes:
    changes: `[n, ...]` change of every input.
    references: `[n, ...]` every input on the reference frame.
    target: `[n, ...]` the teacher's own change of the output.
  """

  changes: tuple[Array, ...]
  references: tuple[Array, ...]
  target: Array

  def rows(self, chosen: np.ndarray) -> 'Data':
    """Some of the n."""
    return jax.tree.map(lambda x: x[chosen], self)


def solve(
  unit: Unit,
  candidate: Any,
  weights: Weights,
  layer: Weights | None,
  seen: Data,
  held: Data,
) -> Weights:
  """Weights of a student that follow the teacher's change better.

  Args:
    unit: a layer, block or span.
    candidate: the student.
    weights: that it starts with.
    layer: the teacher's own, of a layer.
    seen: to solve on.
    held: others, on which a solution has to prove itself.

  Returns:
    The best on `held` of all that were tried, the start among them; in the
    types of the start.
  """
  form = unit.form
  tried = [dict(weights)]
  if unit.linear:
    if hasattr(candidate, 'decompose'):
      conv, x = _as_pixels(form, seen.changes[0])
      kernel = layer['kernel'].reshape(conv.kernel)
      again = candidate.decompose(kernel, x.astype(jnp.float32), conv)
      tried.append(_like(weights, again))
    best = min(tried, key=lambda own: errors(form, candidate, own, held).sum())
    last = getattr(candidate, 'linear_in', None)
    if last and _is_solved(form, weights[last]):
      solved = _solved(form, candidate, best, last, seen)
      tried.append(_like(weights, {**best, last: solved}))
  else:
    for _ in range(_STEPS):
      tried.append(_descended(form, candidate, tried[-1], seen, held))
  return min(tried, key=lambda own: errors(form, candidate, own, held).sum())


@functools.partial(jax.jit, static_argnums=(0, 1))
def errors(form: Unit, candidate: Any, weights: Weights, data: Data) -> Array:
  """`[N]` sums of squares that a student misses, by channel of the output."""
  change = form.change(candidate, weights, data.changes, data.references)
  return energy(change.astype(jnp.float32) - data.target)


def energy(change: Array) -> Array:
  """`[N]` sums of squares by channel."""
  exact = change.astype(jnp.float32)
  return jnp.square(exact).sum(tuple(range(change.ndim - 1)))


def _like(weights: Weights, others: Weights) -> dict[str, Any]:
  return {
    name: jnp.asarray(others[name], array.dtype).reshape(array.shape)
    for name, array in weights.items()
  }


def _as_pixels(form: Unit, x: Array) -> tuple[Any, Array]:
  """The convolution that a layer is, and its input for that."""
  if isinstance(form, Dense):
    return form.conv, form.pixels(x)
  return form, x


def _is_solved(form: Unit, kernel: Array) -> bool:
  rows = math.prod(kernel.shape[:-1])
  # A kernel of groups is several, each of which sees a part of the input.
  grouped = not isinstance(form, Dense) and form.groups > 1
  return rows <= WIDEST and not grouped


def _solved(
  form: Unit, candidate: Any, weights: Weights, last: str, data: Data
) -> np.ndarray:
  """The last kernel by least squares, drawn to what it is."""
  gram, cross = (
    np.asarray(x, np.float64)
    for x in _moments(form, candidate, weights, last, data)
  )
  ridge = RIDGE * np.trace(gram) / len(gram)
  before = np.asarray(weights[last], np.float64)
  if not ridge > 0:  # nothing comes in
    return before
  kernel = np.linalg.solve(
    gram + ridge * np.eye(len(gram)),
    cross + ridge * before.reshape(len(gram), -1),
  )
  return kernel.reshape(before.shape)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def _moments(form, candidate, weights, last, data):
  """Products of what the last kernel sees, and of that and the target.

  What it sees is what the student gives with the identity in its place.
  """
  conv, x = _as_pixels(form, data.changes[0])
  *taps, _ = weights[last].shape
  size = math.prod(taps)
  exact = {n: array.astype(jnp.float32) for n, array in weights.items()}
  exact[last] = jnp.eye(size).reshape(*taps, size)
  sees = candidate.apply(exact, x.astype(jnp.float32), conv).reshape(-1, size)
  target = data.target.astype(jnp.float32).reshape(len(sees), -1)
  return sees.T @ sees, sees.T @ target


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descended(
  form: Unit, candidate: Any, weights: Weights, seen: Data, held: Data
) -> Weights:
  """A Gauss-Newton step by conjugate gradients, as far as `held` gains.

  The further the gradient goes, the closer it fits what is seen; the iterate
  that is best on the others stays.
  """

  def run(own):
    change = form.change(candidate, own, seen.changes, seen.references)
    return change.astype(jnp.float32)

  out, pull = jax.vjp(run, weights)
  # Convolutions here have rules for gradients alone: to go forward is to take
  # the gradient of one.
  _, push = jax.vjp(pull, out)

  def forward(step):
    return push((step,))[0]

  def missed(step):
    own = jax.tree.map(jnp.add, weights, step)
    return errors(form, candidate, own, held).sum()

  def iterate(state, _):
    step, left, along, size, best, least = state
    (product,) = pull(forward(along))
    length = size / jnp.maximum(_dot(along, product), 1e-30)
    step = jax.tree.map(lambda x, y: x + length * y, step, along)
    left = jax.tree.map(lambda x, y: x - length * y, left, product)
    new = _dot(left, left)
    turn = new / jnp.maximum(size, 1e-30)
    along = jax.tree.map(lambda x, y: x + turn * y, left, along)
    now = missed(step)
    best = jax.tree.map(lambda x, y: jnp.where(now < least, x, y), step, best)
    return (step, left, along, new, best, jnp.minimum(now, least)), None

  (slope,) = pull(seen.target.astype(jnp.float32) - out)
  still = jax.tree.map(jnp.zeros_like, slope)
  state = (still, slope, slope, _dot(slope, slope), still, missed(still))
  (_, _, _, _, best, _), _ = jax.lax.scan(iterate, state, length=_ITERATIONS)
  return jax.tree.map(jnp.add, weights, best)


def _dot(one: Any, other: Any) -> Array:
  products = jax.tree.map(jnp.vdot, one, other)
  return sum(jax.tree.leaves(products))
