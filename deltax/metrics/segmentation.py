"""Intersection over union from confusion matrices.

Confusion matrices of batches, frames or devices add up to the matrix of all of
them; the scores are taken from the sum, once.
"""

import jax.numpy as jnp

from deltax.types import IGNORE, Array


def confusion(
  predictions: Array, labels: Array, num_classes: int, ignore: int = IGNORE
) -> Array:
  """Counts how often each class is predicted as each.

  >>> predictions, labels = jnp.array([[0, 1, 1]]), jnp.array([[0, 0, 255]])
  >>> confusion(predictions, labels, num_classes=2).tolist()
  [[1, 1], [0, 0]]

  Args:
    predictions: integer `[..., H, W]`, classes 0 to K - 1.
    labels: integer `[..., H, W]`, classes 0 to K - 1, or `ignore`.
    num_classes: K.
    ignore: the label of a pixel that is not counted. Labels and predictions
      outside 0 to K - 1 are not counted either.

  Returns:
    int32 `[..., K, K]`, pixels by label (row) and prediction (column): exact up
    to 2^31 pixels a cell.

  Raises:
    ValueError: the shapes differ.
  """
  if predictions.shape != labels.shape:
    raise ValueError(
      'predictions and labels must have one shape [..., H, W], got '
      f'{predictions.shape} and {labels.shape}'
    )
  lead = labels.shape[:-2]
  predictions = predictions.reshape(-1, *labels.shape[-2:]).astype(jnp.int32)
  labels = labels.reshape(predictions.shape).astype(jnp.int32)
  counted = (labels != ignore) & (0 <= labels) & (labels < num_classes)
  counted &= (0 <= predictions) & (predictions < num_classes)
  # A scatter-add over all matrices at once: on CPU 7 times (11 classes) to 35
  # times (19) as fast as the product of two one-hot arrays.
  cells = num_classes**2
  cell = jnp.where(counted, labels * num_classes + predictions, cells)
  cell += (cells + 1) * jnp.arange(len(cell)).reshape(-1, 1, 1)
  counts = jnp.zeros(len(cell) * (cells + 1), jnp.int32)
  counts = counts.at[cell.ravel()].add(1).reshape(-1, cells + 1)
  return counts[:, :cells].reshape(*lead, num_classes, num_classes)


def iou(confusion: Array) -> Array:
  """Intersection over union of each class.

  Args:
    confusion: `[..., K, K]`, pixels by label (row) and prediction (column).

  Returns:
    float32 `[..., K]`, 0 to 1; NaN for a class in neither labels nor
    predictions.
  """
  right = jnp.diagonal(confusion, axis1=-2, axis2=-1)
  union = confusion.sum(-1) + confusion.sum(-2) - right
  return jnp.where(union > 0, right / jnp.maximum(union, 1), jnp.nan)


def mean_iou(confusion: Array) -> Array:
  """Mean intersection over union of the classes that occur.

  A class that is neither labelled nor predicted has no IoU and is left out; one
  that is predicted but never labelled counts as 0. Over the whole Cityscapes
  validation set every one of the 19 classes occurs, so this is the published
  score there.

  Args:
    confusion: `[..., K, K]`, pixels by label (row) and prediction (column).

  Returns:
    float32 `[...]`, 0 to 1; NaN where nothing was counted.
  """
  scores = iou(confusion)
  present = ~jnp.isnan(scores)
  total = jnp.where(present, scores, 0).sum(-1)
  number = present.sum(-1)
  return jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.nan)
