"""What the detection tasks of teachers and of delta networks share."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.boxes import Detections
from deltax.metrics.detection import average_precision
from deltax.tasks.detection.detectors import Detector
from deltax.tasks.parts import fold, unfold
from deltax.types import Array, Batch, Key


def frame_losses(
  detector: Detector, variables: Any, outs: Any, batch: Batch, key: Key
) -> dict[str, Array]:
  """A detector's losses of clips: `{name: [B]}`, means over the T frames.

  Args:
    detector: of the losses.
    variables: of the network.
    outs: of the network, on `[B * T]` frames.
    batch: see `detection.make_task`.
    key: for losses that sample.
  """
  clips, time = batch['frames'].shape[:2]
  frames = {
    'boxes': fold(batch['boxes']),
    'classes': fold(batch['classes']),
    'size': jnp.repeat(batch['size'], time, 0),
    'mask': fold(batch['real'] * batch['mask'][:, None]),
  }
  losses = detector.losses(variables, outs, frames, key)
  return {name: unfold(v, clips).mean(1) for name, v in losses.items()}


def imitation(detector: Detector, outs: Any, targets: Any) -> Array:
  """How far the later frames' outputs are from a target's.

  Args:
    detector: that says how far.
    outs: arrays `[B, T, ...]`.
    targets: the same of the teacher; no gradient flows to them.

  Returns:
    `[B]`: the mean over the frames.
  """
  clips = len(jax.tree.leaves(outs)[0])
  outs, targets = (
    jax.tree.map(lambda x: fold(x[:, 1:]), tree) for tree in (outs, targets)
  )
  return unfold(detector.imitate(outs, targets), clips).mean(1)


def detections_on(
  name: str, detector: Detector, variables: Any, outs: Any, batch: Batch
) -> dict[str, Array]:
  """'<name>/boxes' `[B, T, D, 4]`, '<name>/scores' and '<name>/classes'.

  Args:
    name: prefix of the arrays.
    detector: that decodes the outputs.
    variables: of the network.
    outs: of the network, on `[B * T]` frames.
    batch: see `detection.make_task`.
  """
  clips, time = batch['frames'].shape[:2]
  detections = detector.detect(
    variables, outs, jnp.repeat(batch['size'], time, 0)
  )
  return {
    f'{name}/{key}': unfold(value, clips)
    for key, value in detections._asdict().items()
  }


def truths(batch: Batch) -> dict[str, Array]:
  """'truth/boxes' `[B, T, N, 4]`, 'truth/classes' and 'truth/real'."""
  return {
    f'truth/{name}': jnp.asarray(batch[name])
    for name in ('boxes', 'classes', 'real')
  }


def precision_of(
  name: str,
  arrays: Mapping[str, np.ndarray],
  num_classes: int,
  frames: slice = slice(None),
) -> dict[str, Any]:
  """Average precision of one network on some frames of every clip.

  Args:
    name: prefix of its detections.
    arrays: as `detections_on` and `truths` give, stacked over clips.
    num_classes: K.
    frames: which of the T frames; all by default.

  Returns:
    As `average_precision`.
  """

  def of(prefix, fields):
    return {
      key: np.concatenate(arrays[f'{prefix}/{key}'][:, frames])
      for key in fields
    }

  return average_precision(
    of(name, Detections._fields),
    of('truth', ('boxes', 'classes')),
    num_classes,
    real=np.concatenate(arrays['truth/real'][:, frames]) > 0,
  )


def scores_of(
  name: str,
  arrays: Mapping[str, np.ndarray],
  num_classes: int,
  interval: int = 1,
) -> dict[str, float]:
  """Scores of one network's detections, 0 to 1.

  Args:
    name: prefix of its detections.
    arrays: see `precision_of`.
    num_classes: K.
    interval: distance of key frames in the clips.

  Returns:
    '<name>/ap50' and '<name>/ap' over all frames, and for an interval above 1
    '<name>/ap50_<d>' over the frames at each distance to the key frame.
  """
  precision = precision_of(name, arrays, num_classes)
  scores = {f'{name}/ap50': precision['ap50'], f'{name}/ap': precision['ap']}
  if interval > 1:
    for d in range(min(interval, arrays['truth/real'].shape[1])):
      at = precision_of(name, arrays, num_classes, slice(d, None, interval))
      scores[f'{name}/ap50_{d}'] = at['ap50']
  return scores
