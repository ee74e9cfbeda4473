"""`street_boxes`: cars, trucks and people of the rendered street.

The records are those of `street`, drawn once for both.
"""

import numpy as np
import tensorflow_datasets as tfds

from deltax.data import augment, augment_boxes, clips, images, pipeline
from deltax.data.labels import NO_BOX, STREET_BOX_LABELS
from deltax.data.street.builder import prepare

# Class of a box by its label in the records.
_CLASSES = np.full(256, NO_BOX, np.int32)
_CLASSES[list(STREET_BOX_LABELS)] = range(len(STREET_BOX_LABELS))


def make_street_boxes(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  max_distance: int = 5,
  jitter: float = 0.0,
  scales: tuple[float, float] | None = None,
  min_side: float = 6,
  min_shown: float = 0.35,
  max_boxes: int = 64,
  worlds=(64, 12),
  frames: int = 30,
  size=(128, 256),
  data_dir=None,
) -> pipeline.Batches:
  """Clips of the rendered street with the boxes of every frame.

  A box is tight around what is visible of an object. Specks far away and
  scraps of what is hidden have boxes too; in training and evaluation alike
  they are no objects, see `min_side` and `min_shown`.

  Args:
    split: 'train' or 'validation'.
    batch_size: of all processes; each gets B of them.
    train: endless, shuffled and flipped at random (one clip per world and
      epoch); else all frames once, in order.
    seed: of order and augmentation.
    clip_length: T. In training 1 is any frame, 2 a key frame and a frame 1 to
      `max_distance` later, more are consecutive frames. In evaluation, windows
      of T frames that do not overlap; the last one of a world repeats its last
      frame, which is not 'real' there. None is the whole world.
    max_distance: largest distance of a training pair, in frames.
    jitter: strength of a random change of brightness, contrast and colour, the
      same for all frames of a clip; 0 is none.
    scales: of training: pictures are scaled by a factor between these two, and
      a window of the frame's size is cut out; None leaves them as they are.
    min_side: pixels of the frame that the shorter side of a box has at least.
    min_shown: share of a box's pixels that show its class, at least. Half of
      the box of a walking person does; what is seen at both ends of a car in
      front of it does not.
    max_boxes: N; of more boxes in a frame the largest are kept.
    worlds: how many to train on and to validate on.
    frames: frames of a world.
    size: height and width.
    data_dir: where the data set is or will be; see `builder.prepare`.

  Returns:
    Batches of boxes, see `make_dataset`; classes 0 car, 1 truck, 2 person.

  Raises:
    ValueError: no such split, or clips that do not fit.
  """
  images.check_split(split, ('train', 'validation'))
  clips.check(clip_length, frames, train, max_distance)
  builder = prepare(worlds, frames, size, data_dir)
  skipped = {'motion': tfds.decode.SkipDecoding()}
  records = builder.as_data_source(split, decoders=skipped)

  def read(shown):
    picked = [records[k] for k in shown]
    clip = augment_boxes.make_clip(
      np.stack([record['frame'] for record in picked]),
      [record['boxes'] for record in picked],
      [_classes(record, min_shown) for record in picked],
    )
    return augment_boxes.drop_small(clip, min_side)

  if not train:
    windows = [
      ([first + k for k in shown], real)
      for first in range(0, len(records), frames)
      for shown, real in clips.windows(frames, clip_length or frames)
    ]

    def window(places):
      shown, real = places
      return augment_boxes.keep_largest(
        augment_boxes.hide(read(shown), ~real), max_boxes
      )

    return pipeline.evaluation(windows, window, batch_size=batch_size)

  def example(world, rng):
    shown = clips.choose(rng, frames, clip_length, max_distance)
    clip = augment_boxes.flip(read([world * frames + k for k in shown]), rng)
    clip = augment.jitter(clip, rng, jitter)
    if scales is not None:
      clip = augment_boxes.scale_and_crop(clip, rng, size, scales)
      clip = augment_boxes.drop_small(clip, min_side)
    return augment_boxes.keep_largest(clip, max_boxes)

  videos = range(len(records) // frames)
  return pipeline.training(videos, example, batch_size=batch_size, seed=seed)


def _classes(record, min_shown: float) -> np.ndarray:
  """The class of each box; -1 where too little of it is seen."""
  labels = record['labels'][..., 0]
  shown = [
    np.mean(labels[y0:y1, x0:x1] == kind)
    for (x0, y0, x1, y1), kind in zip(
      record['boxes'], record['classes'], strict=True
    )
  ]
  hidden = np.array(shown) < min_shown
  return np.where(hidden, NO_BOX, _CLASSES[record['classes']])
