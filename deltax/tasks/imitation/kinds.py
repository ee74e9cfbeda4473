"""Kinds of outputs: what it is to agree with the teacher on each.

Any output of a network is one of these, and they are told apart by shape and
range where nobody says. Losses are 0 where the output is the teacher's own;
scores are shares, and 1 there.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax.losses.segmentation import divergence
from deltax.metrics.segmentation import confusion, iou, mean_iou
from deltax.training.parallel import mean_over_devices
from deltax.types import Array

EPSILON = 1e-6  # nearest to 0 and 1 that a probability is taken to be
CLASSES, FEATURES = 256, 64  # channels: fewer; a multiple of so many, or more
VALUES = 4  # channels or fewer: depth, motion, colours, boxes


class Kind(NamedTuple):
  """A kind of output.

  Attributes:
    loss: `(own, target, axis_name) -> [B]`, of outputs `[B, T, ...]`, to which
      no gradient flows from the target.
    counts: `(own, target) -> {name: [B, T, ...]}`, to be summed over clips.
    scores: of summed counts `{name: [...]}`, `{name: share}`.
    score: name of the one that stands for the output.
    metric: what that is called in a table, and in a sentence.
    about: what it is, a sentence without its end.
    decide: `output [..., K] -> int32 [...]`, the answer at every place; None
      where there are no answers that are equal or not.
  """

  loss: Callable[[Array, Array, str | None], Array]
  counts: Callable[[Array, Array], dict[str, Array]]
  scores: Callable[[Mapping[str, np.ndarray]], dict[str, float]]
  score: str
  metric: tuple[str, str]
  about: str
  decide: Callable[[Array], Array] | None = None


def _mean(x: Array) -> Array:
  return x.mean(tuple(range(1, x.ndim)))


def _class_loss(own, target, axis_name):
  del axis_name
  return divergence(own, target)


def _class_of(x):
  return x.argmax(-1).astype(jnp.int32)


def _class_counts(own, target):
  classes = own.shape[-1]
  picture = (*own.shape[:2], -1, 1)  # whatever the places are
  predicted, seen = (_class_of(x).reshape(picture) for x in (own, target))
  return {'confusion': confusion(predicted, seen, classes)}


def _class_scores(counts):
  matrix = np.asarray(counts['confusion'], np.float64)
  places = max(matrix.sum(), 1)
  return {
    'miou': float(mean_iou(matrix)),
    'agreement': float(np.trace(matrix) / places),
  }


def _binary_loss(own, target, axis_name):
  del axis_name
  target = jax.lax.stop_gradient(target)
  yes, no = jax.nn.log_sigmoid(target), jax.nn.log_sigmoid(-target)
  apart = jnp.exp(yes) * (yes - jax.nn.log_sigmoid(own))
  apart += jnp.exp(no) * (no - jax.nn.log_sigmoid(-own))
  return _mean(apart)


def _above(threshold):
  """Counts of yes and no, and the strongest answer at every place."""

  def counts(own, target):
    own, target = own > threshold, target > threshold
    parts = own & target, own | target, own == target, jnp.ones_like(own)
    axes = tuple(range(2, own.ndim))
    return {'overlap': jnp.stack([x.sum(axes) for x in parts], -1)}

  def decide(x):
    return (x.max(-1) > threshold).astype(jnp.int32)

  return {'counts': counts, 'decide': decide}


def _overlap_scores(counts):
  both, either, same, places = np.asarray(counts['overlap'], np.float64)
  return {
    'iou': float(both / either) if either else 1.0,
    'agreement': float(same / max(places, 1)),
  }


def _value_loss(own, target, axis_name):
  target = jax.lax.stop_gradient(target)
  axes = tuple(range(target.ndim - 1))
  # All devices must divide by the same spread.
  mean = mean_over_devices(target.mean(axes, keepdims=True), axis_name)
  squares = jnp.square(target - mean).mean(axes, keepdims=True)
  spread = jnp.sqrt(mean_over_devices(squares, axis_name))
  off = (own - target) / jnp.where(spread > 0, spread, 1)
  size = jnp.abs(off)
  return _mean(jnp.where(size < 1, 0.5 * jnp.square(off), size - 0.5))


def _value_counts(own, target):
  axes = tuple(range(2, target.ndim))
  # About each clip's own mean: sums of squares far from zero lose digits.
  mean = target.mean((1, *axes), keepdims=True)
  parts = jnp.square(own - target), jnp.square(target - mean)
  return {'squares': jnp.stack([x.sum(axes) for x in parts], -1)}


def _value_scores(counts):
  missed, spread = np.asarray(counts['squares'], np.float64)
  if not spread > 0:
    return {'closeness': 1.0 if missed == 0 else 0.0}
  return {'closeness': float(max(0.0, 1 - np.sqrt(missed / spread)))}


def _cosines(own, target):
  own, target = (x.astype(jnp.float32) for x in (own, target))
  sizes = jnp.linalg.norm(own, axis=-1) * jnp.linalg.norm(target, axis=-1)
  cosine = (own * target).sum(-1) / jnp.maximum(sizes, EPSILON)
  # Nothing agrees with nothing.
  same = (own == target).all(-1)
  return jnp.where(same, 1.0, cosine)


def _feature_loss(own, target, axis_name):
  del axis_name
  target = jax.lax.stop_gradient(target)
  sizes = jnp.square(own).sum(-1) * jnp.square(target).sum(-1)
  cosine = (own * target).sum(-1) / jnp.sqrt(jnp.maximum(sizes, EPSILON**2))
  return _mean(1 - cosine)


def _feature_counts(own, target):
  cosine = _cosines(own, target).reshape(*own.shape[:2], -1)
  parts = cosine.sum(-1), jnp.full(own.shape[:2], cosine.shape[-1])
  return {'cosine': jnp.stack(parts, -1)}


def _feature_scores(counts):
  total, places = np.asarray(counts['cosine'], np.float64)
  return {'cosine': float(total / max(places, 1))}


def _clip(x: Array) -> Array:
  """Probabilities that have a logarithm."""
  exact = jnp.promote_types(x.dtype, jnp.float32)
  return jnp.clip(x.astype(exact), EPSILON, 1 - EPSILON)


def _of_log(loss):
  return lambda own, target, axis_name: loss(
    jnp.log(_clip(own)), jnp.log(_clip(target)), axis_name
  )


def _of_logit(loss):
  def logit(x):
    x = _clip(x)
    return jnp.log(x) - jnp.log1p(-x)

  return lambda own, target, axis_name: loss(
    logit(own), logit(target), axis_name
  )


_CLASSES = Kind(
  _class_loss,
  _class_counts,
  _class_scores,
  'miou',
  ('mIoU', 'mean IoU'),
  "mean intersection over union of the classes with the teacher's own",
  _class_of,
)
_LOGITS = Kind(
  _binary_loss,
  scores=_overlap_scores,
  score='iou',
  metric=('IoU', 'IoU'),
  about='intersection over union, at a probability of 0.5, with what the '
  'teacher itself finds',
  **_above(0.0),
)
KINDS = {
  'classes': _CLASSES,
  'class_probabilities': _CLASSES._replace(loss=_of_log(_class_loss)),
  'logits': _LOGITS,
  'probabilities': _LOGITS._replace(
    loss=_of_logit(_binary_loss), **_above(0.5)
  ),
  'values': Kind(
    _value_loss,
    _value_counts,
    _value_scores,
    'closeness',
    ('closeness', 'closeness'),
    '1 less the relative error, the root of the mean square in units of the '
    "teacher's own spread",
  ),
  'features': Kind(
    _feature_loss,
    _feature_counts,
    _feature_scores,
    'cosine',
    ('cosine', 'cosine similarity'),
    "cosine of the angle to the teacher's own",
  ),
}
EXTRAS = {  # beside the score that stands for an output: a name and a note
  'agreement': (
    'agreement',
    'Agreement: share of places with the answer that the teacher gives.',
  )
}


def class_scores(counts: Mapping[str, np.ndarray]) -> np.ndarray:
  """`[K]` IoU of each class with the teacher's, NaN where it never occurs."""
  return np.asarray(iou(np.asarray(counts['confusion'])))


def guess(output: Array) -> str | None:
  """The kind of an output, by its shape and range.

  Args:
    output: `[B, ..., K]` of real weights on any frames.

  Returns:
    One of `KINDS`; None for whole numbers, and for less than two axes: these
    are left out. Channels from 0 to 1 are probabilities, of classes if they add
    up to 1. Up to `VALUES` channels are values, as depth or motion; a multiple
    of `FEATURES`, and `CLASSES` or more, are features; what is between are
    scores of classes.

  Example:
    >>> guess(jnp.full((1, 4, 4, 2), 0.5)), guess(jnp.ones((1, 4, 4, 19)) * 3)
    ('class_probabilities', 'classes')
  """
  if output.ndim < 2 or not jnp.issubdtype(output.dtype, jnp.floating):
    return None
  exact = np.asarray(output, np.float32)
  channels = exact.shape[-1]
  if exact.min() >= 0 and exact.max() <= 1:
    whole = channels > 1 and np.allclose(exact.sum(-1), 1, atol=1e-3)
    return 'class_probabilities' if whole else 'probabilities'
  if channels <= VALUES:
    return 'values'
  if channels >= CLASSES or channels % FEATURES == 0:
    return 'features'
  return 'classes'
