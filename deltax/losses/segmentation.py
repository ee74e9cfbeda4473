"""Cross entropy of dense labels, over all pixels or the hard ones."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from deltax.types import IGNORE, Array

# Weights of Cityscapes' 19 classes, as street-scene networks publish them.
CITYSCAPES_WEIGHTS = (
  *(0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786),
  *(1.0023, 0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529),
  1.0507,
)


def cross_entropy(
  logits: Array, labels: Array, class_weights: Sequence[float] | None = None
) -> Array:
  """Mean cross entropy over the labelled pixels of each example.

  Args:
    logits: `[B, ..., K]` float scores.
    labels: `[B, ...]` integer classes; 255 is no label.
    class_weights: K factors of the pixels' losses by class; 1 when absent.

  Returns:
    `[B]`, in nats; 0 for an example without a label.
  """
  losses, _, labelled = _pixels(logits, labels, class_weights)
  axes = tuple(range(1, labels.ndim))
  return losses.sum(axes) / jnp.maximum(labelled.sum(axes), 1)


def divergence(logits: Array, target: Array) -> Array:
  """Divergence of class probabilities from a target's, at every place.

  Args:
    logits: `[B, ..., K]` scores.
    target: `[B, ..., K]` scores to be matched; no gradient flows to them.

  Returns:
    `[B]` Kullback-Leibler divergence of the target from the scores, in nats,
    the mean over the places.
  """
  target = jax.nn.log_softmax(jax.lax.stop_gradient(target))
  apart = jnp.exp(target) * (target - jax.nn.log_softmax(logits))
  return apart.sum(-1).mean(tuple(range(1, logits.ndim - 1)))


def hard_cross_entropy(
  logits: Array,
  labels: Array,
  class_weights: Sequence[float] | None = None,
  *,
  threshold: float = 0.9,
  min_kept: int = 131072,
) -> Array:
  """Cross entropy over the pixels that are still hard (OHEM).

  A pixel counts if the probability of its class is below the threshold. The
  threshold rises to the `min_kept`-th smallest probability of the whole batch
  where fewer pixels are that hard. Pixels are chosen over the batch given: with
  several devices, over each device's share of it.

  Args:
    logits: `[B, ..., K]` float scores.
    labels: `[B, ...]` integer classes; 255 is no label.
    class_weights: K factors of the pixels' losses by class; 1 when absent.
    threshold: probability, 0 to 1.
    min_kept: pixels of the batch that are counted at least.

  Returns:
    `[B]`, in nats. Their mean over the batch is the mean over all its hard
    pixels, as published: examples with more of them weigh more.
  """
  losses, probability, labelled = _pixels(logits, labels, class_weights)
  ranked = jnp.sort(jnp.where(labelled, probability, jnp.inf).ravel())
  last = jnp.minimum(min_kept, labelled.sum() - 1)
  limit = jnp.maximum(ranked[last], threshold)
  hard = labelled & (probability < jax.lax.stop_gradient(limit))
  axes = tuple(range(1, labels.ndim))
  total = jnp.maximum(hard.sum(), 1)
  return jnp.where(hard, losses, 0.0).sum(axes) * (len(labels) / total)


def _pixels(logits, labels, class_weights):
  """Weighted loss, probability of the true class, and labelled, by pixel."""
  labelled = labels != IGNORE
  classes = jnp.where(labelled, labels, 0).astype(jnp.int32)
  truth = jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
  log_p = (jax.nn.log_softmax(logits) * truth).sum(-1)
  losses = -log_p
  if class_weights is not None:
    losses = losses * (truth @ jnp.asarray(class_weights, logits.dtype))
  return jnp.where(labelled, losses, 0.0), jnp.exp(log_p), labelled
