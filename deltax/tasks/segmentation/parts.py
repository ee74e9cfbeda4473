"""What the segmentation tasks of teachers and of delta networks share."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from deltax.layers import resize_bilinear
from deltax.losses import segmentation as losses_of
from deltax.metrics import segmentation as metrics_of
from deltax.metrics.temporal import consistency
from deltax.types import Array


def upsample(logits: Array, size: tuple[int, int]) -> Array:
  """`[B, T, h, w, K]` scores at (H, W), bilinearly."""
  flat = logits.reshape(-1, *logits.shape[2:])
  return resize_bilinear(flat, size).reshape(
    *logits.shape[:2], *size, logits.shape[-1]
  )


def predict(logits: Array, size: tuple[int, int]) -> Array:
  """Classes of every pixel.

  Args:
    logits: `[B, T, h, w, K]` scores.
    size: (H, W) of the labels, to which the scores are resized.

  Returns:
    int32 `[B, T, H, W]`.
  """
  return upsample(logits, size).argmax(-1).astype(jnp.int32)


def make_loss(
  *,
  hard: bool = False,
  threshold: float = 0.9,
  min_kept: int = 131072,
  class_weights: Sequence[float] | None = None,
):
  """`(logits [B, T, h, w, K], labels [B, T, H, W]) -> [B]`, see `make_task`."""

  def loss(logits, labels):
    logits = upsample(logits, labels.shape[2:])
    if hard:
      return losses_of.hard_cross_entropy(
        logits,
        labels,
        class_weights,
        threshold=threshold,
        min_kept=min_kept,
      )
    return losses_of.cross_entropy(logits, labels, class_weights)

  return loss


def judge(
  name: str, logits: Array, batch: Mapping[str, Array], num_classes: int
) -> dict[str, Array]:
  """Counts of one network's predictions on clips.

  Args:
    name: prefix of the counts.
    logits: `[B, T, h, w, K]` scores.
    batch: with 'labels', and with 'flow' and 'visible' where motion is known.
    num_classes: K.

  Returns:
    '<name>/confusion' `[B, T, K, K]`, and '<name>/kept' and '<name>/moved'
    `[B]` where motion is known.
  """
  labels = batch['labels']
  predictions = predict(logits, labels.shape[2:])
  counts = {'confusion': metrics_of.confusion(predictions, labels, num_classes)}
  if 'flow' in batch:
    motion = batch['flow'][:, 1:], batch['visible'][:, 1:]
    counts |= consistency(predictions, *motion)
  return {f'{name}/{key}': value for key, value in counts.items()}


def scores_of(
  name: str, counts: Mapping[str, np.ndarray], interval: int = 1
) -> dict[str, float]:
  """Scores from the summed counts of `judge`.

  Args:
    name: prefix of the counts.
    counts: summed over clips: '<name>/confusion' `[T, K, K]` and the others.
    interval: distance of key frames in the clips.

  Returns:
    '<name>/miou': mean over distances to the key frame of the mean IoU at that
    distance (over all frames, for interval 1); '<name>/miou_<d>' at each
    distance; '<name>/consistency' where motion is known. All are 0 to 1.
  """
  by_distance = by_distance_of(counts[f'{name}/confusion'], interval)
  mious = [float(metrics_of.mean_iou(c)) for c in by_distance]
  scores = {f'{name}/miou': float(np.mean(mious))}
  if interval > 1:
    scores |= {f'{name}/miou_{d}': miou for d, miou in enumerate(mious)}
  if f'{name}/moved' in counts:
    moved = np.maximum(counts[f'{name}/moved'], 1)
    scores[f'{name}/consistency'] = float(counts[f'{name}/kept'] / moved)
  return scores


def by_distance_of(confusion: np.ndarray, interval: int) -> list[np.ndarray]:
  """`[T, K, K]` confusions of a clip's frames, summed by distance to the key.

  A single frame (the only labelled one) stands for every distance.
  """
  if len(confusion) == 1:
    return [confusion[0]] * interval
  return [confusion[d::interval].sum(0) for d in range(interval)]
