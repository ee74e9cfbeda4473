"""Box codes (dx, dy, dw, dh): a box relative to another, as R-CNN has them.

The shift of the centre is measured in sides of the base box, the sides by the
logarithm of their ratio; all four are divided by a standard deviation.

Source: Girshick et al., "Rich feature hierarchies for accurate object
detection", CVPR 2014, appendix C.
"""

import math

import jax.numpy as jnp

from deltax.types import Array

_LARGEST = -math.log(16 / 1000)  # codes grow or shrink a side 62.5-fold at most
_TINY = 1e-6  # side of an empty box, which has no logarithm


def encode(bases: Array, boxes: Array, *, deviation: float) -> Array:
  """Codes of boxes relative to their bases.

  Args:
    bases: `[..., 4]` (x0, y0, x1, y1), not empty.
    boxes: `[..., 4]`; an empty one gives finite codes of no meaning.
    deviation: standard deviation of the codes.

  Returns:
    `[..., 4]` (dx, dy, dw, dh).

  Example:
    >>> base = jnp.array([0.0, 0, 10, 10])
    >>> box = jnp.array([5.0, 0, 15, 10])
    >>> encode(base, box, deviation=0.5).tolist()
    [1.0, 0.0, 0.0, 0.0]
  """
  (centre, sides), (base_centre, base_sides) = _split(boxes), _split(bases)
  base_sides = jnp.maximum(base_sides, _TINY)
  shift = (centre - base_centre) / base_sides
  growth = jnp.log(jnp.maximum(sides, _TINY) / base_sides)
  return jnp.concatenate([shift, growth], -1) / deviation


def decode(bases: Array, codes: Array, *, deviation: float) -> Array:
  """Boxes that codes stand for; the inverse of `encode`.

  Args:
    bases: `[..., 4]` (x0, y0, x1, y1).
    codes: `[..., 4]` (dx, dy, dw, dh); sides grow or shrink 62.5-fold at most.
    deviation: standard deviation of the codes.

  Returns:
    `[..., 4]` boxes, also outside the frame.
  """
  centre, sides = _split(bases)
  shift, growth = jnp.split(codes * deviation, 2, -1)
  centre = centre + shift * sides
  half = sides * jnp.exp(jnp.clip(growth, -_LARGEST, _LARGEST)) / 2
  return jnp.concatenate([centre - half, centre + half], -1)


def _split(boxes):
  """Centres and sides, `[..., 2]` each."""
  return (
    (boxes[..., :2] + boxes[..., 2:]) / 2,
    boxes[..., 2:] - boxes[..., :2],
  )
