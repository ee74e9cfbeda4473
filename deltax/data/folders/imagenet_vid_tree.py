"""The folders of ILSVRC2015 (VID and DET) as they are unpacked.

    ROOT/Data/VID/train/PART/VIDEO/000000.JPEG    (and val/VIDEO/...)
    ROOT/Annotations/VID/train/PART/VIDEO/000000.xml
    ROOT/Data/DET/train/PART/NAME.JPEG
    ROOT/Annotations/DET/train/PART/NAME.xml
    ROOT/ImageSets/VID/DET_train_30classes.txt: lines 'train/PART/NAME 1'

The list of stills is not part of ILSVRC; it comes with the published code that
trains on VID.
"""

import io
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from deltax.data import images
from deltax.data.labels import IMAGENET_VID_IDS

STILLS = 'DET_train_30classes.txt'
_FOLDERS = {'train': '*/*', 'val': '*'}
_BOUNDS = ('xmin', 'ymin', 'xmax', 'ymax')
_MARKS = ('trackid', 'occluded', 'generated')
_CLASSES = {wordnet: k for k, wordnet in enumerate(IMAGENET_VID_IDS)}


class VideoFiles(NamedTuple):
  """Where the frames of one video lie, or one still.

  Attributes:
    name: unique in its split.
    pictures: folder of the JPEG files.
    truths: folder of the XML files.
    stems: names of the files without their endings, in order.
  """

  name: str
  pictures: pathlib.Path
  truths: pathlib.Path
  stems: tuple[str, ...]

  def files(self) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """The picture and the annotation of each frame."""
    for stem in self.stems:
      yield self.pictures / f'{stem}.JPEG', self.truths / f'{stem}.xml'


class Objects(NamedTuple):
  """What one annotation says, of the 30 classes.

  Attributes:
    boxes: float32 `[N, 4]`, x0, y0, x1, y1 in pixels, inside the picture.
    classes: int32 `[N]`, 0 to 29.
    tracks: int32 `[N]`, an object's number in its video; 0 in stills.
    occluded: bool `[N]`.
    generated: bool `[N]`, whether the box was filled in between others.
    outside: how many more boxes had no area inside the picture.
  """

  boxes: np.ndarray
  classes: np.ndarray
  tracks: np.ndarray
  occluded: np.ndarray
  generated: np.ndarray
  outside: int


def find_videos(root, split: str) -> list[VideoFiles]:
  """All videos of VID's 'train' or 'val', by name.

  Raises:
    FileNotFoundError: there are none, a frame is missing in the middle of a
      video, or an annotation is.
  """
  root = pathlib.Path(root)
  pictures = root / 'Data' / 'VID' / split
  truths = root / 'Annotations' / 'VID' / split
  videos = []
  for folder in sorted(pictures.glob(_FOLDERS[split])):
    if not folder.is_dir():
      continue
    name = folder.relative_to(pictures).as_posix()
    stems = _stems(folder, '.JPEG')
    wanted = [f'{k:06d}' for k in range(len(stems))]
    if stems != wanted or not stems:
      missing = next((k for k in wanted if k not in set(stems)), '000000')
      raise FileNotFoundError(
        f'{folder}: expected frames 000000.JPEG, 000001.JPEG, ... without a '
        f'gap, found {len(stems)} without {missing}.JPEG'
      )
    missing = sorted(set(stems) - set(_stems(truths / name, '.xml')))
    images.check_files(
      [truths / name / f'{stem}.xml' for stem in missing],
      f'an annotation of every frame of {folder}',
    )
    videos.append(VideoFiles(name, folder, truths / name, tuple(stems)))
  if not videos:
    inner = _FOLDERS[split].replace('*/*', 'PART/VIDEO').replace('*', 'VIDEO')
    raise FileNotFoundError(
      f'{pictures}: expected videos {inner}/000000.JPEG, ..., found none'
    )
  return videos


def find_stills(root) -> list[VideoFiles]:
  """The stills of DET that the list names; none where there is no DET.

  Raises:
    FileNotFoundError: the list, or a file that it names, is missing.
    ValueError: the list is not as published.
  """
  root = pathlib.Path(root)
  pictures, truths = root / 'Data' / 'DET', root / 'Annotations' / 'DET'
  if not pictures.is_dir():
    return []
  places = [root / 'ImageSets' / kind / STILLS for kind in ('VID', 'DET')]
  lists = [path for path in places if path.is_file()]
  if not lists:
    raise FileNotFoundError(
      f'{places[0]}: expected the list of stills, as there is {pictures}'
    )
  stills = []
  for number, line in enumerate(lists[0].read_text().splitlines(), 1):
    if not line.strip():
      continue
    part, _, stem = line.split()[0].rpartition('/')
    if not part or '..' in part:
      raise ValueError(
        f"{lists[0]}, line {number}: expected 'train/PART/NAME 1', got {line!r}"
      )
    folders = pictures / part, truths / part
    stills.append(VideoFiles(f'{part}/{stem}', *folders, (stem,)))
  images.check_files(
    (path for still in stills for pair in still.files() for path in pair),
    f'the pictures and annotations that {lists[0]} names',
  )
  return stills


def read_picture(path) -> tuple[bytes, tuple[int, int]]:
  """A JPEG file's bytes as they are, and its width and height.

  Raises:
    ValueError: the file is no JPEG, or it is cut off.
  """
  data = pathlib.Path(path).read_bytes()
  try:
    with Image.open(io.BytesIO(data)) as image:
      kind, size = image.format, image.size
  except OSError:
    kind, size = 'unreadable', None
  if kind != 'JPEG':
    raise ValueError(f'{path}: expected a JPEG picture, found {kind} content')
  if b'\xff\xd9' not in data[-256:]:  # some cameras write a little after it
    raise ValueError(f'{path}: the file is cut off')
  return data, size


def read_objects(path, size: tuple[int, int]) -> Objects:
  """The objects of an annotation; other classes than the 30 are left out.

  Args:
    path: of the XML file.
    size: width and height of the picture. Boxes are cut at its border; as
      published, a box ends where `xmax` and `ymax` say, without one more.

  Raises:
    ValueError: the file is no annotation.
  """
  rows, outside = [], 0
  try:
    root = ElementTree.parse(path).getroot()
    if root.tag != 'annotation':
      raise ValueError(f'its root is {root.tag}')
    for thing in root.iter('object'):
      kind = _CLASSES.get(thing.find('name').text.strip())
      if kind is None:
        continue
      x0, y0, x1, y1 = (float(thing.find(f'bndbox/{k}').text) for k in _BOUNDS)
      x0, x1 = np.clip([x0, x1], 0, size[0])
      y0, y1 = np.clip([y0, y1], 0, size[1])
      if not (x1 > x0 and y1 > y0):
        outside += 1
        continue
      marks = [int(thing.findtext(k, '0')) for k in _MARKS]
      rows.append((x0, y0, x1, y1, kind, *marks))
  except (ElementTree.ParseError, AttributeError, ValueError) as error:
    raise ValueError(
      f'{path}: expected an annotation whose objects have a name and a bndbox '
      f'({error})'
    ) from error
  table = np.array(rows, np.float64).reshape(-1, 8)
  return Objects(
    table[:, :4].astype(np.float32),
    table[:, 4].astype(np.int32),
    table[:, 5].astype(np.int32),
    table[:, 6] > 0,
    table[:, 7] > 0,
    outside,
  )


def _stems(folder, ending: str) -> list[str]:
  if not os.path.isdir(folder):
    return []
  return sorted(
    name.removesuffix(ending)
    for name in os.listdir(folder)
    if name.endswith(ending)
  )
