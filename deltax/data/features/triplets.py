"""Triplets of videos with a teacher's scores, and views of single videos.

Source: Kordopatis-Zilos et al., Distill-and-Select, IJCV 2022, section 3.3; the
views are those of S2VS, CVPR workshops 2023, drawn from features.
"""

import functools
import os

import numpy as np

from deltax.data import augment_time, images, pipeline
from deltax.data.features.made import open_or_make
from deltax.data.features.padded import PaddedVideos, warn_missing
from deltax.data.features.similarities import present, read_similarities


def make_triplets(
  split: str,
  *,
  batch_size: int,
  train: bool,
  features: str | os.PathLike,
  similarities: str | os.PathLike = '',
  seed: int = 0,
  clip_length: int | None = None,
  frames: int = augment_time.MOST,
  augment: bool = True,
  views: bool = False,
) -> pipeline.Batches:
  """Endless batches to train students, teachers and self-supervised networks.

  Every epoch shows each anchor that has both a positive and a negative once,
  with one of each drawn at random. Videos without features are named in a
  warning and left out.

  Args:
    split: 'train'; the similarities say what is in it.
    batch_size: of all processes; each gets B of them.
    train: True; `pairs` are what networks are evaluated on.
    features: as `open_or_make` takes it; '' makes some, with similarities.
    similarities: a file that `read_similarities` takes.
    seed: of the order, the choice and the augmentation.
    clip_length: of no meaning here.
    frames: T, a multiple of 4; longer videos lose their end.
    augment: whether frames of positives and negatives, or of views, are
      reordered in time (`augment_time`). Anchors never are.
    views: two augmented views of each video instead of triplets; `similarities`
      then only say of which videos, '' of all.

  Returns:
    Batches of 'anchor', 'positive', 'negative' float32 `[B, T, R, D]` with zero
    frames behind their end; 'anchor_mask' and so on float32 `[B, T]`, 1 for a
    real frame; 'scores' float32 `[B, 2]` of the positive and the negative, in
    [-1, 1]; 'mask' float32 `[B]` of ones. With `views` instead 'view_a',
    'view_b', 'view_a_mask', 'view_b_mask' and 'mask'.

  Raises:
    ValueError: unknown split, not for training, a length that is no multiple of
      4, similarities that are missing or damaged, or nothing to train on.
    FileNotFoundError: no features or similarities there.
  """
  del clip_length
  images.check_split(split, ('train',))
  if not train:
    raise ValueError("triplets are to train on; evaluate on 'pairs'")
  store, pairs = open_or_make(features)
  videos = PaddedVideos(store, frames)
  if similarities:
    pairs = read_similarities(similarities)
  if views:
    elements = _single(videos, pairs)
    example = functools.partial(_views, videos, augment)
  elif pairs is None:
    raise ValueError('triplets need similarities: the path of a file')
  else:
    elements = _anchors(videos, pairs)
    example = functools.partial(_triplet, videos, augment)
  return pipeline.training(elements, example, batch_size=batch_size, seed=seed)


def _single(videos, similarities) -> list[str]:
  names = similarities.names if similarities else videos.names
  warn_missing('views', (name for name in names if name not in videos))
  return [name for name in names if name in videos]


def _anchors(videos, similarities) -> list[tuple]:
  kept, missing = present(similarities, videos)
  warn_missing('triplets', missing)
  return [
    (anchor, *(tuple(scores.items()) for scores in both))
    for anchor, both in kept.pairs.items()
    if all(both)
  ]


def _triplet(videos, augment, element, rng) -> dict[str, np.ndarray]:
  anchor, *others = element
  chosen = [scores[rng.integers(len(scores))] for scores in others]
  order = functools.partial(augment_time.draw_order, rng=rng)
  example = videos.example('anchor', anchor)
  for role, (name, _) in zip(('positive', 'negative'), chosen, strict=True):
    example |= videos.example(role, name, order if augment else None)
  scores = np.array([score for _, score in chosen], np.float32)
  return example | {'scores': scores}


def _views(videos, augment, name, rng) -> dict[str, np.ndarray]:
  order = functools.partial(augment_time.draw_order, rng=rng)
  order = order if augment else None
  return videos.example('view_a', name, order) | videos.example(
    'view_b', name, order
  )
