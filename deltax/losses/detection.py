"""Losses of detectors over anchors, against boxes or another network."""

import jax
import jax.numpy as jnp

from deltax.types import Array


def focal(
  logits: Array, classes: Array, *, alpha: float = 0.25, gamma: float = 1.5
) -> Array:
  """Focal loss of every class at every anchor, summed.

  Each class is a yes-or-no question; answers that are right already count
  little.

  Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.

  Args:
    logits: `[B, A, K]` float scores.
    classes: `[B, A]` int32; -1 for background, where every answer is no.
    alpha: weight of the class that is there; the others weigh 1 - alpha.
    gamma: exponent of the probability of the wrong answer.

  Returns:
    `[B]` sums in nats, not divided by anything.

  Example:
    >>> loss = focal(jnp.zeros((1, 1, 2)), jnp.array([[1]]), gamma=0.0)
    >>> round(float(loss[0] / jnp.log(2)), 6)
    1.0
  """
  truth = jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
  probability = jax.nn.sigmoid(logits)
  wrong = truth * (1 - probability) + (1 - truth) * probability
  weights = truth * alpha + (1 - truth) * (1 - alpha)
  entropy = jax.nn.softplus(logits) - logits * truth
  return (weights * wrong**gamma * entropy).sum((1, 2))


def huber(codes: Array, targets: Array, *, delta: float = 0.1) -> Array:
  """Huber loss of box codes, summed.

  Args:
    codes: `[B, A, 4]` predictions.
    targets: `[B, A, 4]`; an entry that is exactly 0 does not count, as
      published: background has zeros.
    delta: error from which the loss is linear.

  Returns:
    `[B]` sums, not divided by anything.

  Example:
    >>> codes, targets = jnp.zeros((1, 1, 4)), jnp.array([[[0.1, 1.1, 0, 0]]])
    >>> round(float(huber(codes, targets)[0]), 6)
    0.11
  """
  loss = _huber(codes - targets, delta)
  return jnp.where(targets != 0, loss, 0).sum((1, 2))


def imitation(
  logits: Array,
  codes: Array,
  teacher_logits: Array,
  teacher_codes: Array,
  *,
  box_weight: float,
  delta: float = 0.1,
) -> Array:
  """How far the answers at all anchors are from a teacher's.

  The class term is the quality focal loss with the teacher's probability as the
  quality; boxes weigh as much as the teacher believes in them. Empty background
  costs next to nothing.

  Source: Li et al., "Generalized Focal Loss", 2020.

  Args:
    logits: `[B, A, K]`.
    codes: `[B, A, 4]`.
    teacher_logits: `[B, A, K]`; no gradient flows to the teacher.
    teacher_codes: `[B, A, 4]`.
    box_weight: of the box term, against the class term.
    delta: error of a code from which the box term is linear.

  Returns:
    `[B]`, divided by the teacher's sum of probabilities, plus one.

  Example:
    >>> logits, codes = jnp.zeros((1, 2, 3)), jnp.ones((1, 2, 4))
    >>> float(imitation(logits, codes, logits, codes, box_weight=1.0)[0])
    0.0
  """
  teacher_logits, teacher_codes = jax.lax.stop_gradient(
    (teacher_logits, teacher_codes)
  )
  truth = jax.nn.sigmoid(teacher_logits)
  distance = jnp.abs(jax.nn.sigmoid(logits) - truth)
  entropy = jax.nn.softplus(logits) - logits * truth
  belief = truth.max(-1)
  boxes = _huber(codes - teacher_codes, delta).mean(-1)
  total = (distance**2 * entropy).sum((1, 2))
  total += box_weight * (belief * boxes).sum(1)
  return total / (truth.sum((1, 2)) + 1)


def _huber(error: Array, delta: float) -> Array:
  error = jnp.abs(error)
  bounded = jnp.minimum(error, delta)
  return bounded**2 / 2 + delta * (error - bounded)
