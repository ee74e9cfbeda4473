"""Proposals: the boxes that a two-stage detector looks at more closely."""

import jax.numpy as jnp
from jax import lax

from deltax.boxes.codes_xywh import decode
from deltax.boxes.geometry import area, clip_to
from deltax.boxes.nms import nms
from deltax.types import Array


def propose(
  objectness: Array,
  codes: Array,
  anchors: Array,
  size: Array,
  *,
  count: int,
  candidates: int = 6000,
  overlap: float = 0.7,
) -> tuple[Array, Array]:
  """The best boxes of one frame, without near duplicates.

  Source: Ren et al., "Faster R-CNN", section 3.1; details as in mmdet.

  Args:
    objectness: `[A]` logits.
    codes: `[A, 4]` (dx, dy, dw, dh), of deviation 1.
    anchors: `[A, 4]`.
    size: `[2]` rows and columns of the picture; boxes are cut to it.
    count: R.
    candidates: best anchors that compete.
    overlap: largest intersection over union of two proposals.

  Returns:
    `[R, 4]` boxes, best first, and whether each place is taken, bool `[R]`;
    the boxes of empty places are zeros. No gradient flows to either.
  """
  objectness, codes = lax.stop_gradient((objectness, codes))
  candidates = min(candidates, len(objectness))
  best, places = lax.top_k(objectness, candidates)
  boxes = decode(jnp.asarray(anchors)[places], codes[places], deviation=1.0)
  boxes = clip_to(boxes, size)
  best = jnp.where(area(boxes) > 0, best, -jnp.inf)
  indices, kept = nms(boxes, best, iou=overlap, count=count)
  return jnp.where(kept[:, None], boxes[indices], 0), kept
