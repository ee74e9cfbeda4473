"""Which boxes a loss looks at: assigned to ground truth, then drawn."""

import jax
import jax.numpy as jnp
from jax import lax

from deltax.boxes.geometry import iou
from deltax.boxes.matching import BACKGROUND
from deltax.types import Array, Key

IGNORED = -2


def assign(
  boxes: Array,
  truths: Array,
  classes: Array,
  *,
  positive: float,
  negative: float,
  lowest: float,
  among: Array,
) -> Array:
  """The ground truth that each box is to find, in one frame.

  A box takes the truth that it overlaps most, if by `positive` at least, and is
  background if it overlaps all by less than `negative`. Then each truth takes
  the box, or equal boxes, that it overlaps most, if by `lowest` at least; of
  two truths that want the same box, the last has it.

  Source: Ren et al., "Faster R-CNN", section 3.1.2; details as in mmdet.

  Args:
    boxes: `[N, 4]`.
    truths: `[M, 4]`.
    classes: `[M]` integers; a truth of class -1 is absent.
    positive: intersection over union, 0 to 1.
    negative: the same; boxes between the two are ignored.
    lowest: the same.
    among: bool `[N]`; the other boxes take no part.

  Returns:
    int32 `[N]` indices of truths; -1 for background, -2 for ignored boxes.

  Example:
    >>> boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 2], [8, 8, 9, 9]])
    >>> assign(boxes, boxes[:1], jnp.array([3]), positive=0.7, negative=0.3,
    ...        lowest=0.3, among=jnp.ones(3, bool)).tolist()
    [0, -2, -1]
  """
  overlap = iou(truths, boxes)
  overlap = jnp.where((classes >= 0)[:, None] & among[None], overlap, -1)
  best, most = jnp.argmax(overlap, 0).astype(jnp.int32), overlap.max(0)
  found = jnp.where(most < negative, BACKGROUND, IGNORED)
  found = jnp.where(most >= positive, best, found)
  reach = overlap.max(1, keepdims=True)
  wanted = (overlap == reach) & (reach >= lowest)
  last = len(truths) - 1 - jnp.argmax(wanted[::-1], 0).astype(jnp.int32)
  found = jnp.where(wanted.any(0), last, found)
  return jnp.where(among, found, IGNORED)


def sample(
  key: Key, assigned: Array, *, count: int, share: float
) -> tuple[Array, Array]:
  """Draws boxes that have a truth, and fills up with background.

  Args:
    key: of the draw.
    assigned: int32 `[N]`, as `assign` gives.
    count: boxes to draw; N if there are fewer.
    share: largest part of them that has a truth.

  Returns:
    Indices int32 `[count]` of different boxes, those with a truth first, and
    whether each place is taken, bool `[count]`.
  """
  count = min(count, len(assigned))
  noise = jax.random.uniform(key, assigned.shape)
  found, background = assigned >= 0, assigned == BACKGROUND
  most = min(int(share * count), count)
  drawn, places = lax.top_k(jnp.where(found, noise, -1), most)
  positive = jnp.zeros_like(found).at[places].set(drawn >= 0)
  order = jnp.where(positive, 1 + noise, jnp.where(background, noise, -1))
  drawn, indices = lax.top_k(order, count)
  return indices, drawn >= 0
