"""Students of blocks, solved for by weighted least squares.

A block is not linear, but the change of its output is nearly, in the change of
its inputs. First the shortcut is solved for, then what the shortcut misses by a
3x3 kernel, whose nearest bottleneck goes through the student's layers: of two
channels of opposite sign, ReLU leaves one or the other, and their difference
carries all. Their last layer then is solved for, each channel by itself.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.search.least_squares import (
  Moments,
  Part,
  Solved,
  divided,
  judged,
  moments,
  solutions,
  white_start,
)
from deltax.delta.students.blocks import Residual
from deltax.delta.students.layers import Full
from deltax.delta.students.narrow import Bottleneck
from deltax.delta.units import Layer
from deltax.types import Array

_WIDEST = 1152  # rows of a kernel from which a student's layers are made


@dataclasses.dataclass(frozen=True)
class _Inside(Bottleneck):
  """A bottleneck of a given width."""

  width: int = 1

  def rank(self, layer: Layer) -> int:
    return min(self.width, *layer.kernel[2:])


def solve_block(
  candidate: Any,
  weights: Mapping[str, Any],
  parts: Sequence[Part],
  channels: np.ndarray,
) -> Solved:
  """A block's student, fitted; `deltax.delta.search.least_squares.solve`.

  Args:
    candidate: the student; only a `Residual` is fitted.
    weights: its parameters at the start.
    parts: of every call of the block.
    channels: `[N, N]`, how its errors weigh.
  """
  start = judged(candidate, weights, parts, channels)
  if not isinstance(candidate, Residual):
    return start
  seen, held = (list(x) for x in zip(*map(divided, parts), strict=True))
  tried = [weights]
  weights = _with_shortcut(candidate, weights, seen, held, channels)
  tried.append(weights)
  if made := _with_inside(candidate, weights, seen, held, channels):
    tried.append(made)
  ends = []
  for start_weights in tried:
    weights = _with_last(candidate, start_weights, seen, held, channels)
    ends.append(judged(candidate, weights, parts, channels))
  best = min(ends, key=lambda own: own.after)
  if best.after >= start.after:
    return start
  return best._replace(weights=_even(best.weights), before=start.before)


def _even(weights):
  """The same student, its layers of one size: training steps are of one, too.

  What comes before a ReLU may be scaled if what follows is scaled back.
  """
  sizes = [
    float(jnp.sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(own))))
    for own in (weights['change'], weights['middle'], weights['last'])
  ]
  if not min(sizes) > 0:
    return weights
  first, second, third = (math.prod(sizes) ** (1 / 3) / x for x in sizes)
  scales = {'change': first, 'context': first, 'middle': second}
  scales |= {'mean': second, 'last': third}
  return {
    name: jax.tree.map(
      functools.partial(jnp.multiply, scales.get(name, 1)), own
    )
    for name, own in weights.items()
  }


def _with_shortcut(candidate, weights, seen, held, channels):
  """A student whose shortcut is solved for, where it has one of its own."""
  if 'shortcut' not in weights:
    return weights
  block, kernel = seen[0].unit, weights['shortcut']

  def passed(part):
    x = candidate.passed(part.changes[: len(block.inputs)], block)
    return _as_part(x, part.target, part.places, 1)

  solved = _best(kernel, *(map(passed, own) for own in (seen, held)), channels)
  return {**weights, 'shortcut': solved.reshape(kernel.shape)}


def _with_inside(candidate, weights, seen, held, channels):
  """A student whose layers carry the best linear map of their width."""
  width = candidate.width(seen[0].unit) // 2
  if not width:
    return None
  laid, judge = (
    [_inside_part(candidate, weights, part) for part in own]
    for own in (seen, held)
  )
  layer = laid[0].unit
  kernel = _best(jnp.zeros(layer.kernel), laid, judge, channels)
  if not jnp.any(kernel):
    return None
  inner = _Inside(width=width)
  start = inner.init(kernel, layer)
  made = white_start(inner, start, kernel, laid, channels)
  return _paired(weights, made or start)


def _paired(weights, made):
  """Layers of which every channel has an opposite one.

  Args:
    weights: of the student.
    made: a linear bottleneck, of half the student's width or less.
  """
  first, last = made['first'][0, 0], made['last'][0, 0]
  middle = made.get('middle', jnp.eye(first.shape[-1])[None, None])
  width, reach = weights['middle'].shape[-1], weights['middle'].shape[0]
  if middle.shape[0] < reach:
    middle = jnp.pad(middle, ((1, 1), (1, 1), (0, 0), (0, 0)))
  # All channels alike in size, lest a ridge tells them apart.
  size = jnp.linalg.norm(first, axis=0) + 1e-12
  first, middle = first / size[None], middle * size[None, None, :, None]
  signs = jnp.array([1.0, -1.0])
  rest = width - 2 * first.shape[-1]
  pads = ((0, 0), (0, rest))
  entry = jnp.pad(jnp.concatenate([first, -first], 1), pads)
  mixed = jnp.kron(jnp.outer(signs, signs)[None, None], middle)
  ends = jnp.concatenate([last, -last]) / 2
  at, change = 0, []
  for kernel in weights['change']:
    rows = kernel.size // width
    change.append(entry[at : at + rows].reshape(kernel.shape))
    at += rows
  made = {
    **weights,
    'change': type(weights['change'])(change),
    'context': type(weights['context'])(change),
    'middle': jnp.pad(mixed, ((0, 0), (0, 0), (0, rest), (0, rest))),
    'last': jnp.pad(ends, ((0, rest), (0, 0)))[None, None],
  }
  if 'mean' in weights:
    made['mean'] = jnp.zeros_like(weights['mean'])
  return made


def _with_last(candidate, weights, seen, held, channels):
  """A student whose last layer is solved for."""
  parts = (
    [_last_part(candidate, weights, part) for part in own]
    for own in (seen, held)
  )
  return {**weights, 'last': _best(weights['last'], *parts, channels)}


def _best(start: Array, seen, held, channels) -> Array:
  """The kernel of a convolution that misses least on what is held out."""
  fitted, judge = (_sums(start, list(own), channels) for own in (seen, held))
  shapes = fitted.cross.shape
  tried = [own.reshape(shapes) for own in solutions(start, fitted)]
  best = min(tried, key=lambda kernel: judge.share(kernel, channels))
  return jnp.asarray(best.reshape(start.shape), jnp.float32)


def _sums(start, parts: list[Part], channels) -> Moments:
  kernel = start.reshape(parts[0].unit.kernel)
  return moments(Full(), 'kernel', {'kernel': kernel}, parts, channels)


def _inside_part(candidate, weights, part: Part) -> Part:
  """What the layers inside are to give, at their size."""
  block, count = part.unit, len(part.unit.inputs)
  x, rest, places = _inside_data(
    *(block.form, candidate, weights, part.changes[:count]),
    *(part.references[:count], part.target, part.places),
  )
  wide = weights['middle'].shape[0] == 3 and 9 * x.shape[-1] <= _WIDEST
  return _as_part(x, rest, places, 3 if wide else 1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _inside_data(
  block, candidate, weights, changes, references, target, places
):
  nothing = {**weights, 'last': jnp.zeros_like(weights['last'])}
  rest = target - block.change(candidate, nothing, changes, references)
  x = candidate.seen(changes, block)
  places = places.reshape(*rest.shape[:-1], 1)
  return x, candidate.shrunk(rest, block), candidate.shrunk(places, block)


def _last_part(candidate, weights, part: Part) -> Part:
  count = len(part.unit.inputs)
  x, rest = _last_data(
    *(part.unit.form, candidate, weights, part.changes[:count]),
    *(part.references[:count], part.target),
  )
  return _as_part(x, rest, part.places, 1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _last_data(block, candidate, weights, changes, references, target):
  nothing = {**weights, 'last': jnp.zeros_like(weights['last'])}
  rest = target - block.change(candidate, nothing, changes, references)
  return candidate.features(weights, changes, references, block), rest


def _as_part(x: Array, target: Array, places: Array, reach: int) -> Part:
  """A linear map of a kernel of `reach` pixels, as a convolution's part."""
  target = target.reshape(*x.shape[:3], target.shape[-1])
  pad = (reach // 2, reach // 2)
  layer = Layer(
    path='',
    call=0,
    kernel=(reach, reach, x.shape[-1], target.shape[-1]),
    strides=(1, 1),
    padding=(pad, pad),
    dilation=(1, 1),
    groups=1,
    bias=False,
    inputs=x.shape[1:],
    outputs=target.shape[1:],
  )
  return Part(layer, (x,), (), target, places.reshape(len(x), -1))
