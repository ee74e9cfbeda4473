"""Students of layers, solved for by weighted least squares.

The kernel that reads the input is the best of its form for the inputs that
come and the outputs that matter: the decomposition that makes its start, in
coordinates in which both are white. The last kernel, in which the output is
linear, then is solved for. A quarter of the frames is held out, and judges.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.delta.units import Dense, Layer, Unit
from deltax.types import Array

_WIDEST = 1024  # rows of a last kernel that are still solved for
_RIDGES = 1e-3, 1e-2, 1e-1, 1.0  # relative to the mean of the diagonal
_WHITE = 1e-3  # likewise, of what is inverted to make inputs white
_PRODUCTS = 2e10  # multiply-accumulates that a sum of products may take
_NUMBERS = 1 << 24  # that are in memory at once for it
_COLUMNS = 1 << 16  # places that tell what comes in


class Part(NamedTuple):
  """What one call of a unit shows of it.

  Attributes:
    unit: the call.
    changes: `[n, ...]` of every input, as the students before make them.
    references: every input on the reference frame.
    target: `[n, ...]` the teacher's change of the output.
    places: `[n, P]` weights of the P places of the output.
  """

  unit: Unit
  changes: tuple[Array, ...]
  references: tuple[Array, ...]
  target: Array
  places: Array


class Solved(NamedTuple):
  """A student, and what it misses of the teacher's change.

  Attributes:
    weights: its parameters.
    before: the share of the weighted squares that it missed at the start, on
      frames that are held out.
    after: that it misses now; never more.
    energy: weighted mean square of the teacher's change.
  """

  weights: dict[str, Array]
  before: float
  after: float
  energy: float


class Moments(NamedTuple):
  """Weighted sums over all places.

  Attributes:
    gram: `[K, K]` products of what the last kernel is multiplied by.
    cross: `[K, N]` products of that and the teacher's change.
    energy: squares of the teacher's change, by the channels' weights.
    count: of places.
  """

  gram: np.ndarray
  cross: np.ndarray
  energy: float
  count: float

  def share(self, kernel: np.ndarray, channels: np.ndarray) -> float:
    """Of the energy, what is missed with a last kernel `[K, N]`."""
    missed = self.gram @ kernel - 2 * self.cross
    return (self.energy + float(np.sum(kernel.T @ missed * channels))) / (
      self.energy or 1.0
    )


def solve(
  candidate: Any,
  weights: Mapping[str, Array],
  kernel: Array | None,
  parts: Sequence[Part],
  channels: np.ndarray,
) -> Solved:
  """A student fitted to what its layer shows.

  Args:
    candidate: the student.
    weights: its parameters at the start.
    kernel: the teacher's, as the candidate's `init` takes it; None of a block.
    parts: of every call of the unit.
    channels: `[N, N]`, how its errors weigh.

  Returns:
    The student; unchanged where nothing better is found, or where it is of a
    form that cannot be solved for.
  """
  last = _last_kernel(candidate, weights, parts[0].unit)
  if not last:
    return judged(candidate, weights, parts, channels)
  seen, held = zip(*map(divided, parts), strict=True)
  starts = [dict(weights)]
  if white := white_start(candidate, weights, kernel, seen, channels):
    starts.append(white)
  best, before, energy = None, 0.0, 0.0
  for number, start in enumerate(starts):
    fitted, judge = (
      moments(candidate, last, start, part, channels) for part in (seen, held)
    )
    if not number:
      energy = judge.energy / (judge.count or 1.0)
    for tried, solution in enumerate(solutions(start[last], fitted)):
      share = judge.share(solution, channels)
      if not number and not tried:
        before = share
      if best is None or share < best[0]:
        best = share, start, solution
  after, start, solution = best
  solution = jnp.asarray(solution.reshape(start[last].shape))
  student = _balanced(candidate, {**start, last: solution})
  student = {
    name: array.astype(weights[name].dtype) for name, array in student.items()
  }
  return Solved(student, before, after, energy)


def _balanced(candidate: Any, weights: dict[str, Array]) -> dict[str, Array]:
  """The same student, its first and last kernel of one size.

  What is solved for in white coordinates is small on one side and large on the
  other, and a step of an optimizer that is right for one throws the other off.
  """
  first = getattr(candidate, 'first_kernel', '')
  if first not in weights:
    return weights
  last = candidate.last_kernel
  one, other = (np.asarray(weights[n], np.float64) for n in (first, last))
  # Each channel between two kernels has a scale of its own.
  apart = not weights.keys() - {first, last, 'bias'}
  sizes = [
    np.sqrt(np.square(kernel).sum(axes if apart else None, keepdims=True))
    for kernel, axes in ((one, (0, 1, 2)), (other, (0, 1, 3)))
  ]
  ratio = np.divide(
    sizes[1].reshape(-1),
    sizes[0].reshape(-1),
    out=np.ones(sizes[0].size),
    where=(sizes[0].reshape(-1) > 0) & (sizes[1].reshape(-1) > 0),
  )
  factor = np.sqrt(ratio)
  return {
    **weights,
    first: jnp.asarray(one * factor, jnp.float32),
    last: jnp.asarray(other / factor[:, None], jnp.float32),
  }


def _last_kernel(
  candidate: Any, weights: Mapping[str, Array], unit: Unit
) -> str:
  """Name of the kernel to be solved for; '' for none."""
  name = getattr(candidate, 'last_kernel', '')
  if not unit.linear or name not in weights:
    return ''
  kernel = weights[name]
  # A kernel of groups is several, which see a part of the input each.
  grouped = unit.groups > 1 and kernel.shape == unit.kernel
  rows = kernel.size // kernel.shape[-1]
  return '' if grouped or rows > _WIDEST else name


def divided(part: Part) -> tuple[Part, Part]:
  """A part's frames to be fitted to, and those that are held out."""
  number = len(part.target)
  if number < 2:
    return part, part
  every = min(4, number)
  held = np.arange(number) % every == every - 1

  def taken(which):
    return jax.tree.map(lambda x: x[np.flatnonzero(which)], tuple(part)[1:])

  return Part(part.unit, *taken(~held)), Part(part.unit, *taken(held))


def judged(candidate, weights, parts, channels) -> Solved:
  """A student that stays as it is, and what it misses."""
  missed = energy = count = 0.0
  channels = jnp.asarray(channels, jnp.float32)
  for part in parts:
    _, held = divided(part)
    sums = _missed(part.unit.form, candidate, weights, *held[1:], channels)
    missed, energy = missed + float(sums[0]), energy + float(sums[1])
    count += held.places.size
  share = missed / (energy or 1.0)
  return Solved(dict(weights), share, share, energy / count)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _missed(form, candidate, weights, changes, references, target, places, by):
  exact = target.astype(jnp.float32)
  given = form.change(candidate, weights, changes, references)

  def weighed(error):
    error = error.reshape(*places.shape, -1)
    return (places[..., None] * (error @ by) * error).sum()

  return weighed(given.astype(jnp.float32) - exact), weighed(exact)


def solutions(start: Array, sums: Moments) -> Iterator[np.ndarray]:
  """Last kernels `[K, N]` to choose from: the start first."""
  gram, cross = sums.gram, sums.cross
  kernel = np.asarray(start, np.float64).reshape(cross.shape)
  yield kernel
  mean = np.trace(gram) / len(gram)
  if not mean > 0:  # nothing moves, or nothing comes in
    return
  # Between no change and the start: what comes in may be worth little by now.
  norm = np.sum(kernel * (gram @ kernel))
  kernel = kernel * np.clip(np.sum(kernel * cross) / (norm or 1.0), 0.0, 1.0)
  yield kernel
  for ridge in _RIDGES:
    weight = ridge * mean
    yield np.linalg.solve(
      gram + weight * np.eye(len(gram)), cross + weight * kernel
    )


def moments(candidate, last, weights, parts, channels) -> Moments:
  """What least squares need of a student's data."""
  weights = {n: array.astype(jnp.float32) for n, array in weights.items()}
  by = jnp.asarray(channels, jnp.float32)
  total = None
  for part in parts:
    layer, x = _as_layer(part.unit, part.changes[0])
    x, y, places = _some(part, x, weights[last])
    rows = weights[last].size // weights[last].shape[-1]
    chunk = max(1, _NUMBERS // (rows * places.shape[1]))
    for first in range(0, len(x), chunk):
      at = slice(first, first + chunk)
      sums = _products(
        *(layer.form, candidate, last, weights),
        *(x[at], y[at], places[at], by),
      )
      sums = [np.asarray(array, np.float64) for array in sums]
      total = (
        sums
        if total is None
        else [one + other for one, other in zip(total, sums, strict=True)]
      )
  gram, cross, energy, count = total
  return Moments(gram, cross, float(energy), float(count))


def _some(part, x, kernel):
  """As many frames of a part as products are to be summed over."""
  rows, features = kernel.size // kernel.shape[-1], kernel.shape[-1]
  dear = part.places[0].size * (2 * rows * rows + features * (rows + features))
  step = max(1, math.ceil(len(x) * dear / _PRODUCTS))
  y = part.target.reshape(*part.places.shape, features)
  return x[::step], y[::step], part.places[::step]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _products(layer, candidate, last, weights, x, y, places, by):
  # What the last kernel is multiplied by is what the student gives with the
  # identity in its place.
  *taps, features = weights[last].shape
  size = math.prod(taps)
  identity = jnp.eye(size).reshape(*taps, size)
  seen = candidate.apply(
    {**weights, last: identity}, x.astype(jnp.float32), layer
  ).reshape(-1, size)
  y = y.astype(jnp.float32).reshape(-1, features)
  if (bias := weights.get('bias')) is not None:
    y = y - bias[None]
  weighed = places.reshape(-1, 1) * y
  gram = (places.reshape(-1, 1) * seen).T @ seen
  return gram, seen.T @ weighed, (weighed * (y @ by)).sum(), places.size


def _as_layer(unit: Unit, x: Array) -> tuple[Layer, Array]:
  """A unit and its input as candidates see them."""
  return (unit.conv, unit.pixels(x)) if isinstance(unit, Dense) else (unit, x)


def white_start(candidate, weights, kernel, parts, channels):
  """A student's start for the inputs that come and the outputs that matter.

  None where it has no kernel that reads the input by itself.
  """
  first = getattr(candidate, 'first_kernel', '')
  last = candidate.last_kernel
  layer, _ = _as_layer(parts[0].unit, parts[0].changes[0])
  if first not in weights or layer.transposed:
    return None
  reach = weights[first].shape[0]
  covariance = _covariance(parts, reach)
  mean = np.trace(covariance) / len(covariance)
  if not mean > 0:
    return None
  eye = np.eye(len(covariance))
  inner = np.linalg.cholesky(covariance + _WHITE * mean * eye)
  outer = np.linalg.cholesky(channels)
  kh, _, count, width = kernel.shape
  exact = np.asarray(kernel, np.float64) @ outer
  by_row = exact if reach == kh else exact.reshape(1, -1, count, width)
  # Rows and channels in front, which `inner` is of.
  rows = by_row.transpose(0, 2, 1, 3).reshape(len(inner), -1)
  white = (inner.T @ rows).reshape(reach, count, -1, width)
  white = white.transpose(0, 2, 1, 3).reshape(kernel.shape)
  if hasattr(candidate, 'nearest'):
    start = candidate.nearest(white, layer)
  else:
    start = candidate.init(jnp.asarray(white, jnp.float32), layer)
  made = {n: np.asarray(start[n], np.float64) for n in (first, last)}
  entry = np.linalg.solve(inner.T, made[first].reshape(len(inner), -1))
  ends = np.linalg.solve(outer.T, made[last].reshape(-1, width).T).T
  start = {
    **start,
    first: jnp.asarray(entry.reshape(made[first].shape), jnp.float32),
    last: jnp.asarray(ends.reshape(made[last].shape), jnp.float32),
  }
  return {**weights, **start}


def _covariance(parts: Sequence[Part], reach: int) -> np.ndarray:
  """Of the columns of `reach` pixels that come in: `[reach * C, reach * C]`."""
  total = 0.0
  for part in parts:
    layer, x = _as_layer(part.unit, part.changes[0])
    places = part.places.reshape(len(x), *layer.outputs[:2])
    step = max(1, places.size // _COLUMNS)
    total = total + np.asarray(
      _column_products(layer.form, reach, step, x, places), np.float64
    )
  return total


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _column_products(layer, reach, step, x, places):
  x = x.astype(jnp.float32)
  # Of taps that are not told apart, the one in the middle stands for all.
  top, left = (
    dilation * (taps // 2) - pads[0]
    for dilation, taps, pads in zip(
      layer.dilation, layer.kernel[:2], layer.padding, strict=True
    )
  )
  offsets = [top]
  if reach > 1:
    apart, above = layer.dilation[0], layer.padding[0][0]
    offsets = [tap * apart - above for tap in range(reach)]
  x = _shifted(x, 2, left, layer.strides[1], places.shape[2])
  taps = [
    _shifted(x, 1, offset, layer.strides[0], places.shape[1]).reshape(
      -1, x.shape[-1]
    )[::step]
    for offset in offsets
  ]
  columns = jnp.concatenate(taps, -1)
  return (places.reshape(-1, 1)[::step] * columns).T @ columns


def _shifted(x, axis, offset, stride, count):
  """Every `stride`-th pixel along an axis from an offset on, zeros around."""
  end = offset + (count - 1) * stride + 1
  pads = [(0, 0)] * x.ndim
  pads[axis] = (max(0, -offset), max(0, end - x.shape[axis]))
  first = max(0, offset)
  return lax.slice_in_dim(
    jnp.pad(x, pads), first, first + (count - 1) * stride + 1, stride, axis
  )
