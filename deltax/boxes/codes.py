"""Boxes as offsets from anchors.

Source: Ren et al., "Faster R-CNN", 2015; order and details as EfficientDet has
them, with no variances.
"""

import jax.numpy as jnp

from deltax.types import Array

_TINY = 1e-8  # pixels; keeps the logarithm of an empty box finite


def encode(boxes: Array, anchors: Array) -> Array:
  """Codes of boxes against anchors.

  Args:
    boxes: `[..., 4]` (x0, y0, x1, y1).
    anchors: the same; leading axes broadcast against those of `boxes`.

  Returns:
    `[..., 4]` (ty, tx, th, tw): the shift of the centre in sides of the anchor,
    and the logarithm of the ratio of sides, for rows and columns.

  Example:
    >>> box, anchor = jnp.array([2.0, 0, 6, 4]), jnp.array([0.0, 0, 4, 4])
    >>> encode(box, anchor).tolist()
    [0.0, 0.5, 0.0, 0.0]
  """
  centre, side = _centred(boxes)
  origin, unit = _centred(anchors)
  side, unit = side + _TINY, unit + _TINY
  return jnp.concatenate([(centre - origin) / unit, jnp.log(side / unit)], -1)


def decode(codes: Array, anchors: Array) -> Array:
  """Boxes from codes; the inverse of `encode`.

  Args:
    codes: `[..., 4]` (ty, tx, th, tw).
    anchors: `[..., 4]` (x0, y0, x1, y1); leading axes broadcast.

  Returns:
    `[..., 4]` (x0, y0, x1, y1).
  """
  origin, unit = _centred(anchors)
  centre = codes[..., :2] * unit + origin
  half = jnp.exp(codes[..., 2:]) * unit / 2
  corners = jnp.stack([centre - half, centre + half], -2)
  return corners[..., ::-1].reshape(codes.shape)


def _centred(boxes):
  """Centre and sides, `[..., 2]` (y, x) each."""
  corners = boxes.reshape(*boxes.shape[:-1], 2, 2)[..., ::-1]
  low, high = corners[..., 0, :], corners[..., 1, :]
  return (low + high) / 2, high - low
