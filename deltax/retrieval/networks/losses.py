"""What the networks of video retrieval learn from.

Scores and similarities are floats; every loss is of one example, or of one row
of a matrix of similarities.
"""

import math

import jax.numpy as jnp
import optax
from jax import nn

from deltax.types import Array

_SMALLEST = 1e-6  # added to the contrast, so that it is never of nothing
_NEAREST = 1e-3  # least distance of a negative


def distillation(scores: Array, teacher: Array) -> Array:
  """How far scores are from the teacher's.

  Args:
    scores: of any shape; a fine student's in [-1, 1], cosines of a coarse one.
    teacher: of that shape, in the range of the student: for a coarse student,
      half the teacher's score and a half.

  Returns:
    Absolute differences, in the same shape.

  Source: Kordopatis-Zilos et al., "DnS: Distill-and-Select", IJCV 2022, section
  3.3.
  """
  return jnp.abs(scores - teacher)


def penalty(raw: Array) -> Array:
  """How far outputs of the comparator lie outside of [-1, 1].

  Args:
    raw: `[B, t, s]`, before the limits are applied, places that pad included.

  Returns:
    `[B]` sums, as published: long videos weigh more than short ones.

  Source: Kordopatis-Zilos et al., "ViSiL", ICCV 2019, section 3.5.

  Example:
    >>> penalty(jnp.array([[[1.5, -3.0], [0.5, -1.0]]])).tolist()
    [2.5]
  """
  return jnp.maximum(jnp.abs(raw) - 1, 0).sum((1, 2))


def triplet(positive: Array, negative: Array, margin: float = 0.5) -> Array:
  """How much a negative's score lacks of being `margin` below a positive's.

  Args:
    positive: scores of any shape.
    negative: scores of that shape.
    margin: wanted difference.

  Returns:
    Shortfalls of at least 0, in the same shape.

  Source: ViSiL, section 3.5.
  """
  return jnp.maximum(negative - positive + margin, 0)


def contrast(
  similarities: Array, alike: Array, temperature: float = 0.03
) -> Array:
  """Cross entropy of each positive among itself and all the row's negatives.

  Args:
    similarities: `[N, N]` of views, in [0, 1].
    alike: `[N, N]`, 1 where two views are of the same video and 0 elsewhere.
    temperature: similarities are divided by it.

  Returns:
    `[N]`, in nats, the mean over the positives of a row but the view itself; 0
    where there are none.

  Source: Kordopatis-Zilos et al., "Self-Supervised Video Similarity Learning",
  CVPR Workshops 2023, section 3.3 (InfoNCE).
  """
  logits = similarities / temperature
  others = jnp.where(alike > 0, -jnp.inf, logits)
  others = jnp.logaddexp(nn.logsumexp(others, axis=1), math.log(_SMALLEST))
  losses = jnp.logaddexp(logits, others[:, None]) - logits
  positives = (alike > 0) & ~jnp.eye(len(alike), dtype=bool)
  total = jnp.where(positives, losses, 0.0).sum(1)
  return total / jnp.maximum(positives.sum(1), 1)


def hardest_negative(similarities: Array, alike: Array) -> Array:
  """How near the most similar view of another video is.

  Args:
    similarities: `[N, N]` of views, in [0, 1].
    alike: `[N, N]`, 1 where two views are of the same video and 0 elsewhere.

  Returns:
    `[N]`, minus the logarithm of its distance from 1, which counts as 0.001 at
    least; 0 where all are alike.

  Source: "Self-Supervised Video Similarity Learning", section 3.3.
  """
  nearest = jnp.where(alike > 0, 0.0, similarities).max(1)
  return -jnp.log(jnp.maximum(1 - nearest, _NEAREST))


def self_match(similarities: Array) -> Array:
  """How far views are from being found in themselves.

  Args:
    similarities: `[N, N]` of views, in (0, 1].

  Returns:
    `[N]`, minus the logarithms of the diagonal.

  Source: "Self-Supervised Video Similarity Learning", section 3.3.
  """
  return -jnp.log(jnp.diagonal(similarities))


def selection(logits: Array, labels: Array) -> Array:
  """Cross entropy of the selector's decisions, of any shape.

  Args:
    logits: of the selector.
    labels: 1 for a pair that deserves the fine student, else 0, as
      `deltax.data.features.scored_pairs.deserves` tells them.
  """
  return optax.sigmoid_binary_cross_entropy(logits, labels)
