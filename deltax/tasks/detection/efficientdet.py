"""EfficientDet as a detector: its losses, and reading its outputs.

Source: Tan et al., 2020; settings of Habibian et al., ECCV 2022.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deltax import models
from deltax.boxes import (
  Detections,
  clip_to,
  decode,
  encode,
  match,
  nms,
  pyramid_anchors,
)
from deltax.losses.detection import focal, huber, imitation
from deltax.training.parallel import sum_over_devices
from deltax.types import Array


def make(
  model: str,
  *,
  num_classes: int,
  size: tuple[int, int],
  axis_name: str | None,
  box_weight: float = 50.0,
  published_padding: bool = False,
  candidates: int = 5000,
  count: int = 100,
  **options: Any,
):
  """The parts of `deltax.tasks.detection.detectors.Detector`, in order.

  Args:
    model: name of the network.
    num_classes: K.
    size: (H, W) of the frames.
    axis_name: mapped axis of the devices.
    box_weight: of the box loss, against the class loss.
    published_padding: see `deltax.boxes.match`.
    candidates: best scores that compete in non-maximum suppression.
    count: detections of a frame, at most.
    **options: attributes of the network.
  """
  net = models.create(model, num_classes=num_classes, **options)
  anchors = pyramid_anchors(
    size,
    levels=net.levels,
    octaves=net.octaves,
    aspects=net.aspects,
    scale=net.anchor_scale,
  )

  def losses(variables, outs, frames: Mapping[str, Array], key=None):
    del variables, key
    targets = anchor_targets(
      anchors,
      frames['boxes'],
      frames['classes'],
      published_padding=published_padding,
    )
    classes, codes, positives = targets
    mask = frames.get('mask', jnp.ones(len(classes)))
    # Divided by the positives of the whole batch; the mean over its frames is
    # then the published loss.
    examples, positives = sum_over_devices(
      (mask.sum(), (mask * positives).sum()), axis_name
    )
    share = mask * (examples / (positives + 1))
    return {
      'classes': share * focal(outs['classes'], classes),
      'boxes': box_weight * share / 4 * huber(outs['boxes'], codes),
    }

  def detect(variables, outs, size: Array) -> Detections:
    del variables
    one = functools.partial(
      read, anchors=anchors, candidates=candidates, count=count
    )
    return jax.vmap(one)(outs['classes'], outs['boxes'], size)

  def imitate(outs, targets):
    return imitation(
      *(outs['classes'], outs['boxes']),
      *(targets['classes'], targets['boxes']),
      box_weight=box_weight,
    )

  return net, net.clone(axis_name=axis_name), losses, detect, imitate


def anchor_targets(
  anchors: Array, boxes: Array, classes: Array, *, published_padding: bool
) -> tuple[Array, Array, Array]:
  """What each anchor is to answer.

  Args:
    anchors: `[A, 4]`.
    boxes: `[N, M, 4]` of N frames.
    classes: `[N, M]`, -1 where there is no box.
    published_padding: see `deltax.boxes.match`.

  Returns:
    Classes int32 `[N, A]`, -1 for background; codes `[N, A, 4]`, zeros for
    background; and the number of matched anchors `[N]`.
  """

  def one(boxes, classes):
    matched = match(
      anchors, boxes, classes, published_padding=published_padding
    )
    has_box = matched >= 0
    codes = encode(boxes[matched], anchors)
    return (
      jnp.where(has_box, classes[matched], -1),
      jnp.where(has_box[:, None], codes, 0),
      has_box.sum().astype(codes.dtype),
    )

  return jax.vmap(one)(boxes, classes)


def read(
  logits: Array,
  codes: Array,
  size: Array,
  *,
  anchors: Array,
  candidates: int,
  count: int,
) -> Detections:
  """The detections of one frame.

  Args:
    logits: `[A, K]`.
    codes: `[A, 4]`.
    size: `[2]` rows and columns of the picture; boxes are cut to it.
    anchors: `[A, 4]`.
    candidates: best (anchor, class) pairs that compete.
    count: N.

  Returns:
    Boxes `[N, 4]`, scores `[N]` and classes `[N]`.
  """
  best, places = lax.top_k(logits.ravel(), min(candidates, logits.size))
  index, classes = jnp.divmod(places, logits.shape[-1])
  boxes = decode(codes[index], jnp.asarray(anchors)[index])
  boxes = clip_to(boxes, size)
  indices, kept = nms(boxes, best, iou=0.5, count=count, classes=classes)
  return Detections(
    jnp.where(kept[:, None], boxes[indices], 0),
    jnp.where(kept, jax.nn.sigmoid(best[indices]), 0),
    jnp.where(kept, classes[indices], -1).astype(jnp.int32),
  )
