"""Made files of published data sets' sizes, for `input.py` to read."""

import itertools
import json
import pathlib
from xml.etree import ElementTree

import cv2
import numpy as np

from deltax.data.features.similarities import Similarities, write_similarities
from deltax.data.features.store import FeatureStore
from deltax.data.video.files import write_video

VIDEOS, FRAMES, REGIONS, FEATURES = 24, 300, 9, 512
_NOISE = 1.5  # grey levels: PNG files of 2.5 MB, as those of Cityscapes


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
  """uint8 `[H, W, 3]`: something smooth, finer structure, sensor noise."""
  draw, (rows, columns) = np.random.default_rng(number), size
  image = draw.normal(0, _NOISE, (rows, columns, 3)).astype(np.float32)
  for cell in (256, 64, 16):
    coarse = draw.uniform(0, 80, (rows // cell + 2, columns // cell + 2, 3))
    image += cv2.resize(coarse.astype(np.float32), (columns, rows))
  return np.clip(image, 0, 255).astype(np.uint8)


def regions(number: int, size: tuple[int, int], classes: int) -> np.ndarray:
  """uint8 `[H, W]`: a label map of blocks."""
  draw, (rows, columns) = np.random.default_rng(number), size
  coarse = draw.integers(0, classes, (rows // 32, columns // 32), np.uint8)
  shape = columns, rows
  return cv2.resize(coarse, shape, interpolation=cv2.INTER_NEAREST)


def cityscapes(folder: pathlib.Path) -> dict:
  """Snippets of 1024 x 2048 as PNG files; options of the data."""
  size = 1024, 2048
  for snippet in range(3):
    stem = f'made_{snippet:06d}'
    frames = folder / 'leftImg8bit_sequence' / 'train' / 'made'
    for k in range(14, 20):
      write(
        frames / f'{stem}_{k:06d}_leftImg8bit.png',
        picture(6 * snippet + k, size),
      )
    name = f'{stem}_000019_gtFine_labelIds.png'
    write(folder / 'gtFine' / 'train' / 'made' / name, regions(0, size, 34))
  return {'root': str(folder)}


def camvid(folder: pathlib.Path) -> dict:
  """Stills of 360 x 480, as CamVid is mostly passed on."""
  for k in range(6):
    write(folder / 'train' / f'{k}.png', picture(k, (360, 480)))
    write(folder / 'trainannot' / f'{k}.png', regions(k, (360, 480), 12))
  return {'root': str(folder)}


def imagenet_vid(folder: pathlib.Path) -> dict:
  """Videos of 720 x 1280 as JPEG files, an object in every frame."""
  for video in range(2):
    place = f'VID/train/ILSVRC2015_VID_train_0000/made_{video}'
    for k in range(20):
      frame = picture(k + 20 * video, (720, 1280))
      write(folder / 'Data' / place / f'{k:06d}.JPEG', frame)
      annotate(folder / 'Annotations' / place / f'{k:06d}.xml')
  place = 'VID/val/made'
  write(folder / 'Data' / place / '000000.JPEG', picture(0, (720, 1280)))
  annotate(folder / 'Annotations' / place / '000000.xml')
  data = str(folder / 'made')
  return {'root': str(folder), 'data_dir': data, 'stills': False}


def annotate(path: pathlib.Path) -> None:
  """One car in the picture."""
  top = ElementTree.Element('annotation')
  thing = ElementTree.SubElement(top, 'object')
  ElementTree.SubElement(thing, 'name').text = 'n02958343'
  box = ElementTree.SubElement(thing, 'bndbox')
  corners = {'xmin': 100, 'ymin': 100, 'xmax': 600, 'ymax': 500}
  for name, value in corners.items():
    ElementTree.SubElement(box, name).text = str(value)
  path.parent.mkdir(parents=True, exist_ok=True)
  ElementTree.ElementTree(top).write(path)


def features(folder: pathlib.Path) -> dict[str, str]:
  """Paths of a feature store, of similarities and of annotations."""
  draw = np.random.default_rng(0)
  names = [f'video {k}' for k in range(VIDEOS)]
  with FeatureStore(folder / 'features', fingerprint='made') as store:
    for name in names:
      values = draw.normal(size=(FRAMES, REGIONS, FEATURES))
      values /= np.linalg.norm(values, axis=-1, keepdims=True)
      store.add(name, values.astype(np.float32))
  scores = {
    name: ({names[k - 1]: 0.9}, dict.fromkeys(names[: k - 1], -0.5))
    for k, name in enumerate(names)
    if k > 2
  }
  write_similarities(folder / 'fine.json', Similarities(scores))
  # The selector's pairs: those of the negatives deserve the fine student.
  near = {a: (own[0], dict.fromkeys(own[1], 0.8)) for a, own in scores.items()}
  write_similarities(folder / 'coarse.json', Similarities(near))
  relevant = {name: list(own[0]) for name, own in scores.items()}
  (folder / 'copies.json').write_text(json.dumps({'relevant': relevant}))
  places = {
    'features': 'features',
    'fine': 'fine.json',
    'coarse': 'coarse.json',
    'copies': 'copies.json',
  }
  return {name: str(folder / place) for name, place in places.items()}


def video(folder: pathlib.Path) -> str:
  """A video of 480 x 854, H.264, 20 seconds of 25 frames each."""
  path = folder / 'made.mp4'
  stills = [picture(k, (480, 854)) for k in range(4)]
  moving = (
    np.roll(still, 3 * shift, 1)
    for still, shift in itertools.product(stills, range(125))
  )
  write_video(path, moving, 25.0, crf=23)
  return str(path)


def own_videos(folder: pathlib.Path) -> dict:
  """Two such videos, one of which is held out, and where they are decoded."""
  films = folder / 'films'
  films.mkdir()
  video(films)
  write_video(
    films / 'held_out.mp4', [picture(9, (480, 854))] * 40, 25.0, crf=23
  )
  return {'videos': str(films), 'data_dir': str(folder)}


def write(path: pathlib.Path, image: np.ndarray) -> None:
  """Writes a picture in the format of its file's ending."""
  path.parent.mkdir(parents=True, exist_ok=True)
  kind = '.jpg' if path.suffix == '.JPEG' else path.suffix
  backwards = image if image.ndim == 2 else image[..., ::-1]
  _, data = cv2.imencode(kind, np.ascontiguousarray(backwards))
  path.write_bytes(data.tobytes())
