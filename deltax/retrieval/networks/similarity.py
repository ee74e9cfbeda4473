"""How alike two sets of vectors are: the reference forms, small and plain."""

import jax.numpy as jnp

from deltax.types import Array

_SMALLEST = 1e-12  # a shorter vector is divided by this


def unit(x: Array) -> Array:
  """Vectors of length 1; a zero vector stays zero, with a gradient of zero.

  Args:
    x: `[..., D]`.

  Returns:
    `[..., D]`.

  Example:
    >>> unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
  """
  squares = jnp.square(x).sum(-1, keepdims=True)
  empty = squares <= _SMALLEST**2
  # The root of zero has no gradient, and `where` would multiply it by zero.
  length = jnp.sqrt(jnp.where(empty, 1.0, squares))
  return x / jnp.where(empty, _SMALLEST, length)


def chamfer(
  similarities: Array, rows: Array | None = None, columns: Array | None = None
) -> Array:
  """Mean over the rows of the best column: how much of the query is found.

  Args:
    similarities: `[..., M, N]`, of M parts of the query and N of the target.
    rows: `[..., M]`, 1 for a row that counts; all when absent.
    columns: `[..., N]`, the same for columns.

  Returns:
    `[...]`; 0 where no row or no column counts.

  Source: Kordopatis-Zilos et al., "ViSiL", ICCV 2019, section 3.2.

  Example:
    >>> float(chamfer(jnp.array([[0.5, 1.0], [0.0, -1.0]])))
    0.5
  """
  if columns is not None:
    columns = columns[..., None, :] > 0
    similarities = jnp.where(columns, similarities, -jnp.inf)
  best = similarities.max(-1)
  if columns is not None:
    best = jnp.where(columns.any(-1), best, 0.0)
  if rows is None:
    return best.mean(-1)
  total = jnp.where(rows > 0, best, 0.0).sum(-1)
  return total / jnp.maximum(rows.sum(-1), 1)


def symmetric_chamfer(
  similarities: Array, rows: Array | None = None, columns: Array | None = None
) -> Array:
  """Mean of `chamfer` in both directions, with the same arguments."""
  back = chamfer(jnp.swapaxes(similarities, -1, -2), columns, rows)
  return (chamfer(similarities, rows, columns) + back) / 2


def frame_similarity(
  query: Array, target: Array, *, symmetric: bool = False
) -> Array:
  """Chamfer similarity of the regions of every two frames.

  Args:
    query: `[..., T, R, D]` regions. Zero frames, which pad, give zeros.
    target: `[..., S, P, D]` regions; the grids may differ.
    symmetric: whether the mean of both directions is taken.

  Returns:
    `[..., T, S]`, in [-1, 1] for regions of length up to 1.

  Source: ViSiL, section 3.3 (tensor dot and Chamfer similarity).
  """
  products = jnp.einsum('...trd,...spd->...tsrp', query, target)
  return (symmetric_chamfer if symmetric else chamfer)(products)
