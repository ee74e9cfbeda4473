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
from deltax.layers import noise
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

  propose_some = functools.partial(
    proposals_of, anchors=anchors, candidates=candidates
  )

  def losses(variables, outs, frames: Mapping[str, Array], key: Key):
    first, second = (
      noise.of_rows(jax.random.split, half, len(frames['boxes']))
      for half in jax.random.split(key)
    )
    proposed = propose_some(outs, frames['size'], training_proposals)
    draw = functools.partial(draw_regions, count=region_samples)
    regions = jax.vmap(draw)(
      *proposed, frames['boxes'], frames['classes'], second
    )
    answers = _heads(net, variables, outs, regions.boxes)
    stages = {
      'proposal': first_stage(
        outs, frames, first, anchors=anchors, count=anchor_samples
      ),
      'region': jax.vmap(region_losses)(*answers, regions),
    }
    return {
      f'{stage}_{kind}': value
      for stage, values in stages.items()
      for kind, value in zip(('classes', 'boxes'), values, strict=True)
    }

  def detect(variables, outs, size: Array) -> Detections:
    boxes, kept = propose_some(outs, size, proposals)
    scores, codes = _heads(net, variables, outs, boxes)
    one = functools.partial(read, count=count)
    return jax.vmap(one)(scores, codes, boxes, kept, size)

  return net, net, losses, detect, imitate


def proposals_of(
  outs: Mapping[str, Array],
  size: Array,
  count: int,
  *,
  anchors: Array,
  candidates: int,
) -> tuple[Array, Array]:
  """Boxes in which there may be an object.

  Args:
    outs: 'objectness' and 'codes' of the first stage, see `_of_anchors`.
    size: `[N, 2]` rows and columns of the picture inside the frame.
    count: P, of a frame.
    anchors: `[A, 4]`.
    candidates: best anchors that compete.

  Returns:
    Boxes `[N, P, 4]`, and bool `[N, P]`, False for an absent one.
  """

  def one(objectness, codes, size):
    return propose(
      objectness,
      codes,
      anchors=anchors,
      size=size,
      count=count,
      candidates=candidates,
    )

  return jax.vmap(one)(*_of_anchors(outs), size)


def first_stage(
  outs: Mapping[str, Array],
  frames: Mapping[str, Array],
  keys: Key,
  *,
  anchors: Array,
  count: int,
) -> tuple[Array, Array]:
  """Losses of the first stage.

  Args:
    outs: of the network.
    frames: see `deltax.tasks.detection.detectors.Detector`.
    keys: `[N]`, for the anchors that are drawn.
    anchors: `[A, 4]`.
    count: anchors of a frame that count.

  Returns:
    `[N]` of the classes, and `[N]` of the boxes.
  """

  def one(objectness, codes, boxes, classes, size, key):
    return proposal_losses(
      *(objectness, codes, anchors, boxes, classes, size, key), count=count
    )

  given = (frames[name] for name in ('boxes', 'classes', 'size'))
  return jax.vmap(one)(*_of_anchors(outs), *given, keys)


def imitate(outs: Any, targets: Any) -> Array:
  """`[N]` sums over the outputs of their mean squared errors.

  Args:
    outs: arrays `[N, ...]`.
    targets: the same of the teacher; no gradient flows to them.
  """

  def one(out, target):
    error = jnp.square(out - jax.lax.stop_gradient(target))
    return error.mean(tuple(range(1, error.ndim)))

  return sum(jax.tree.leaves(jax.tree.map(one, outs, targets)))


def _of_anchors(outs) -> tuple[Array, Array]:
  """Objectness `[N, A]` and codes `[N, A, 4]` of all anchors."""
  frames = len(outs['codes'])
  return (
    outs['objectness'].reshape(frames, -1),
    outs['codes'].reshape(frames, -1, 4),
  )


def _heads(net, variables, outs, boxes):
  """The second stage: scores and codes of boxes `[N, R, 4]`."""
  return net.apply(variables, outs['features'], boxes, method='heads')


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
