"""`cityscapes_video`: snippets of 30 frames, the 20th of which is labelled.

Reads the published folders as they are unpacked; a folder of images is random
access already. (tfds has the stills only, and needs TensorFlow to unpack them.)

    ROOT/leftImg8bit_sequence/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png
"""

import pathlib
from typing import NamedTuple

import numpy as np

from deltax.data import augment, clips, images, pipeline
from deltax.data.labels import IGNORE, train_ids_from_label_ids

_TRUTH = '_gtFine_labelIds.png'
_LABELLED = 19  # frames of a snippet before the labelled one


class Snippet(NamedTuple):
  """One labelled frame and the frames that lead to it.

  Attributes:
    labels: path of its labelIds map.
    frames: paths, in order; the last is the labelled frame.
  """

  labels: pathlib.Path
  frames: tuple[pathlib.Path, ...]


def find_snippets(root, split: str, length: int) -> list[Snippet]:
  """All labelled frames of a split with the `length - 1` frames before each.

  Raises:
    FileNotFoundError: a folder or any of the files is missing.
    ValueError: a file is no complete PNG, or a name is not as published.
  """
  root = pathlib.Path(root)
  truths = root / 'gtFine' / split
  maps = sorted(truths.glob(f'*/*{_TRUTH}'))
  if not maps:
    raise FileNotFoundError(
      f'{truths}: expected label maps CITY/CITY_SEQ_FRAME{_TRUTH}, found none'
    )
  snippets = []
  for path in maps:
    city, *middle = path.name.removesuffix(_TRUTH).rsplit('_', 2)
    if len(middle) != 2 or not middle[1].isdigit():
      raise ValueError(f'{path}: expected the name CITY_SEQ_FRAME{_TRUTH}')
    sequence, number = middle
    folder = root / 'leftImg8bit_sequence' / split / path.parent.name
    first = int(number) - length + 1
    names = [
      f'{city}_{sequence}_{k:0{len(number)}d}_leftImg8bit.png'
      for k in range(first, int(number) + 1)
    ]
    snippets.append(Snippet(path, tuple(folder / name for name in names)))
  frames = [path for snippet in snippets for path in snippet.frames]
  images.check_files(
    frames, f'the {length} frames up to each label map, in leftImg8bit_sequence'
  )
  for path in [*maps, *frames]:
    images.check_image(path)
  return snippets


def make_cityscapes_video(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  max_distance: int = 5,
  crop: tuple[int, int] = (512, 1024),
  root=None,
) -> pipeline.Batches:
  """Clips that end in a labelled frame; the labels of all others are 255.

  Args:
    split: 'train', 'val' or 'test' (the folder's name).
    batch_size: B, per process.
    train: endless, shuffled, scaled, cropped and flipped; else in order, whole
      frames.
    seed: of order and augmentation.
    clip_length: T. In training 1 is the labelled frame, 2 the labelled frame
      and a key frame 1 to `max_distance` before it, more are consecutive. In
      evaluation a clip has the labelled frame and the T - 1 frames before it,
      so that distance t is measured with T = t + 1; None is the whole lead, 20.
    max_distance: largest distance of a training pair, in frames.
    crop: height and width of training clips.
    root: the folder above; None for the environment's DELTAX_CITYSCAPES.

  Returns:
    Batches of 'frames' uint8 `[B, T, H, W, 3]`, 'labels' uint8 `[B, T, H, W]`
    (train ids 0 to 18, 255), 'mask' float32 `[B]`.

  Raises:
    FileNotFoundError: files are missing; found before the first batch.
    ValueError: files are broken, or no such split or clip.
  """
  images.check_split(split, ('train', 'val', 'test'))
  clips.check(clip_length, _LABELLED + 1, train, max_distance)
  root = images.find_root(root, 'DELTAX_CITYSCAPES')
  length = clip_length or _LABELLED + 1
  if train and length == 2:
    length = max_distance + 1
  snippets = find_snippets(root, split, length)
  if not train:
    return pipeline.evaluation(
      snippets,
      lambda snippet: _read(snippet, range(length)),
      batch_size=batch_size,
    )

  def example(snippet, rng):
    shown = range(length)
    if clip_length == 2:
      shown = [length - 1 - int(rng.integers(1, max_distance + 1)), length - 1]
    clip = augment.scale_and_crop(_read(snippet, shown), rng, crop)
    return augment.flip(clip, rng)

  return pipeline.training(snippets, example, batch_size=batch_size, seed=seed)


def _read(snippet: Snippet, shown) -> augment.Clip:
  frames = [images.read(snippet.frames[k], 3) for k in shown]
  ids = images.read(snippet.labels, 1)
  for frame, k in zip(frames, shown, strict=True):
    images.check_same_size(frame, snippet.frames[k], ids, snippet.labels)
  labels = np.full((len(frames), *ids.shape), IGNORE, np.uint8)
  labels[-1] = train_ids_from_label_ids(ids)
  return {'frames': np.stack(frames), 'labels': labels}
