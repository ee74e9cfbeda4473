"""`street`: a drive through a rendered, labelled street; one world per seed.

panda3d's software rasteriser needs no GPU and no display. Each world is drawn
in a process of its own (`python -m deltax.data.street.drive`), so that the same
seed gives the same picture whatever else the caller drew before.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from deltax.data.prefetch import map_ahead

FPS = 17.0
VERSION = '1.0.0'  # of the pictures: change it when any pixel changes


class World(NamedTuple):
  """A clip of one street.

  Attributes:
    frames: uint8 `[T, H, W, 3]`, RGB, 17 a second.
    labels: uint8 `[T, H, W]`, 0 to 10, every pixel labelled (`labels.STREET`).
    boxes: int32 `[N, 4]`, x0, y0, x1, y1 in pixels around the visible pixels of
      an instance; x1 and y1 are exclusive. Cars, trucks and people only.
    box_frames: int32 `[N]`, the frame of each box, ascending.
    box_classes: int32 `[N]`, the label of each box.
    box_tracks: int32 `[N]`, the instance: the same number in every frame.
    flow: float32 `[T, H, W, 2]`, exact motion `(dx, dy)` in pixels from a pixel
      of frame t to its place in frame t - 1; zero in frame 0.
    visible: bool `[T, H, W]`, whether that place was in view; False in frame 0.
  """

  frames: np.ndarray
  labels: np.ndarray
  boxes: np.ndarray
  box_frames: np.ndarray
  box_classes: np.ndarray
  box_tracks: np.ndarray
  flow: np.ndarray
  visible: np.ndarray


def render_world(
  seed: int, frames: int = 30, size: tuple[int, int] = (128, 256)
) -> World:
  """The clip of a seed: the same arrays every time.

  A street is as long as its drive: other numbers of frames, other streets.

  Args:
    seed: of the world, 0 and up.
    frames: number of frames T.
    size: height and width in pixels.

  Raises:
    ImportError: panda3d is not installed.
    RuntimeError: the renderer failed; the message has its last words.
  """
  if seed < 0 or frames < 1 or min(size) < 16:
    raise ValueError(
      f'a street needs seed >= 0, frames >= 1 and sides of at least 16 pixels, '
      f'got seed {seed}, frames {frames}, size {tuple(size)}'
    )
  if importlib.util.find_spec('panda3d') is None:
    raise ImportError('rendering a street needs panda3d: pip install panda3d')
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'world.npz')
    arguments = [str(v) for v in (seed, frames, *size, path)]
    done = subprocess.run(
      [sys.executable, '-m', 'deltax.data.street.drive', *arguments],
      capture_output=True,
      text=True,
      env={**os.environ, 'PYTHONPATH': _python_path()},
    )
    if done.returncode:
      raise RuntimeError(
        f'rendering street {seed} failed with exit code {done.returncode}:\n'
        f'{done.stderr[-2000:]}'
      )
    with np.load(path) as arrays:
      return World(**{name: arrays[name] for name in World._fields})


def render_worlds(
  seeds: Iterable[int],
  frames: int = 30,
  size: tuple[int, int] = (128, 256),
  workers: int = 2,
) -> Iterator[tuple[int, World]]:
  """`(seed, world)` in the order of the seeds, drawn by parallel processes."""

  def draw(seed: int) -> tuple[int, World]:
    return seed, render_world(seed, frames, size)

  return map_ahead(draw, seeds, threads=workers, ahead=workers)


def _python_path() -> str:
  """The paths this process imports from, for the child."""
  return os.pathsep.join(path or os.getcwd() for path in sys.path)


def _boxes(instances, labels):
  """Boxes, classes and tracks of the instances seen in one frame."""
  rows = []
  for track in np.unique(instances[instances > 0]):
    y, x = np.nonzero(instances == track)
    box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    rows.append((*box, labels[y[0], x[0]], track))
  return np.array(rows, np.int32).reshape(-1, 6)


def _draw(seed: int, frames: int, size) -> World:
  """Draws a world in this process; once per process."""
  # Of the engine's state there is one a process: only the child may have it.
  from deltax.data.street import camera
  from deltax.data.street.renderer import Renderer
  from deltax.data.street.scene import build

  cv2.setNumThreads(1)
  scene = build(seed, frames / FPS)
  renderer = Renderer(scene, size)
  rng = np.random.default_rng([seed, 0xCA])
  # Motion blur: the mean of moments while the shutter is open, in the middle
  # of which the labels are drawn. The longer it is open, the more of them.
  count = 1 + 2 * int(np.ceil(scene.look.shutter / 0.25))
  moments = np.linspace(-0.5, 0.5, count) * scene.look.shutter
  images, pictures, boxes = [], [], []
  for index in range(frames):
    time = index / FPS
    picture = renderer.draw(time)
    colours = [renderer.colour(time + moment / FPS) for moment in moments]
    images.append(camera.develop(colours, picture.depth, scene.look, time, rng))
    rows = _boxes(picture.instances, picture.labels)
    boxes.append(np.insert(rows, 0, index, axis=1))
    pictures.append(picture)
  motions = [
    camera.motion(*pair, scene.fov)
    for pair in zip(pictures[:1] + pictures[:-1], pictures, strict=True)
  ]
  flow = np.stack([flow for flow, _ in motions])
  visible = np.stack([seen for _, seen in motions])
  visible[0] = False
  rows = np.concatenate(boxes)
  return World(
    np.stack(images),
    np.stack([picture.labels for picture in pictures]),
    rows[:, 1:5],
    rows[:, 0],
    rows[:, 5],
    rows[:, 6],
    flow,
    visible,
  )


def _main(seed, frames, height, width, path):
  world = _draw(int(seed), int(frames), (int(height), int(width)))
  np.savez(path, **world._asdict())


if __name__ == '__main__':
  _main(*sys.argv[1:])
