"""Edits that `deltax copies` does not make, so that nothing learned them."""

import pathlib
import zlib
from collections.abc import Callable

import cv2
import numpy as np

from deltax.data.video.files import read_video, write_video

RATE = 6.0  # frames a second, as of the copies


def make(path: pathlib.Path, folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Copies of a video, one by each edit; those that are there are left.

  Args:
    path: of the video.
    folder: for the copies, `NAME-EDIT.mp4`.

  Returns:
    Their paths by the name of the edit.
  """
  video = read_video(path, rate=RATE, short_side=None, crop=None)
  made = {}
  for name, edit in EDITS.items():
    made[name] = folder / f'{path.stem}-{name}.mp4'
    if not made[name].exists():
      rng = np.random.default_rng(zlib.crc32(made[name].name.encode()))
      write_video(made[name], edit(video.frames, rng), RATE, crf=26)
  return made


def reverse(frames: np.ndarray, rng) -> np.ndarray:
  """Plays it from its end to its start."""
  return frames[::-1]


def blur(frames: np.ndarray, rng) -> np.ndarray:
  """As out of focus."""
  width = rng.uniform(1.5, 3.0)
  return np.stack([cv2.GaussianBlur(frame, None, width) for frame in frames])


def noise(frames: np.ndarray, rng) -> np.ndarray:
  """As of a sensor in the dark."""
  strength = rng.uniform(12, 25)
  return np.stack(
    [
      np.clip(frame + strength * rng.standard_normal(frame.shape), 0, 255)
      for frame in frames
    ]
  ).astype(np.uint8)


def perspective(frames: np.ndarray, rng) -> np.ndarray:
  """As filmed from a screen, from the side."""
  height, width = frames.shape[1:3]
  corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
  moved = corners + rng.uniform(-0.12, 0.12, (4, 2)) * [width, height]
  turn = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
  size = width, height
  return np.stack([cv2.warpPerspective(x, turn, size) for x in frames])


def stretch(frames: np.ndarray, rng) -> np.ndarray:
  """In other proportions: as wide as high, or twice as wide."""
  height = frames.shape[1]
  wide = int(rng.choice([height, 2 * height])) // 2 * 2
  return np.stack([cv2.resize(x, (wide, height)) for x in frames])


def sticker(frames: np.ndarray, rng) -> np.ndarray:
  """A round coloured sticker over a part, at the same place throughout."""
  height, width = frames.shape[1:3]
  place = (
    int(rng.uniform(0.2, 0.8) * width),
    int(rng.uniform(0.2, 0.8) * height),
  )
  colour = rng.integers(0, 256, 3).tolist()
  radius = int(rng.uniform(0.15, 0.25) * height)
  return np.stack(
    [cv2.circle(x.copy(), place, radius, colour, -1) for x in frames]
  )


def borders(frames: np.ndarray, rng) -> np.ndarray:
  """Smaller, before itself enlarged and blurred."""
  height, width = frames.shape[1:3]
  share = rng.uniform(0.6, 0.8)
  size = int(share * width), int(share * height)
  x, y = (width - size[0]) // 2, (height - size[1]) // 2
  framed = []
  for frame in frames:
    around = cv2.GaussianBlur(frame, None, 12)
    around[y : y + size[1], x : x + size[0]] = cv2.resize(frame, size)
    framed.append(around)
  return np.stack(framed)


Edit = Callable[[np.ndarray, np.random.Generator], np.ndarray]
EDITS: dict[str, Edit] = {
  edit.__name__: edit
  for edit in (reverse, blur, noise, perspective, stretch, sticker, borders)
}
