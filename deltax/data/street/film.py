"""A stretch of a long drive through a rendered street, as a video file.

Slower in time and longer than the clips of `street`, and without labels. Drawn
in a process of its own, so that the same stretch gives the same pictures.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

RATE = 6.0  # frames per second


def film(
  path: str | os.PathLike,
  seed: int,
  seconds: float,
  stretch: tuple[float, float],
  size: tuple[int, int],
) -> None:
  """Writes a video of 6 frames a second, whole or not at all.

  Args:
    path: of the video.
    seed: of the street.
    seconds: of the whole drive: other lengths, other streets.
    stretch: of the drive, its start and end in seconds.
    size: height and width in pixels, both even.

  Raises:
    RuntimeError: the renderer failed; the message has its last words.
  """
  arguments = [str(v) for v in (path, seed, seconds, *stretch, *size)]
  folders = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
  done = subprocess.run(
    [sys.executable, '-m', 'deltax.data.street.film', *arguments],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': folders},
  )
  if done.returncode:
    raise RuntimeError(
      f'filming street {seed} failed with exit code {done.returncode}:\n'
      f'{done.stderr[-2000:]}'
    )


def _draw(seed, seconds, start, end, size) -> Iterator[np.ndarray]:
  import cv2

  from deltax.data.street import camera
  from deltax.data.street.renderer import Renderer
  from deltax.data.street.scene import build

  cv2.setNumThreads(1)
  scene = build(seed, seconds)
  renderer = Renderer(scene, size)
  rng = np.random.default_rng([seed, int(start * RATE)])
  for index in range(round((end - start) * RATE)):
    time = start + index / RATE
    depth = renderer.draw(time).depth
    colours = [renderer.colour(time)]
    yield camera.develop(colours, depth, scene.look, time, rng)


def _main(path, seed, seconds, start, end, height, width):
  from deltax.data.video.files import write_video

  size = int(height), int(width)
  frames = _draw(int(seed), float(seconds), float(start), float(end), size)
  write_video(path, frames, RATE)


if __name__ == '__main__':
  _main(*sys.argv[1:])
