"""Videos of photographs: a camera that pans and zooms over a few of them.

Photographs are in many packages and videos in few, and a network that has seen
few scenes learns these. The same folder gives the same videos.
"""

import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from absl import logging

from deltax.data.street.film import RATE
from deltax.data.video.files import write_video

ENDINGS = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
SMALLEST = 240  # pixels of the shorter side of a photograph that is used
_LARGEST = 1600  # of the longer side, to which it is shrunk
_SIDE = 240  # of the videos, the shorter one
_ASPECTS = (4 / 3, 3 / 2, 16 / 9)
_SECONDS = (8.0, 14.0)
_MOST = 2  # photographs of a video
_WINDOW = (
  0.4,
  0.95,
)  # of what a photograph has at most, where the camera looks
_SHAKE = 0.004  # of the picture's side
_ALIKE = 10  # bits of 64 in which hashes of different photographs differ


def film_photographs(
  folders: Iterable[str | os.PathLike],
  out: str | os.PathLike,
  *,
  seed: int = 0,
) -> list[pathlib.Path]:
  """Makes a video of every one or two photographs, each used once.

  Pictures that are too small, cannot be read, or are another size of one that
  was used, are left out.

  Args:
    folders: of photographs, at any depth, or files.
    out: folder of the videos `photographs_000.mp4` and on; those that are there
      already are left as they are.
    seed: of the camera.

  Returns:
    The videos.

  Raises:
    ValueError: there are no photographs.
  """
  photographs = _different(_files(folders))
  if not photographs:
    raise ValueError(
      f'no photographs in {", ".join(map(str, folders))}: expected pictures of '
      f'at least {SMALLEST} pixels'
    )
  rng = np.random.default_rng([seed, 0xF0])
  order = [photographs[n] for n in rng.permutation(len(photographs))]
  out, videos = pathlib.Path(out), []
  out.mkdir(parents=True, exist_ok=True)
  while order:
    count = int(rng.integers(1, _MOST + 1))
    shown, order = order[:count], order[count:]
    path = out / f'photographs_{len(videos):03d}.mp4'
    if not path.exists():
      # Of its number alone, so that a later call goes on as the first would.
      own = np.random.default_rng([seed, zlib.crc32(path.name.encode())])
      write_video(path, _film(shown, own), RATE)
    videos.append(path)
  logging.info('%s: %d videos of photographs', out, len(videos))
  return videos


def _files(folders) -> list[pathlib.Path]:
  listed = []
  for folder in map(pathlib.Path, folders):
    paths = sorted(folder.rglob('*')) if folder.is_dir() else [folder]
    listed += [x for x in paths if x.suffix.lower() in ENDINGS and x.is_file()]
  return listed


def _different(paths: list[pathlib.Path]) -> list[pathlib.Path]:
  """Those that are large enough and no other size of one before them."""
  kept, hashes = [], np.zeros((0, 64), bool)
  for path in paths:
    picture = _read(path)
    if picture is None or min(picture.shape[:2]) < SMALLEST:
      continue
    bits = _hash(picture)
    if len(hashes) and (hashes != bits).sum(1).min() < _ALIKE:
      continue
    kept.append(path)
    hashes = np.concatenate([hashes, bits[None]])
  return kept


def _read(path: pathlib.Path) -> np.ndarray | None:
  """RGB; None for what is no picture."""
  data = np.fromfile(path, np.uint8)
  picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
  if picture is None:
    return None
  scale = _LARGEST / max(picture.shape[:2])
  if scale < 1:
    picture = cv2.resize(
      picture, None, None, scale, scale, interpolation=cv2.INTER_AREA
    )
  return picture[..., ::-1]


def _hash(picture: np.ndarray) -> np.ndarray:
  """64 bits: where a small grey picture becomes brighter to the right."""
  grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
  small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
  return (np.diff(small, axis=1) > 0).ravel()


def _film(paths: list[pathlib.Path], rng) -> Iterator[np.ndarray]:
  """Frames of photographs, one after the other."""
  aspect = float(rng.choice(_ASPECTS))
  size = 2 * round(_SIDE * aspect / 2), _SIDE
  seconds = rng.uniform(*_SECONDS)
  shares = rng.dirichlet(np.full(len(paths), 8.0))
  for path, share in zip(paths, shares, strict=True):
    picture = _read(path)
    count = max(2, round(seconds * share * RATE))
    # Where the camera looks at first and at last: centre and width.
    first, last = (_window(picture, aspect, rng) for _ in range(2))
    for step in np.linspace(0, 1, count):
      eased = step * step * (3 - 2 * step)
      shake = rng.normal(0, _SHAKE, 2) * first[2]
      x, y, width = (1 - eased) * first + eased * last
      yield _look(picture, x + shake[0], y + shake[1], width, size)


def _window(picture, aspect, rng) -> np.ndarray:
  """Centre x and y, and width, in pixels."""
  height, width = picture.shape[:2]
  wide = min(width, height * aspect) * rng.uniform(*_WINDOW)
  high = wide / aspect
  return np.array(
    [
      rng.uniform(wide / 2, width - wide / 2),
      rng.uniform(high / 2, height - high / 2),
      wide,
    ]
  )


def _look(picture, x, y, width, size) -> np.ndarray:
  scale = size[0] / width
  move = np.array(
    [
      [scale, 0, size[0] / 2 - scale * x],
      [0, scale, size[1] / 2 - scale * y],
    ]
  )
  return cv2.warpAffine(
    np.ascontiguousarray(picture),
    *(move, size),
    flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REFLECT,
  )
