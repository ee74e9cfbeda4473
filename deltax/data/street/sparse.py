"""Streets few of whose frames are labelled, the others by a network or not."""

import pathlib
from typing import Any

import numpy as np

from deltax.data import augment, clips, images
from deltax.data.folders import pseudo
from deltax.data.labels import IGNORE
from deltax.data.street import drive


def source_of(frames: int, size: tuple[int, int]) -> dict[str, Any]:
  """What the frames of streets are, see `pseudo.ToLabel`."""
  return {
    'name': 'street',
    'version': drive.VERSION,
    'frames': frames,
    'size': tuple(size),
  }


def name_of(split: str, number: int, frames: int) -> str:
  """Where the label map of a record lies below a folder of pseudo-labels.

  >>> name_of('train', 31, 15)
  'train/000002_000001.png'
  """
  world, index = divmod(number, frames)
  return f'{split}/{world:06d}_{index:06d}.png'


def keep(worlds: int, frames: int, one_world_in: int, one_frame_in: int):
  """Which frames keep their labels: evenly spread over the worlds.

  Args:
    worlds: of the split.
    frames: of a world.
    one_world_in: every how manieth world keeps any.
    one_frame_in: of all frames of these, every how manieth.

  Returns:
    bool `[worlds, frames]`.

  Raises:
    ValueError: none does.

  >>> keep(2, 3, 1, 4).tolist()
  [[False, False, True], [False, False, False]]
  """
  if one_world_in < 1 or one_frame_in < 1:
    raise ValueError(
      'labelled_worlds and labelled_frames are one in so many, 1 and up, got '
      f'{one_world_in} and {one_frame_in}'
    )
  kept = np.zeros((worlds, frames), bool)
  candidates = np.arange(kept[::one_world_in].size) % one_frame_in
  kept[::one_world_in] = (candidates == one_frame_in // 2).reshape(-1, frames)
  if not kept.any():
    raise ValueError(
      f'no frame of {worlds} worlds of {frames} frames keeps its labels, of '
      f'one world in {one_world_in} and one frame in {one_frame_in}'
    )
  return kept


class Sparse:
  """The labels of streets, where not all frames keep theirs.

  Args:
    kept: bool `[worlds, frames]`, which frames do.
    split: of the data set.
    folder: of pseudo-labels for the others; None where they have none.
  """

  def __init__(self, kept: np.ndarray, split: str, folder: pathlib.Path | None):
    self._kept, self._frames = kept, kept.shape[1]
    self._split, self._folder = split, folder
    if folder is not None:
      numbers = np.flatnonzero(~kept).tolist()
      pseudo.check([self._path(number) for number in numbers])

  def ends(self, length: int) -> np.ndarray:
    """World and number of the labelled frames in which clips may end.

    Args:
      length: T.

    Returns:
      int `[N, 2]`.

    Raises:
      ValueError: no labelled frame has frames enough before it.
    """
    ends = np.argwhere(self._kept[:, length - 1 :]) + (0, length - 1)
    if not len(ends):
      raise ValueError(
        f'no labelled frame has {length - 1} frames before it in its world'
      )
    return ends

  def choose(
    self,
    world: int,
    rng: np.random.Generator,
    ends: np.ndarray,
    length: int,
    distance: int,
  ) -> list[int]:
    """Records of a training clip.

    Args:
      world: that a clip which may end in any frame is of.
      rng: generator.
      ends: from `ends`.
      length: T, see `clips.choose`.
      distance: largest distance of a pair.
    """
    anywhere = self._kept.all()
    if not anywhere and self._folder is not None:
      anywhere = rng.random() >= pseudo.REAL
    if anywhere:
      shown = clips.choose(rng, self._frames, length, distance)
    else:
      world, last = ends[rng.integers(len(ends))].tolist()
      shown = clips.ending(rng, last, length, distance)
    return [world * self._frames + index for index in shown]

  def cover(self, clip: augment.Clip, numbers: list[int]) -> augment.Clip:
    """A clip of these records with the labels that they are to have.

    Raises:
      ValueError: a label map is damaged, or of another size.
    """
    labels = clip['labels'].copy()
    for row, number in enumerate(numbers):
      if self._kept.flat[number]:
        continue
      labels[row] = IGNORE
      if self._folder is not None:
        path = self._path(number)
        made = images.read(path, 1)
        images.check_same_size(clip['frames'][row], 'its frame', made, path)
        labels[row] = made
    return clip | {'labels': labels}

  def _path(self, number: int) -> pathlib.Path:
    return self._folder / name_of(self._split, number, self._frames)
