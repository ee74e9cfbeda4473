"""Inner products of the regions of two sets of frames, in several forms."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from deltax.layers import forms
from deltax.retrieval.compare import digits
from deltax.types import Array

FORMS = ('float32', 'digits', 'bfloat16')
_UNROLLED = 256  # pairs of regions, up to which a program names each


def prepare(query: Array, form: str) -> Any:
  """What comparing with a query needs of it, the same for all targets.

  Args:
    query: float32 `[T, R, D]`.
    form: of `FORMS`, how vectors are multiplied. 'float32' does it as such.
      'digits' rounds to whole numbers of two digits times a scale of the frame:
      three products of bytes, which some CPUs multiply 4 to 13 times faster.
      Its errors are 1e-5 of one frame's largest element times the other
      vector's length, 3e-6 for regions. 'bfloat16' rounds to 8 bits: errors of
      1e-4 for regions.

  Returns:
    What `compare_frames` takes of that form.
  """
  if form == 'digits':
    return digits.query_digits(query)
  kind = jnp.bfloat16 if form == 'bfloat16' else jnp.float32
  return query.astype(kind).transpose(2, 1, 0)


def compare_frames(
  query: Any, targets: Array, form: str, *, symmetric: bool = False
) -> Array:
  """Chamfer similarity of all frames of a query and those of some targets.

  Args:
    query: as `prepare` gives it.
    targets: float32 `[M, P, D]`, of M frames, of however many videos.
    form: that the query was prepared for.
    symmetric: whether the mean of both directions is taken.

  Returns:
    float32 `[M, T]`: over a query's regions the mean of the best target region.
  """
  if form == 'digits':
    products, scale = digits.digit_products(query, targets)
    return match_regions(products, symmetric=symmetric) * scale
  vectors = targets.reshape(-1, targets.shape[-1]).astype(query.dtype)
  products = lax.dot(
    *(vectors, query.reshape(len(query), -1)),
    precision='highest',
    preferred_element_type=jnp.float32,
  ).reshape(*targets.shape[:2], *query.shape[1:])
  return match_regions(products, symmetric=symmetric)


def best_form(size: int) -> str:
  """The fastest form that agrees with float32 to 1e-5.

  Args:
    size: D, of the vectors.

  Returns:
    'digits' for this CPU if it has a unit for products of bytes that pays for
    such vectors, else 'float32' (see `deltax.layers.forms`).
  """
  on_cpu = forms.target() == 'cpu'
  return 'digits' if on_cpu and digits.pays(size) else 'float32'


def check_form(form: str | None, size: int) -> str:
  """`form`, or `best_form` for None.

  Raises:
    ValueError: if there is no such form, or none for vectors so long.
  """
  if form is None:
    return best_form(size)
  if form not in FORMS:
    raise ValueError(f'no products {form!r}; known: {", ".join(FORMS)}')
  if form == 'digits' and size > digits.WIDEST:
    raise ValueError(
      f'digits are for up to {digits.WIDEST} features, got {size}'
    )
  return form


def match_regions(products: Array, *, symmetric: bool = False) -> Array:
  """Chamfer similarity of frames from the products of their regions.

  Args:
    products: `[M, P, R, T]`, of P regions of a target with R of a query.
    symmetric: whether the mean of both directions is taken.

  Returns:
    float32 `[M, T]`: over a query's regions the mean of the best target region.
  """
  forward = _best_then_mean(products)
  if not symmetric:
    return forward
  return (forward + _best_then_mean(products.swapaxes(1, 2))) / 2


def over_frames(
  compare: Callable[[Array], Array], frames: Array, largest: int
) -> Array:
  """Runs a comparison on some frames of the targets at a time.

  Args:
    compare: `[M', ...]` to `[M', T]`, each row by itself.
    frames: `[M, ...]`.
    largest: M' at most, at least 1.

  Returns:
    `[M, T]`.
  """
  count = len(frames)
  if count <= largest:
    return compare(frames)
  parts = -(-count // largest)
  size = -(-count // parts)
  padding = ((0, parts * size - count), *((0, 0),) * (frames.ndim - 1))
  frames = jnp.pad(frames, padding).reshape(parts, size, *frames.shape[1:])
  return lax.map(compare, frames).reshape(parts * size, -1)[:count]


def _best_then_mean(products: Array) -> Array:
  """The mean of the best; if there are few, on slices: twice as fast."""
  _, others, regions, _ = products.shape
  if regions * others > _UNROLLED:
    return products.max(1).astype(jnp.float32).mean(1)
  best = functools.reduce(
    jnp.maximum, [products[:, p] for p in range(others)]
  ).astype(jnp.float32)
  return sum(best[:, r] for r in range(regions)) / regions
