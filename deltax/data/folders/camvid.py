"""`camvid`: driving in Cambridge, 11 classes; labelled stills and one clip.

    ROOT/train/NAME.jpg (or .png)    ROOT/trainannot/NAME.png
    ROOT/val/NAME.jpg (or .png)      ROOT/valannot/NAME.png

The training stills are a second apart, so a training clip is made from one by a
small steady motion of the picture; the frames of `val` are consecutive.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from deltax.data import augment, clips, images, motion, pipeline
from deltax.data.folders import pseudo
from deltax.data.labels import CAMVID, IGNORE

SOURCE = {'name': 'camvid'}
_VOID = len(CAMVID.classes)


class Still(NamedTuple):
  """Paths of a frame and of its label map, and whether a person made that."""

  frame: pathlib.Path
  labels: pathlib.Path
  real: bool = True


def find_frames(root, split: str) -> list[pathlib.Path]:
  """The frames of a split, by name.

  Raises:
    FileNotFoundError: there are none.
  """
  folder = pathlib.Path(root) / split
  frames = sorted(
    path for kind in ('*.jpg', '*.png') for path in folder.glob(kind)
  )
  if not frames:
    raise FileNotFoundError(f'{folder}: expected frames NAME.jpg or NAME.png')
  return frames


def find_stills(
  root, split: str, made: pathlib.Path | None = None
) -> list[Still]:
  """The frames of a split with their label maps, by name.

  Args:
    root: of the data set.
    split: 'train' or 'val'.
    made: folder of pseudo-labels, for frames that have no label map there.

  Raises:
    FileNotFoundError: no frames, or a frame without its label map.
  """
  folder = pathlib.Path(root) / split
  truths = pathlib.Path(root) / f'{split}annot'
  stills = []
  for path in find_frames(root, split):
    still = Still(path, pathlib.Path(root) / _name_of(split, path))
    if made is not None and not still.labels.exists():
      still = Still(path, made / _name_of(split, path), real=False)
    stills.append(still)
  places = truths if made is None else f'{truths} or {made}'
  images.check_files(
    (still.labels for still in stills),
    f'a label map in {places} for each frame of {folder}',
  )
  for still in stills:
    images.check_image(still.frame)
    images.check_image(still.labels)
  return stills


def to_label(root, split: str) -> pseudo.ToLabel:
  """All frames of a split.

  Raises:
    FileNotFoundError: there are none.
  """
  frames = find_frames(root, split)
  return pseudo.ToLabel(
    SOURCE,
    [_name_of(split, path) for path in frames],
    lambda number: images.read(frames[number], 3),
    lambda labels: labels,
  )


def make_camvid(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  max_distance: int = 5,
  crop: tuple[int, int] | None = None,
  flow: bool = False,
  pseudo_labels: str = '',
  root=None,
) -> pipeline.Batches:
  """Clips of CamVid, every frame labelled.

  Args:
    split: 'train' or 'val' (the folder's name).
    batch_size: of all processes; each gets B of them.
    train: endless, shuffled; a clip moves one still and ends in it as it is,
      flipped at random. Else windows of consecutive frames in order.
    seed: of order and augmentation.
    clip_length: T. In evaluation frames left over at the end are not shown;
      None is the whole split as one clip.
    max_distance: a training pair moves as far as 1 to `max_distance` frames do.
    crop: height and width of training clips, scaled and cropped as for
      Cityscapes; None leaves them whole.
    flow: evaluation only: also 'flow' and 'visible', the motion that
      `motion.follow` estimates.
    pseudo_labels: training only: folder that `deltax label` wrote, for frames
      without a label map. Half of the clips are then made from stills that have
      one, and the others from any; '' for none.
    root: the folder above; None for the environment's DELTAX_CAMVID.

  Returns:
    Batches of 'frames' uint8 `[B, T, H, W, 3]`, 'labels' uint8 `[B, T, H, W]`
    (0 to 10, void and what a motion uncovers 255), 'mask' float32 `[B]`.

  Raises:
    FileNotFoundError: files are missing; found before the first batch.
    ValueError: files are broken, or no such split or clip.
  """
  images.check_split(split, ('train', 'val'))
  root = images.find_root(root, 'DELTAX_CAMVID')
  made = pseudo.find(pseudo_labels, SOURCE, train)
  stills = find_stills(root, split, made)
  if not train:
    clips.check(clip_length, len(stills), train, max_distance)
    length = clip_length or len(stills)
    windows = [
      stills[start : start + length]
      for start in range(0, len(stills) - length + 1, length)
    ]

    def window(stills):
      clip = _read(stills)
      return clip | motion.follow(clip['frames']) if flow else clip

    return pipeline.evaluation(windows, window, batch_size=batch_size)
  if clip_length is None or clip_length < 1:
    raise ValueError(f'clip_length must be at least 1, got {clip_length}')

  real = [still for still in stills if still.real]

  def example(still, rng):
    if made is not None and real and rng.random() < pseudo.REAL:
      still = real[rng.integers(len(real))]
    steps = int(rng.integers(1, max_distance + 1))
    steps = steps if clip_length == 2 else clip_length - 1
    clip = _read([still])
    frame, labels = clip['frames'][0], clip['labels'][0]
    clip = augment.drift(frame, labels, rng, clip_length, steps / 5)
    if crop is not None:
      clip = augment.scale_and_crop(clip, rng, crop)
    return augment.flip(clip, rng)

  return pipeline.training(stills, example, batch_size=batch_size, seed=seed)


def _name_of(split: str, frame: pathlib.Path) -> str:
  """Where a frame's label map lies below the root."""
  return f'{split}annot/{frame.stem}.png'


def _read(stills: list[Still]) -> augment.Clip:
  frames, labels = [], []
  for still in stills:
    frame, label = images.read(still.frame, 3), images.read(still.labels, 1)
    images.check_same_size(frame, still.frame, label, still.labels)
    classes = label[label != IGNORE]
    if classes.max(initial=0) > _VOID:
      raise ValueError(
        f'{still.labels}: expected labels 0 to {_VOID} (void), found '
        f'{classes.max()}'
      )
    frames.append(frame)
    labels.append(np.where(label == _VOID, np.uint8(IGNORE), label))
  return {'frames': np.stack(frames), 'labels': np.stack(labels)}
