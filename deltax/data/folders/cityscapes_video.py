"""`cityscapes_video`: snippets of 30 frames, the 20th of which is labelled.

Reads the published folders as they are unpacked; a folder of images is random
access already. (tfds has the stills only, and needs TensorFlow to unpack them.)

    ROOT/leftImg8bit_sequence/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png
"""

import itertools
import pathlib
from typing import NamedTuple

import numpy as np

from deltax.data import augment, clips, images, pipeline
from deltax.data.folders import pseudo
from deltax.data.labels import (
  IGNORE,
  label_ids_from_train_ids,
  train_ids_from_label_ids,
)

SOURCE = {'name': 'cityscapes_video'}
FRAMES = 'leftImg8bit_sequence'
_FRAME = '_leftImg8bit.png'
_TRUTH = '_gtFine_labelIds.png'
_LABELLED = 19  # frames of a snippet before the labelled one
_AFTER = 10  # and after it


class Snippet(NamedTuple):
  """One labelled frame and the frames around it.

  Attributes:
    frames: paths, in order.
    labelled: number of the labelled frame among them.
    labels: paths of the labelIds maps, of the others None where they have none.
  """

  frames: tuple[pathlib.Path, ...]
  labelled: int
  labels: tuple[pathlib.Path | None, ...]


def find_snippets(
  root, split: str, length: int, made: pathlib.Path | None = None
) -> list[Snippet]:
  """All labelled frames of a split with the `length - 1` frames before each.

  Args:
    root: of the data set.
    split: 'train', 'val' or 'test'.
    length: frames up to the labelled one.
    made: folder of pseudo-labels for the others; then a snippet has the frames
      after the labelled one too, as far as they are there.

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
  real = {path: path for path in maps}
  snippets = []
  for path in maps:
    city, *middle = path.name.removesuffix(_TRUTH).rsplit('_', 2)
    if len(middle) != 2 or not middle[1].isdigit():
      raise ValueError(f'{path}: expected the name CITY_SEQ_FRAME{_TRUTH}')
    sequence, number = middle
    folder = root / FRAMES / split / path.parent.name
    first = int(number) - length + 1
    paths = [
      folder / f'{city}_{sequence}_{k:0{len(number)}d}{_FRAME}'
      for k in range(first, int(number) + 1 + (_AFTER if made else 0))
    ]
    lead, after = paths[:length], paths[length:]
    frames = (*lead, *itertools.takewhile(pathlib.Path.is_file, after))
    labels = [None] * length
    if made:
      names = [_name_of(split, frame) for frame in frames]
      labels = [real.get(root / name, made / name) for name in names]
    labels[length - 1] = path
    snippets.append(Snippet(frames, length - 1, tuple(labels)))
  frames = [path for snippet in snippets for path in snippet.frames]
  images.check_files(
    frames, f'the {length} frames up to each label map, in {FRAMES}'
  )
  for path in [*maps, *frames]:
    images.check_image(path)
  if made:
    labels = [path for snippet in snippets for path in snippet.labels]
    pseudo.check([path for path in labels if path not in real])
  return snippets


def to_label(root, split: str) -> pseudo.ToLabel:
  """All frames of a split.

  Raises:
    FileNotFoundError: there are none.
  """
  folder = pathlib.Path(root) / FRAMES / split
  frames = sorted(folder.glob(f'*/*{_FRAME}'))
  if not frames:
    raise FileNotFoundError(
      f'{folder}: expected frames CITY/CITY_SEQ_FRAME{_FRAME}, found none'
    )
  return pseudo.ToLabel(
    SOURCE,
    [_name_of(split, path) for path in frames],
    lambda number: images.read(frames[number], 3),
    label_ids_from_train_ids,
  )


def make_cityscapes_video(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  max_distance: int = 5,
  crop: tuple[int, int] = (512, 1024),
  pseudo_labels: str = '',
  root=None,
) -> pipeline.Batches:
  """Clips that end in a labelled frame; the labels of all others are 255.

  With pseudo-labels all frames of training clips have labels.

  Args:
    split: 'train', 'val' or 'test' (the folder's name).
    batch_size: of all processes; each gets B of them.
    train: endless, shuffled, scaled, cropped and flipped; else in order, whole
      frames.
    seed: of order and augmentation.
    clip_length: T. In training 1 is the labelled frame, 2 the labelled frame
      and a key frame 1 to `max_distance` before it, more are consecutive. In
      evaluation a clip has the labelled frame and the T - 1 frames before it,
      so that distance t is measured with T = t + 1; None is the whole lead, 20.
    max_distance: largest distance of a training pair, in frames.
    crop: height and width of training clips.
    pseudo_labels: training only: folder that `deltax label` wrote, for all
      frames but the labelled ones. Half of the clips then end in the labelled
      frame of a snippet, and the others in any of its frames; '' for none.
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
  made = pseudo.find(pseudo_labels, SOURCE, train)
  if made:
    length = _LABELLED + 1
  snippets = find_snippets(root, split, length, made)
  if not train:
    return pipeline.evaluation(
      snippets,
      lambda snippet: _read(snippet, range(length)),
      batch_size=batch_size,
    )

  def example(snippet, rng):
    last = snippet.labelled
    if made and rng.random() >= pseudo.REAL:
      last = int(rng.integers(clip_length - 1, len(snippet.frames)))
    shown = clips.ending(rng, last, clip_length, max_distance)
    clip = augment.scale_and_crop(_read(snippet, shown), rng, crop)
    return augment.flip(clip, rng)

  return pipeline.training(snippets, example, batch_size=batch_size, seed=seed)


def _name_of(split: str, frame: pathlib.Path) -> str:
  """Where a frame's label map lies below the root."""
  name = frame.name.removesuffix(_FRAME)
  return f'gtFine/{split}/{frame.parent.name}/{name}{_TRUTH}'


def _read(snippet: Snippet, shown) -> augment.Clip:
  maps = {
    k: images.read(snippet.labels[k], 1) for k in shown if snippet.labels[k]
  }
  frames, labels = [], []
  for k in shown:
    frame = images.read(snippet.frames[k], 3)
    mapped = k if k in maps else max(maps)
    images.check_same_size(
      *(frame, snippet.frames[k]), *(maps[mapped], snippet.labels[mapped])
    )
    frames.append(frame)
    labels.append(
      train_ids_from_label_ids(maps[k])
      if k in maps
      else np.full(frame.shape[:2], IGNORE, np.uint8)
    )
  return {'frames': np.stack(frames), 'labels': np.stack(labels)}
