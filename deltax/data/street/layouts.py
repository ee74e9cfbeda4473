"""Streets in the folders of published data sets, for the readers of these."""

import pathlib
from collections.abc import Mapping
from xml.etree import ElementTree

import cv2
import numpy as np

from deltax.data import labels
from deltax.data.folders.imagenet_vid_tree import STILLS
from deltax.data.street import drive

# WordNet ids that the street's objects are written as. Among the 30 classes
# there is no lorry, so trucks become buses; and no person, so people are left
# out.
WORDNET = {labels.CAR: 'n02958343', labels.TRUCK: 'n02924116'}


def write_cityscapes(
  world: drive.World,
  root,
  split: str,
  city: str,
  sequence: int,
  labelled: int = 19,
) -> None:
  """Writes a world as one snippet of Cityscapes: PNG frames, one label map.

  Args:
    world: what to write; the published snippets have 30 frames.
    root: folder to write to, as in `folders.cityscapes_video`.
    split: 'train', 'val' or 'test'.
    city: name of the folder of the snippet.
    sequence: number of the snippet.
    labelled: number of the frame whose labels are written, as `labelIds`.
  """
  root = pathlib.Path(root)
  images = root / 'leftImg8bit_sequence' / split / city
  truths = root / 'gtFine' / split / city
  images.mkdir(parents=True, exist_ok=True)
  truths.mkdir(parents=True, exist_ok=True)
  for index, frame in enumerate(world.frames):
    name = f'{city}_{sequence:06d}_{index:06d}_leftImg8bit.png'
    cv2.imwrite(str(images / name), frame[..., ::-1])
  name = f'{city}_{sequence:06d}_{labelled:06d}_gtFine_labelIds.png'
  ids = labels.label_ids_from_street(world.labels[labelled])
  cv2.imwrite(str(truths / name), ids)


def write_imagenet_vid(
  world: drive.World,
  root,
  split: str,
  video: str,
  wordnet: Mapping[int, str] = WORDNET,
) -> None:
  """Writes a world as a video of VID: JPEG frames and their annotations.

  Args:
    world: what to write.
    root: folder to write to, as in `folders.imagenet_vid_tree`.
    split: 'train' or 'val'.
    video: name; in 'train' PART/VIDEO.
    wordnet: id to write for each label of the street; other labels' boxes are
      left out.
  """
  for index in range(len(world.frames)):
    place = f'VID/{split}/{video}/{index:06d}'
    _write(world, index, pathlib.Path(root), place, wordnet)


def write_imagenet_det(
  world: drive.World,
  root,
  index: int,
  name: str,
  wordnet: Mapping[int, str] = WORDNET,
) -> None:
  """Writes frame `index` as a still of DET, and adds it to the list of stills.

  Args:
    world: whose frame.
    root: folder to write to, as in `folders.imagenet_vid_tree`.
    index: of the frame.
    name: PART/NAME.
    wordnet: as for `write_imagenet_vid`.
  """
  root = pathlib.Path(root)
  _write(world, index, root, f'DET/train/{name}', wordnet)
  listed = root / 'ImageSets' / 'VID' / STILLS
  listed.parent.mkdir(parents=True, exist_ok=True)
  with open(listed, 'a') as file:
    file.write(f'train/{name} 1\n')


def _write(world, index, root, place, wordnet) -> None:
  picture = root / 'Data' / f'{place}.JPEG'
  truth = root / 'Annotations' / f'{place}.xml'
  for path in (picture, truth):
    path.parent.mkdir(parents=True, exist_ok=True)
  frame = np.ascontiguousarray(world.frames[index][..., ::-1])
  _, data = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
  picture.write_bytes(data.tobytes())
  top = ElementTree.Element('annotation')
  _add(top, 'folder', picture.parent.name)
  _add(top, 'filename', picture.stem)
  size = _add(top, 'size')
  _add(size, 'width', frame.shape[1])
  _add(size, 'height', frame.shape[0])
  for row in np.flatnonzero(world.box_frames == index):
    kind = int(world.box_classes[row])
    if kind not in wordnet:
      continue
    thing = _add(top, 'object')
    _add(thing, 'trackid', world.box_tracks[row])
    _add(thing, 'name', wordnet[kind])
    bounds = _add(thing, 'bndbox')
    x0, y0, x1, y1 = world.boxes[row]
    for name, value in zip(
      ('xmax', 'xmin', 'ymax', 'ymin'), (x1, x0, y1, y0), strict=True
    ):
      _add(bounds, name, value)
    _add(thing, 'occluded', 0)
    _add(thing, 'generated', 0)
  ElementTree.indent(top)
  ElementTree.ElementTree(top).write(truth)


def _add(parent, name: str, value='') -> ElementTree.Element:
  child = ElementTree.SubElement(parent, name)
  child.text = str(value)
  return child
