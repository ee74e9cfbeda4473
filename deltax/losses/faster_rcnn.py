"""Losses of Faster R-CNN, of one frame: proposals, then regions.

Source: Ren et al., "Faster R-CNN", section 3.1.2, and Girshick, "Fast R-CNN",
section 2.3; settings of the delta-distillation release (mmdet 2.16).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deltax.boxes.codes_xywh import encode
from deltax.boxes.sampling import IGNORED, assign, sample
from deltax.types import Array, Key

DEVIATION = 0.2  # of the codes of regions


class Regions(NamedTuple):
  """The boxes of one frame that the second stage is trained on.

  Attributes:
    boxes: `[R, 4]`.
    classes: int32 `[R]`; -1 for background.
    codes: `[R, 4]` of the ground truth; of no meaning for background.
    kept: bool `[R]`; False for a place that is not taken.
  """

  boxes: Array
  classes: Array
  codes: Array
  kept: Array


def proposal_losses(
  objectness: Array,
  codes: Array,
  anchors: Array,
  truths: Array,
  classes: Array,
  size: Array,
  key: Key,
  *,
  count: int = 256,
) -> tuple[Array, Array]:
  """Losses of the first stage on anchors drawn at random.

  Only anchors inside the picture take part. Half of those drawn have an object,
  if there are so many.

  Args:
    objectness: `[A]` logits.
    codes: `[A, 4]` (dx, dy, dw, dh), of deviation 1.
    anchors: `[A, 4]`.
    truths: `[M, 4]`.
    classes: int32 `[M]`; -1 where there is no box.
    size: `[2]` rows and columns of the picture.
    key: of the draw.
    count: anchors to draw.

  Returns:
    `[]` cross-entropy and `[]` smooth L1 distance (quadratic up to 1/9), both
    divided by the number of anchors drawn; 0 if no anchor lies inside.
  """
  anchors = jnp.asarray(anchors)
  inside = (anchors[:, :2] >= 0).all(1) & (
    anchors[:, 2:] < size[None, ::-1]
  ).all(1)
  assigned = assign(
    anchors,
    truths,
    classes,
    positive=0.7,
    negative=0.3,
    lowest=0.3,
    among=inside,
  )
  indices, kept = sample(key, assigned, count=count, share=0.5)
  found = assigned[indices]
  positive = kept & (found >= 0)
  logits = objectness[indices]
  entropy = jax.nn.softplus(logits) - jnp.where(positive, logits, 0)
  targets = encode(anchors[indices], truths[found], deviation=1.0)
  distance = smooth_l1(codes[indices] - targets, 1 / 9).sum(1)
  return _share(entropy, kept, kept), _share(distance, positive, kept)


def draw_regions(
  proposals: Array,
  kept: Array,
  truths: Array,
  classes: Array,
  key: Key,
  *,
  count: int = 512,
) -> Regions:
  """Proposals for the second stage, the ground truth among them.

  A quarter of them have an object, if there are so many.

  Args:
    proposals: `[P, 4]`.
    kept: bool `[P]`; False for an absent proposal.
    truths: `[M, 4]`.
    classes: int32 `[M]`; -1 where there is no box.
    key: of the draw.
    count: R.

  Returns:
    The regions.
  """
  assigned = assign(
    proposals,
    truths,
    classes,
    positive=0.5,
    negative=0.5,
    lowest=0.5,
    among=kept,
  )
  own = jnp.arange(len(truths), dtype=jnp.int32)
  own = jnp.where(classes >= 0, own, IGNORED)
  assigned = jnp.concatenate([own, assigned])
  indices, taken = sample(key, assigned, count=count, share=0.25)
  boxes = jnp.concatenate([truths, proposals])[indices]
  found = assigned[indices]
  return Regions(
    boxes,
    jnp.where(found >= 0, classes[found], -1),
    encode(boxes, truths[found], deviation=DEVIATION),
    taken,
  )


def region_losses(
  scores: Array, codes: Array, regions: Regions
) -> tuple[Array, Array]:
  """Losses of the second stage.

  Args:
    scores: `[R, K + 1]` logits, the background last.
    codes: `[R, 4 * K]`, one class's after another's.
    regions: of R boxes.

  Returns:
    `[]` cross-entropy and `[]` smooth L1 distance (quadratic up to 1) of the
    codes of the true class, both divided by the number of regions.
  """
  count, background = len(scores), scores.shape[-1] - 1
  found = regions.classes >= 0
  labels = jnp.where(found, regions.classes, background)
  picked = jnp.take_along_axis(scores, labels[:, None], 1)[:, 0]
  entropy = jax.nn.logsumexp(scores, 1) - picked
  codes = codes.reshape(count, background, 4)
  codes = codes[jnp.arange(count), jnp.where(found, regions.classes, 0)]
  distance = smooth_l1(codes - regions.codes, 1.0).sum(1)
  positive = regions.kept & found
  return (
    _share(entropy, regions.kept, regions.kept),
    _share(distance, positive, regions.kept),
  )


def smooth_l1(errors: Array, bend: float) -> Array:
  """Absolute errors, quadratic below `bend`.

  Example:
    >>> smooth_l1(jnp.array([0.5, -2.0]), 1.0).tolist()
    [0.125, 1.5]
  """
  size = jnp.abs(errors)
  return jnp.where(size < bend, size * size / (2 * bend), size - bend / 2)


def _share(values, wanted, kept):
  """Sum of the wanted values over the number of kept ones."""
  return jnp.where(wanted, values, 0).sum() / jnp.maximum(kept.sum(), 1)
