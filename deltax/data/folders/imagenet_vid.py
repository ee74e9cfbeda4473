"""`imagenet_vid`: videos of 30 kinds of objects, with boxes in every frame."""

import functools

import jax
import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from deltax.data import augment_boxes, clips, images, pipeline
from deltax.data.folders.imagenet_vid_builder import prepare, stretches

PAIRS = ('sorted', 'anchor_first')


def make_imagenet_vid(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  pairs: str = 'sorted',
  stills: bool = True,
  size: tuple[int, int] = (512, 512),
  sides: tuple[int, int] | None = None,
  max_boxes: int = 100,
  root=None,
  data_dir=None,
) -> pipeline.Batches:
  """Clips of ImageNet VID with boxes, sampled as published.

  Training looks at 15 frames of a video, the middles of equal parts; of these,
  frames without a box are left out.

  Args:
    split: 'train' or 'val'.
    batch_size: of all processes; each gets B of them.
    train: endless, shuffled and flipped at random; else all frames once, in
      clips that do not overlap, whose first frame is the key frame. The last
      clip of a video repeats the last frame, which is not 'real' there.
    seed: of order and augmentation.
    clip_length: T. In training 1 or 2, in evaluation any number.
    pairs: of training. 'sorted' (EfficientDet's recipe): every second of the
      15 frames, and one -9 to 8 frames away; the earlier is the key frame.
      'anchor_first' (Faster R-CNN's): each of the 15 frames is a key frame,
      and the other is any within 9, earlier or later.
    stills: whether to train on DET's stills too, each paired with itself.
    size: height and width of the frames; pictures are scaled to fit.
    sides: instead of `size`, the longest and the shortest side that a picture
      is scaled to (Faster R-CNN: 1000, 600). The frames of a batch are the
      smallest that hold its pictures, of three shapes: wide, high and square,
      in multiples of 16; always square where there are several processes.
    max_boxes: N; of more boxes in a frame the largest are kept.
    root: the unpacked ILSVRC2015; None for the environment's
      DELTAX_IMAGENET_VID. Read once, see `imagenet_vid_builder`.
    data_dir: where the data set is or will be.

  Returns:
    Batches of boxes, see `make_dataset`. Below and right of a picture its frame
    has ImageNet's mean colour.

  Raises:
    FileNotFoundError: files are missing.
    ValueError: files are broken, or no such split, clip or pairs.
  """
  images.check_split(split, ('train', 'val'))
  if pairs not in PAIRS:
    raise ValueError(f'unknown pairs {pairs!r}, known: {", ".join(PAIRS)}')
  if clip_length is None or clip_length < 1 or (train and clip_length > 2):
    raise ValueError(
      'clips of imagenet_vid have 1 or 2 frames in training and at least 1 in '
      f'evaluation (videos differ in length), got clip_length={clip_length}'
    )
  builder = prepare(root, data_dir)
  if train and stills and 'stills' not in builder.info.splits:
    raise ValueError(
      f'{builder.data_dir} was made without the stills of DET; give '
      'stills=False, or delete it and add Data/DET to the root'
    )
  shapes = augment_boxes.shapes_of(sides) if sides else (size,)
  if jax.process_count() > 1:
    # The frames of all processes have one shape: the one that holds any.
    shapes = shapes[-1:]
  options = {
    'batch_size': batch_size,
    'join': functools.partial(augment_boxes.pad_alike, shapes=shapes),
  }

  def finish(clip):
    clip = (
      augment_boxes.resize_sides(clip, sides)
      if sides
      else augment_boxes.letterbox(clip, size)
    )
    return augment_boxes.keep_largest(clip, max_boxes)

  if not train:
    windows = _windows(builder, split, clip_length)
    records = _records(builder, split)

    def window(place):
      shown, real = place
      return finish(augment_boxes.hide(_read(records, shown), ~real))

    return pipeline.evaluation(windows, window, **options)

  splits = [split, 'stills'] if stills else [split]
  # As published: pairs that are sorted begin at every second frame only.
  step = 2 if clip_length == 2 and pairs == 'sorted' else 1
  anchors = _anchors(builder, splits, step)
  records = {name: _records(builder, name) for name in splits}

  def example(place, rng):
    name, first, frames, anchor = place
    shown = [anchor]
    if clip_length == 2:
      shown = clips.partner(rng, anchor, frames, pairs)
    clip = _read(records[name], [first + k for k in shown])
    return finish(augment_boxes.flip(clip, rng))

  return pipeline.training(anchors, example, seed=seed, **options)


def _windows(builder, split: str, length: int) -> list[tuple]:
  """The numbers of the records of each clip, and which of them are real."""
  return [
    ([video.first + k for k in shown], real)
    for video in stretches(builder, split)
    for shown, real in clips.windows(len(video.labelled), length)
  ]


def _anchors(builder, splits: list[str], step: int) -> list[tuple]:
  """Frames with boxes that a training clip is made around.

  Returns:
    `(split, first record of the video, its frames, number of the frame)`.
  """
  anchors, empty = [], 0
  for name in splits:
    for video in stretches(builder, name):
      for anchor in clips.middles(len(video.labelled))[::step]:
        if video.labelled[anchor]:
          anchors.append((name, video.first, len(video.labelled), anchor))
        else:
          empty += 1
  if empty:
    logging.info('imagenet_vid: %d frames without boxes are left out', empty)
  return anchors


def _records(builder, split: str):
  encoded = {'frame': tfds.decode.SkipDecoding()}
  return builder.as_data_source(split, decoders=encoded)


def _read(records, shown: list[int]) -> augment_boxes.BoxClip:
  read = {k: records[k] for k in set(shown)}
  frames = {k: _decode(record) for k, record in read.items()}
  shapes = {frame.shape for frame in frames.values()}
  if len(shapes) > 1:
    name = _name(read[shown[0]])
    raise ValueError(f'{name}: frames of one video differ in shape: {shapes}')
  return augment_boxes.make_clip(
    np.stack([frames[k] for k in shown]),
    [read[k]['boxes'] for k in shown],
    [read[k]['classes'] for k in shown],
  )


def _decode(record) -> np.ndarray:
  image = images.decode_png(record['frame'], _name(record))
  if image.ndim == 2:  # some stills are grey
    image = np.repeat(image[..., None], 3, -1)
  return image


def _name(record) -> str:
  video = record['video']
  video = video.decode() if isinstance(video, bytes) else video
  return f'{video}, frame {record["index"]}'
