"""Which ground-truth box each anchor is to find."""

import jax.numpy as jnp

from deltax.boxes.geometry import iou
from deltax.types import Array

BACKGROUND = -1


def match(
  anchors: Array,
  boxes: Array,
  classes: Array,
  *,
  threshold: float = 0.5,
  published_padding: bool = False,
) -> Array:
  """The box that each anchor is matched to, in one frame.

  An anchor takes the box that it overlaps most, if by `threshold` at least. And
  each box takes the anchor that overlaps it most, whatever that one overlaps
  more; where two boxes want the same anchor, the first has it. A box that
  overlaps no anchor has none.

  Args:
    anchors: `[A, 4]`.
    boxes: `[N, 4]`.
    classes: `[N]` integers; a box of class -1 is absent.
    threshold: intersection over union, 0 to 1.
    published_padding: whether absent boxes take part as boxes of zeros, as in
      the published training: the first of them takes the first anchor.

  Returns:
    `[A]` int32 indices of boxes; -1 for background.

  Example:
    >>> anchors = jnp.array([[0.0, 0, 4, 4], [4, 0, 8, 4], [0, 4, 4, 8]])
    >>> boxes = jnp.array([[0.0, 0, 5, 4], [4, 0, 6, 1], [0, 0, 0, 0]])
    >>> match(anchors, boxes, jnp.array([7, 3, -1])).tolist()
    [0, 1, -1]
  """
  overlap = iou(boxes, anchors)
  present = (classes >= 0)[:, None]
  if published_padding:
    wanted = jnp.ones_like(present)
  else:
    overlap = jnp.where(present, overlap, 0)
    wanted = present & (overlap.max(1, keepdims=True) > 0)
  best = jnp.argmax(overlap, 0).astype(jnp.int32)
  matched = jnp.where(overlap.max(0) >= threshold, best, BACKGROUND)
  numbers = jnp.arange(len(anchors))
  forced = wanted & (jnp.argmax(overlap, 1)[:, None] == numbers[None])
  first = jnp.argmax(forced, 0).astype(jnp.int32)
  return jnp.where(forced.any(0), first, matched)
