"""Area, overlap and clipping of boxes.

A box is float32 (x0, y0, x1, y1) in pixels of the frame, x1 and y1 exclusive.
"""

import jax.numpy as jnp

from deltax.types import Array


def area(boxes: Array) -> Array:
  """Area of boxes, in square pixels.

  Args:
    boxes: `[..., 4]`.

  Returns:
    `[...]`; 0 where a box ends before it begins.

  Example:
    >>> [float(a) for a in area(jnp.array([[0, 0, 3, 2], [5, 5, 4, 9.0]]))]
    [6.0, 0.0]
  """
  sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
  return sides[..., 0] * sides[..., 1]


def iou(a: Array, b: Array) -> Array:
  """Intersection over union of every pair of boxes.

  Args:
    a: `[..., N, 4]`.
    b: `[..., M, 4]`; leading axes as of `a`.

  Returns:
    `[..., N, M]`, 0 to 1; 0 where both boxes are empty.
  """
  a, b = jnp.expand_dims(a, -2), jnp.expand_dims(b, -3)
  corners = (
    jnp.maximum(a[..., :2], b[..., :2]),
    jnp.minimum(a[..., 2:], b[..., 2:]),
  )
  inside = area(jnp.concatenate(corners, -1))
  union = area(a) + area(b) - inside
  return jnp.where(union > 0, inside / jnp.where(union > 0, union, 1), 0)


def clip_to(boxes: Array, size: Array) -> Array:
  """The part of boxes inside a picture.

  Args:
    boxes: `[..., N, 4]`.
    size: `[..., 2]` rows and columns of the picture; leading axes as of
      `boxes`.

  Returns:
    `[..., N, 4]`; a box wholly outside becomes empty, on the border.

  Example:
    >>> clip_to(jnp.array([[-2.0, 1, 9, 3]]), jnp.array([4, 8])).tolist()
    [[0.0, 1.0, 8.0, 3.0]]
  """
  columns_rows = jnp.asarray(size, boxes.dtype)[..., None, ::-1]
  limit = jnp.concatenate([columns_rows, columns_rows], -1)
  return jnp.clip(boxes, 0, limit)
