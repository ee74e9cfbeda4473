"""Places the ends of what two files have in common within a frame."""

import os

import numpy as np

from deltax.data.video.files import read_chunks
from deltax.retrieval.compare.locate import Frames, Part, sharpen
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.results import SearchResult, Where
from deltax.retrieval.system import System, encode_fine
from deltax.systems.reading import CHUNK

MARGIN = 2.0  # seconds before and after an end, all of whose frames are read
_EVERY = 1000.0  # frames a second, more than any video has


def place_precisely(
  system: System,
  index: Index,
  query: str | os.PathLike,
  regions: np.ndarray,
  result: SearchResult,
) -> SearchResult:
  """A result with ends from all frames around them.

  Files are decoded until the last end. Regions are made of the frames around
  the ends alone, some seconds for each part.

  Args:
    system: that searched.
    index: that was searched.
    query: the video file.
    regions: float32 `[T, R, D]`, of its frames, one a second.
    result: of the search.

  Returns:
    The result. An end around which nothing is found stays as it was, and so do
    the parts of a video whose file is not there or not readable any more.

  Raises:
    ValueError: the query cannot be read.
    FileNotFoundError: the query is not there.
  """
  codes, matches = encode_fine(system.fine, regions), []
  for match in result.matches:
    if match.where and not match.state:
      own = _around(system, query, [x for y in match.where for x in y.query])
      ends = [x for y in match.where for x in y.target]
      try:
        other = _around(system, match.path, ends)
      except (ValueError, OSError):
        matches.append(match)
        continue
      films = codes, index.fine(match.row)
      parts = [Part(*where, surety=0.0) for where in match.where]
      parts = [sharpen(part, own, other, films, MARGIN) for part in parts]
      match = match._replace(where=tuple(Where(*part[:4]) for part in parts))
    matches.append(match)
  return result._replace(matches=tuple(matches))


def _around(system: System, path, moments: list[float]) -> Frames:
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
