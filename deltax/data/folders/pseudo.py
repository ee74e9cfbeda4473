"""Labels that a network made, for frames that nobody labelled.

`deltax label` writes them into a folder of their own, named as the data set
names its label maps; data sets read them with `pseudo_labels=FOLDER`. Beside
them lies `labels.json`: which network made them, from what, and how sure it was
of each pixel at least. A pixel that it was less sure of is 255.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltax import plain
from deltax.data import images

MANIFEST = 'labels.json'
# Of the clips that are trained on, those that end in a frame with real labels.
REAL = 0.5


class ToLabel(NamedTuple):
  """The frames of one split of a data set.

  Attributes:
    source: what the frames are: `name` of the data set, and whatever else says
      that two frames of one name are the same.
    names: where the label map of each frame belongs, below a folder.
    read: `(number of a frame) -> uint8 [H, W, 3]`, RGB.
    encode: `(uint8 [H, W] labels, 255 is none) -> uint8 [H, W]`, as the data
      set's own label maps have them; 255 stays.
  """

  source: Mapping[str, Any]
  names: Sequence[str]
  read: Callable[[int], np.ndarray]
  encode: Callable[[np.ndarray], np.ndarray]


def find(
  folder: str | os.PathLike, source: Mapping[str, Any], train: bool
) -> pathlib.Path | None:
  """The folder of pseudo-labels, if they are for these frames.

  Args:
    folder: that `deltax label` wrote; '' for none.
    source: of the frames, see `ToLabel`.
    train: whether they are trained on.

  Returns:
    The folder; None without.

  Raises:
    FileNotFoundError: there are no pseudo-labels.
    ValueError: they are for other frames, or the manifest is damaged; they are
      for an evaluation, which would judge a network by itself.
  """
  if not folder:
    return None
  if not train:
    raise ValueError(
      f'pseudo_labels={str(folder)!r}: pseudo-labels are for training, not for '
      'evaluation'
    )
  folder = pathlib.Path(folder).expanduser()
  theirs = read_manifest(folder).get('source')
  ours = as_stored(source)
  if theirs != ours:
    raise ValueError(f'{folder} has pseudo-labels for {theirs}, not for {ours}')
  return folder


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """What is told about the pseudo-labels of a folder.

  Raises:
    FileNotFoundError: there are none.
    ValueError: it is damaged.
  """
  path = folder / MANIFEST
  if not path.is_file():
    raise FileNotFoundError(
      f'{folder}: no pseudo-labels, expected {MANIFEST} as `deltax label` '
      'writes it'
    )
  return plain.read_json(path, plain.DICT)


def as_stored(value: Any) -> Any:
  """A value as it comes back from a JSON file: tuples are lists there."""
  return json.loads(json.dumps(value))


def check(paths: Sequence[pathlib.Path]) -> None:
  """Raises unless the label map of every frame that needs one is there whole.

  Raises:
    FileNotFoundError: some are missing.
    ValueError: a file is cut off.
  """
  images.check_files(
    paths, 'pseudo-labels for each frame without labels (run `deltax label`)'
  )
  for path in paths:
    images.check_image(path)
