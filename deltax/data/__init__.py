"""Clips with labels, as random-access batches.

Data sets import their readers (tfds, grain, panda3d) only when they are made.
"""

import importlib

from deltax.data import labels
from deltax.data.features.store import open_features
from deltax.data.labels import DataInfo
from deltax.data.prefetch import prefetch

# name: (module, function, what its labels or its boxes' classes mean)
DATASETS = {
  'camvid': ('folders.camvid', 'make_camvid', labels.CAMVID),
  'cityscapes_video': (
    'folders.cityscapes_video',
    'make_cityscapes_video',
    labels.CITYSCAPES,
  ),
  'imagenet_vid': (
    'folders.imagenet_vid',
    'make_imagenet_vid',
    labels.IMAGENET_VID,
  ),
  'own_videos': ('own.builder', 'make_own_videos', None),
  'pairs': ('features.pairs', 'make_pairs', None),
  'scored_pairs': ('features.scored_pairs', 'make_scored_pairs', None),
  'street': ('street.builder', 'make_street', labels.STREET),
  'street_boxes': ('street.boxes', 'make_street_boxes', labels.STREET_BOXES),
  'triplets': ('features.triplets', 'make_triplets', None),
}

__all__ = [
  'DATASETS',
  'DataInfo',
  'describe',
  'make_dataset',
  'open_features',
  'prefetch',
]


def make_dataset(
  name: str,
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  **options,
):
  """Batches of clips by number: `len(dataset)`, `dataset[i]`.

  A batch has 'frames' uint8 `[B, T, H, W, 3]` RGB and 'mask' float32 `[B]`.
  For segmentation also 'labels' uint8 `[B, T, H, W]`; label 255 is ignored.
  For detection also 'boxes' float32 `[B, T, N, 4]`, (x0, y0, x1, y1) in pixels
  of the frame, x1 and y1 exclusive; 'classes' int32 `[B, T, N]`, -1 where a
  row holds no box; 'size' float32 `[B, 2]`, rows and columns of the picture in
  the frame's upper left; 'real' bool `[B, T]`, False for a frame that only
  fills up its clip and never counts.

  Training sets are endless, evaluation sets end with a batch padded by
  examples of mask 0.

  Args:
    name: one of `DATASETS`.
    split: 'train', or the data set's held-out split.
    batch_size: of all processes; each gets B of them.
    train: shuffled, augmented and endless; else one pass in order.
    seed: of order and augmentation.
    clip_length: T frames; what None means, the data set says.
    **options: the data set's own; see its `make_...` function.

  Raises:
    ValueError: unknown name or split, or clips that do not fit.
    FileNotFoundError: files are missing; the message names them.
  """
  module, function, _ = _entry(name)
  make = getattr(importlib.import_module(f'deltax.data.{module}'), function)
  return make(
    split,
    batch_size=batch_size,
    train=train,
    seed=seed,
    clip_length=clip_length,
    **options,
  )


def describe(name: str) -> DataInfo:
  """Classes, colours, ignored label and frame rate of a data set.

  >>> describe('street').classes[:3]
  ('road', 'sidewalk', 'building')
  """
  return _entry(name)[2]


def _entry(name: str):
  if name not in DATASETS:
    known = ', '.join(sorted(DATASETS))
    raise ValueError(f'unknown data set {name!r}, known: {known}')
  return DATASETS[name]
