"""Non-maximum suppression that compiles to one loop."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from deltax.boxes import geometry
from deltax.types import Array


class Detections(NamedTuple):
  """What a detector found in B frames.

  Attributes:
    boxes: `[B, N, 4]` float32 (x0, y0, x1, y1), pixels of the network's frame.
    scores: `[B, N]` probabilities, from the highest down.
    classes: `[B, N]` int32; -1 for an empty place, whose score is 0.
  """

  boxes: Array
  scores: Array
  classes: Array


def nms(
  boxes: Array,
  scores: Array,
  *,
  iou: float,
  count: int,
  classes: Array | None = None,
) -> tuple[Array, Array]:
  """Greedy non-maximum suppression: the best box, then the best of the rest.

  A kept box removes all others (of its class) that overlap it by more than
  `iou`. Of equal scores, the lower index comes first.

  Args:
    boxes: `[N, 4]`.
    scores: `[N]`; -inf for an absent box.
    iou: largest overlap of two boxes that are both kept, 0 to 1.
    count: places of the result.
    classes: `[N]` int32; absent when boxes of all classes compete.

  Returns:
    Indices of the kept boxes, int32 `[count]`, best first, and whether each
    place is taken, bool `[count]`; the index of an empty place is 0.

  Example:
    >>> boxes = jnp.array([[0, 0, 4, 4], [0, 0, 4, 5], [8, 8, 9, 9.0]])
    >>> indices, kept = nms(boxes, jnp.array([0.5, 0.9, 0.1]), iou=0.5, count=3)
    >>> indices.tolist(), kept.tolist()
    ([1, 2, 0], [True, True, False])
  """
  boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
  classes = None if classes is None else jnp.asarray(classes)
  places = jnp.arange(len(boxes))

  def keep(place, carry):
    left, indices, kept = carry
    best = jnp.argmax(left).astype(jnp.int32)
    taken = left[best] > -jnp.inf
    rivals = geometry.iou(boxes[best][None], boxes)[0] > iou
    if classes is not None:
      rivals &= classes == classes[best]
    rivals |= places == best
    left = jnp.where(rivals, -jnp.inf, left)
    indices = indices.at[place].set(jnp.where(taken, best, 0))
    return left, indices, kept.at[place].set(taken)

  start = (
    scores,
    jnp.zeros(count, jnp.int32),
    jnp.zeros(count, bool),
  )
  _, indices, kept = lax.fori_loop(0, count, keep, start)
  return indices, kept
