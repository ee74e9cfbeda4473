"""Faster R-CNN as a detector: its losses, and reading its outputs.

Source: Ren et al., 2015; settings of Habibian et al., ECCV 2022 (mmdet 2.16).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax import models
from deltax.boxes import Detections, clip_to, nms
from deltax.boxes.codes_xywh import decode
from deltax.boxes.grid_anchors import grid_anchors
from deltax.boxes.proposals import propose
from deltax.losses.faster_rcnn import (
  DEVIATION,
  draw_regions,
  proposal_losses,
  region_losses,
)
from deltax.models.faster_rcnn import STRIDE
from deltax.types import Array, Key


def make(
  model: str,
  *,
  num_classes: int,
  size: tuple[int, int],
  axis_name: str | None = None,
  scales: Sequence[float] = (4, 8, 16, 32),
  ratios: Sequence[float] = (0.5, 1.0, 2.0),
  candidates: int = 6000,
  training_proposals: int = 1000,
  proposals: int = 300,
  anchor_samples: int = 256,
  region_samples: int = 512,
  count: int = 100,
  **options: Any,
):
  """The parts of `deltax.tasks.detection.detectors.Detector`, in order.

  Args:
    model: name of the network.
    num_classes: K.
    size: (H, W) of the frames.
    axis_name: mapped axis of the devices; nothing is pooled over it, since
      batch statistics are frozen and a frame's losses are its own.
    scales: sides of the anchors, in strides of 16 pixels.
    ratios: heights of the anchors over their widths.
    candidates: best anchors that compete to be proposals.
    training_proposals: of a frame, at most.
    proposals: the same in evaluation.
    anchor_samples: anchors of a frame that the first stage is trained on.
    region_samples: regions of a frame that the second stage is trained on.
    count: detections of a frame, at most.
    **options: attributes of the network.
  """
  del axis_name
  net = models.create(
    model,
    num_classes=num_classes,
    anchors=len(scales) * len(ratios),
    **options,
  )
  anchors = grid_anchors(
    tuple(-(-length // STRIDE) for length in size),
    stride=STRIDE,
    scales=tuple(scales),
    ratios=tuple(ratios),
  )

  def flat(outs):
    """Objectness `[N, A]` and codes `[N, A, 4]` of all anchors."""
    frames = len(outs['codes'])
    return (
      outs['objectness'].reshape(frames, -1),
      outs['codes'].reshape(frames, -1, 4),
    )

  def proposals_of(objectness, codes, size, count):
    one = functools.partial(
      propose, anchors=anchors, count=count, candidates=candidates
    )
    return jax.vmap(lambda o, c, s: one(o, c, size=s))(objectness, codes, size)

  def heads(variables, features, boxes):
    return net.apply(variables, features, boxes, method='heads')

  def losses(variables, outs, frames: Mapping[str, Array], key: Key):
    objectness, codes = flat(outs)
    truths, classes = frames['boxes'], frames['classes']
    size = frames['size']
    found = proposals_of(objectness, codes, size, training_proposals)
    keys = jax.random.split(key, (2, len(truths)))

    def first(objectness, codes, truths, classes, size, key):
      return proposal_losses(
        objectness,
        codes,
        anchors,
        truths,
        classes,
        size,
        key,
        count=anchor_samples,
      )

    draw = functools.partial(draw_regions, count=region_samples)
    regions = jax.vmap(draw)(*found, truths, classes, keys[1])
    answers = heads(variables, outs['features'], regions.boxes)
    named = {
      'proposal': jax.vmap(first)(
        objectness, codes, truths, classes, size, keys[0]
      ),
      'region': jax.vmap(region_losses)(*answers, regions),
    }
    return {
      f'{stage}_{kind}': value
      for stage, values in named.items()
      for kind, value in zip(('classes', 'boxes'), values, strict=True)
    }

  def detect(variables, outs, size: Array) -> Detections:
    boxes, kept = proposals_of(*flat(outs), size, proposals)
    scores, codes = heads(variables, outs['features'], boxes)
    one = functools.partial(read, count=count)
    return jax.vmap(one)(scores, codes, boxes, kept, size)

  def imitate(outs, targets):
    def one(out, target):
      error = jnp.square(out - jax.lax.stop_gradient(target))
      return error.mean(tuple(range(1, error.ndim)))

    return sum(jax.tree.leaves(jax.tree.map(one, outs, targets)))

  return net, net, losses, detect, imitate


def read(
  scores: Array,
  codes: Array,
  proposals: Array,
  kept: Array,
  size: Array,
  *,
  count: int,
  floor: float = 1e-4,
) -> Detections:
  """The detections of one frame.

  Args:
    scores: `[R, K + 1]` logits, the background last.
    codes: `[R, 4 * K]`, one class's after another's.
    proposals: `[R, 4]`.
    kept: bool `[R]`; False for an absent proposal.
    size: `[2]` rows and columns of the picture; boxes are cut to it.
    count: N.
    floor: probability that a detection exceeds.

  Returns:
    Boxes `[N, 4]`, scores `[N]` and classes `[N]`.
  """
  regions, classes = len(scores), scores.shape[-1] - 1
  probable = jax.nn.softmax(scores)[:, :-1]
  probable = jnp.where(kept[:, None] & (probable > floor), probable, -jnp.inf)
  codes = codes.reshape(regions, classes, 4)
  boxes = decode(proposals[:, None], codes, deviation=DEVIATION)
  boxes = clip_to(boxes.reshape(-1, 4), size)
  labels = jnp.tile(jnp.arange(classes, dtype=jnp.int32), regions)
  probable = probable.ravel()
  indices, taken = nms(boxes, probable, iou=0.5, count=count, classes=labels)
  return Detections(
    jnp.where(taken[:, None], boxes[indices], 0),
    jnp.where(taken, probable[indices], 0),
    jnp.where(taken, labels[indices], -1),
  )
