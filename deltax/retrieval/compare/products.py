"""Inner products of the regions of two sets of frames, in several forms."""

import functools
import pathlib
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from deltax.layers import forms
from deltax.types import Array

FORMS = ('float32', 'digits', 'bfloat16')
_WIDEST = 512  # longest vectors whose sums of products of digits fit 32 bits
_BASE = 256  # of the digits
_UNROLLED = 256  # pairs of regions, up to which a program names each
_TINY = 1e-30  # the scale of a zero vector
# Adding it to a number below 2**22 leaves the rounded number in the low bits.
_ROUND = 1.5 * 2.0**23


def region_products(query: Array, targets: Array, form: str) -> Array:
  """Inner products of every region of a query with every one of some targets.

  Args:
    query: float32 `[T, R, D]`.
    targets: float32 `[M, P, D]`, of M frames, of however many videos.
    form: of `FORMS`. 'float32' multiplies as such. 'digits' rounds each vector
      to whole numbers of two digits times a scale of its own: four products of
      bytes, which some CPUs multiply 13 times faster. Its errors are 1e-5 of
      one vector's largest element times the other's length, 2e-6 for regions.
      'bfloat16' rounds to 8 bits: errors of 1e-4 for regions.

  Returns:
    float32 `[R, T, P, M]`: regions first, so that what follows is on rows of M.
  """
  multiply = {
    'float32': _of_floats,
    'digits': _of_digits,
    'bfloat16': lambda *pair: _dot(
      *(_rows(x.astype(jnp.bfloat16)) for x in pair)
    ),
  }[form]
  products = multiply(query, targets)
  return products.reshape(*query.shape[1::-1], *targets.shape[1::-1])


def best_form(size: int) -> str:
  """The fastest form that agrees with float32 to 1e-5.

  Args:
    size: D, of the vectors.

  Returns:
    'digits' for this CPU if it has a unit for products of bytes, else
    'float32' (see `deltax.layers.forms`).
  """
  on_cpu = forms.target() == 'cpu'
  return 'digits' if on_cpu and size <= _WIDEST and _has_unit() else 'float32'


def check_form(form: str | None, size: int) -> str:
  """`form`, or `best_form` for None.

  Raises:
    ValueError: if there is no such form, or none for vectors so long.
  """
  if form is None:
    return best_form(size)
  if form not in FORMS:
    raise ValueError(f'no products {form!r}; known: {", ".join(FORMS)}')
  if form == 'digits' and size > _WIDEST:
    raise ValueError(f'digits are for up to {_WIDEST} features, got {size}')
  return form


def match_regions(products: Array, *, symmetric: bool = False) -> Array:
  """Chamfer similarity of frames from the products of their regions.

  Args:
    products: `[R, T, P, M]`, as `region_products` gives them.
    symmetric: whether the mean of both directions is taken.

  Returns:
    `[T, M]`: over a query's regions the mean of the best target region.
  """
  forward = _best_then_mean(products)
  if not symmetric:
    return forward
  return (forward + _best_then_mean(products.transpose(2, 1, 0, 3))) / 2


def over_frames(
  compare: Callable[[Array], Array], frames: Array, largest: int
) -> Array:
  """Runs a comparison on some frames of the targets at a time.

  Args:
    compare: `[M', ...]` to `[T, M']`, each column by itself.
    frames: `[M, ...]`.
    largest: M' at most, at least 1.

  Returns:
    `[T, M]`.
  """
  count = len(frames)
  if count <= largest:
    return compare(frames)
  parts = -(-count // largest)
  size = -(-count // parts)
  padding = ((0, parts * size - count), *((0, 0),) * (frames.ndim - 1))
  frames = jnp.pad(frames, padding).reshape(parts, size, *frames.shape[1:])
  columns = lax.map(compare, frames).transpose(1, 0, 2)
  return columns.reshape(len(columns), parts * size)[:, :count]


def _best_then_mean(products: Array) -> Array:
  """`products.max(2).mean(0)`; if there are few, on slices: twice as fast."""
  regions, _, others, _ = products.shape
  if regions * others > _UNROLLED:
    return products.max(2).mean(0)
  best = [
    functools.reduce(jnp.maximum, [products[r, :, p] for p in range(others)])
    for r in range(regions)
  ]
  return sum(best) / regions


def _rows(x: Array) -> Array:
  """`[M, R, D]` to `[R M, D]`."""
  return x.transpose(1, 0, 2).reshape(-1, x.shape[-1])


def _dot(q: Array, t: Array, kind=jnp.float32, precision=None) -> Array:
  return lax.dot_general(
    *(q, t, (((1,), (1,)), ((), ()))),
    precision=precision,
    preferred_element_type=kind,
  )


def _of_floats(query: Array, targets: Array) -> Array:
  return _dot(_rows(query), _rows(targets), precision='highest')


def _of_digits(query: Array, targets: Array) -> Array:
  (high, low, scale), (t_high, t_low, t_scale) = map(_digits, (query, targets))
  dot = functools.partial(_dot, kind=jnp.int32)
  upper = _BASE * dot(high, t_high) + (dot(high, t_low) + dot(low, t_high))
  # Of unrelated vectors the last product is next to nothing, of equal ones not.
  lower = dot(low, t_low).astype(jnp.float32) / _BASE
  whole = upper.astype(jnp.float32) + lower
  return whole * t_scale[None] * (_BASE * scale[:, None])


def _digits(x: Array) -> tuple[Array, Array, Array]:
  """Of `_rows(x)`: int8 high, low, and scale; x = scale (256 high + low)."""
  scale = jnp.maximum(jnp.abs(x).max(-1), _TINY) / (127 * _BASE)
  # A barrier, lest the division be done for every element.
  inverse = _rows(lax.optimization_barrier(1 / scale)[..., None])
  # 128 more, so that the low digit counts from -128.
  bits = lax.bitcast_convert_type(
    _rows(x) * inverse + (_ROUND + 128), jnp.int32
  )
  low = ((bits & (_BASE - 1)) - 128).astype(jnp.int8)
  return (bits >> 8).astype(jnp.int8), low, scale.T.reshape(-1)


@functools.cache
def _has_unit() -> bool:
  """Whether Linux says that the CPU multiplies matrices of bytes."""
  try:
    return 'amx_int8' in pathlib.Path('/proc/cpuinfo').read_text().split()
  except OSError:
    return False
