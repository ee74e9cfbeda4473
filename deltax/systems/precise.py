"""Places the ends of what two files have in common within a frame."""

import os
from collections.abc import Sequence

import numpy as np

from deltax.data.video.files import read_chunks
from deltax.retrieval.compare.locate import Frames, Part, sharpen
from deltax.retrieval.search.results import Where
from deltax.retrieval.system import System, encode_fine
from deltax.systems.reading import CHUNK

MARGIN = 2.0  # seconds before and after an end, all of whose frames are read
_EVERY = 1000.0  # frames a second, more than any video has


def sharpen_where(
  system: System,
  query: tuple[str | os.PathLike, np.ndarray],
  target: tuple[str | os.PathLike, np.ndarray],
  where: Sequence[Where],
) -> tuple[Where, ...]:
  """Parts with ends from all frames around them.

  Both files are decoded until the last end. Regions are made of the frames
  around the ends alone.

  Args:
    system: that found the parts.
    query: a video file, and its codes of one frame a second.
    target: the same of the other.
    where: as a search tells it.

  Returns:
    The parts; an end around which nothing is found stays as it was.

  Raises:
    ValueError: a file cannot be read.
    FileNotFoundError: a file is not there.
  """
  if not where:
    return ()
  near = [
    _around(system, path, [x for part in where for x in part[side]])
    for side, (path, _) in enumerate((query, target))
  ]
  films = query[1], target[1]
  parts = [
    sharpen(Part(*part, surety=0.0), *near, films, MARGIN) for part in where
  ]
  return tuple(Where(*part[:4]) for part in parts)


def _around(system: System, path, moments: Sequence[float]) -> Frames:
  """All frames of a file that are near to some moments, and their codes."""
  moments = np.array(moments)
  codes, times, end = [], [], 0.0
  for part in read_chunks(path, CHUNK, rate=_EVERY):
    end = part.duration
    away = np.abs(part.times[:, None] - moments).min(1)
    chosen = away <= MARGIN
    if chosen.any():
      regions = system.extract(part.frames[chosen])
      codes.append(encode_fine(system.fine, np.asarray(regions, np.float32)))
      times.append(part.times[chosen])
    if part.times[-1] > moments.max() + MARGIN:
      break
  return Frames(np.concatenate(codes), np.concatenate(times), 0.0, end)
