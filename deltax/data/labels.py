"""Label sets: names, colours, and the ids that published files call them by."""

import colorsys
from typing import NamedTuple

import numpy as np

from deltax.types import IGNORE

NO_BOX = -1  # the class of rows that hold no box

# The street's labels.
(
  ROAD,
  SIDEWALK,
  BUILDING,
  POLE,
  SIGN,
  VEGETATION,
  TERRAIN,
  SKY,
  PERSON,
  CAR,
  TRUCK,
) = range(11)


class DataInfo(NamedTuple):
  """What the numbers in a data set's label maps, or of its boxes, mean.

  Attributes:
    classes: K names; label k means `classes[k]`.
    palette: uint8 `[K, 3]`, the colour to draw each class in.
    ignore: the label of pixels that belong to no class; the class of rows that
      hold no box.
    fps: frames per second of the clips.
  """

  classes: tuple[str, ...]
  palette: np.ndarray
  ignore: int
  fps: float


def paint(labels, info: DataInfo) -> np.ndarray:
  """Label maps in colour: uint8 `[...]` to uint8 `[..., 3]`, ignore is black.

  >>> paint(np.array([[0, 255]]), STREET).tolist()
  [[[128, 64, 128], [0, 0, 0]]]
  """
  table = np.zeros((256, 3), np.uint8)
  table[: len(info.classes)] = info.palette
  return table[np.asarray(labels)]


# Cityscapes train ids in order: name, labelId in the gtFine files, colour.
_CITYSCAPES = (
  ('road', 7, (128, 64, 128)),
  ('sidewalk', 8, (244, 35, 232)),
  ('building', 11, (70, 70, 70)),
  ('wall', 12, (102, 102, 156)),
  ('fence', 13, (190, 153, 153)),
  ('pole', 17, (153, 153, 153)),
  ('traffic light', 19, (250, 170, 30)),
  ('traffic sign', 20, (220, 220, 0)),
  ('vegetation', 21, (107, 142, 35)),
  ('terrain', 22, (152, 251, 152)),
  ('sky', 23, (70, 130, 180)),
  ('person', 24, (220, 20, 60)),
  ('rider', 25, (255, 0, 0)),
  ('car', 26, (0, 0, 142)),
  ('truck', 27, (0, 0, 70)),
  ('bus', 28, (0, 60, 100)),
  ('train', 31, (0, 80, 100)),
  ('motorcycle', 32, (0, 0, 230)),
  ('bicycle', 33, (119, 11, 32)),
)
# The street's classes, as train ids of Cityscapes.
STREET_TRAIN_IDS = (0, 1, 2, 5, 7, 8, 9, 10, 11, 13, 14)


def _info(rows, fps) -> DataInfo:
  names, _, colours = zip(*rows, strict=True)
  return DataInfo(names, np.array(colours, np.uint8), IGNORE, fps)


CITYSCAPES = _info(_CITYSCAPES, 17.0)
STREET = _info([_CITYSCAPES[k] for k in STREET_TRAIN_IDS], 17.0)._replace(
  classes=(
    'road',
    'sidewalk',
    'building',
    'pole',
    'sign',
    'vegetation',
    'terrain',
    'sky',
    'person',
    'car',
    'truck',
  )
)
CAMVID = DataInfo(
  (
    'sky',
    'building',
    'pole',
    'road',
    'pavement',
    'tree',
    'sign',
    'fence',
    'car',
    'pedestrian',
    'bicyclist',
  ),
  np.array(
    [
      (128, 128, 128),
      (128, 0, 0),
      (192, 192, 128),
      (128, 64, 128),
      (60, 40, 222),
      (128, 128, 0),
      (192, 128, 128),
      (64, 64, 128),
      (64, 0, 128),
      (64, 64, 0),
      (0, 128, 192),
    ],
    np.uint8,
  ),
  IGNORE,
  15.0,
)
# ImageNet VID's classes in the usual order, with their WordNet ids.
_IMAGENET_VID = (
  ('airplane', 'n02691156'),
  ('antelope', 'n02419796'),
  ('bear', 'n02131653'),
  ('bicycle', 'n02834778'),
  ('bird', 'n01503061'),
  ('bus', 'n02924116'),
  ('car', 'n02958343'),
  ('cattle', 'n02402425'),
  ('dog', 'n02084071'),
  ('domestic cat', 'n02121808'),
  ('elephant', 'n02503517'),
  ('fox', 'n02118333'),
  ('giant panda', 'n02510455'),
  ('hamster', 'n02342885'),
  ('horse', 'n02374451'),
  ('lion', 'n02129165'),
  ('lizard', 'n01674464'),
  ('monkey', 'n02484322'),
  ('motorcycle', 'n03790512'),
  ('rabbit', 'n02324045'),
  ('red panda', 'n02509815'),
  ('sheep', 'n02411705'),
  ('snake', 'n01726692'),
  ('squirrel', 'n02355227'),
  ('tiger', 'n02129604'),
  ('train', 'n04468005'),
  ('turtle', 'n01662784'),
  ('watercraft', 'n04530566'),
  ('whale', 'n02062744'),
  ('zebra', 'n02391049'),
)
IMAGENET_VID_IDS = tuple(wordnet for _, wordnet in _IMAGENET_VID)


def _hues(count: int) -> np.ndarray:
  """Bright colours, neighbours far apart on the wheel."""
  wheel = [
    colorsys.hsv_to_rgb(k * 0.618 % 1, 0.9 - 0.4 * (k % 2), 1)
    for k in range(count)
  ]
  return np.rint(np.array(wheel) * 255).astype(np.uint8)


IMAGENET_VID = DataInfo(
  tuple(name for name, _ in _IMAGENET_VID),
  _hues(len(_IMAGENET_VID)),
  NO_BOX,
  25.0,
)
# The street's classes that have boxes, in order, and bright colours for them.
STREET_BOX_LABELS = (CAR, TRUCK, PERSON)
STREET_BOXES = DataInfo(
  tuple(STREET.classes[label] for label in STREET_BOX_LABELS),
  np.array([(60, 150, 255), (255, 170, 40), (90, 230, 90)], np.uint8),
  NO_BOX,
  STREET.fps,
)


def train_ids_from_label_ids(label_ids) -> np.ndarray:
  """The 19 evaluated classes of a gtFine `labelIds` map; the rest is 255.

  >>> train_ids_from_label_ids(np.array([7, 26, 4], np.uint8)).tolist()
  [0, 13, 255]
  """
  table = np.full(256, IGNORE, np.uint8)
  for train_id, (_, label_id, _) in enumerate(_CITYSCAPES):
    table[label_id] = train_id
  return table[label_ids]


def label_ids_from_train_ids(train_ids) -> np.ndarray:
  """The inverse of `train_ids_from_label_ids`, uint8; 255 stays.

  >>> label_ids_from_train_ids(np.array([0, 13, 255], np.uint8)).tolist()
  [7, 26, 255]
  """
  table = np.full(256, IGNORE, np.uint8)
  table[: len(_CITYSCAPES)] = [label_id for _, label_id, _ in _CITYSCAPES]
  return table[train_ids]


def label_ids_from_street(labels) -> np.ndarray:
  """Street labels 0 to 10 as Cityscapes `labelIds`, uint8.

  >>> label_ids_from_street(np.array([0, 9, 10])).tolist()
  [7, 26, 27]
  """
  table = np.array([_CITYSCAPES[k][1] for k in STREET_TRAIN_IDS], np.uint8)
  return table[labels]
