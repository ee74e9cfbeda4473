"""Decodes a video once, to the size that is trained on, into a store."""

import os
import pathlib
from collections.abc import Generator
from typing import BinaryIO

import numpy as np

from deltax import files
from deltax.data.own import store
from deltax.data.own.cuts import Changes, find_cuts
from deltax.data.video.files import read_chunks
from deltax.data.video.frames import Header, resize
from deltax.data.video.shown import within
from deltax.data.video.stream import flaws

FITS = ('cover', 'inside', 'stretch')
_STRETCH = 64  # frames that stay together where a video is thinned


def fitted(frame: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
  """A frame at another size.

  Args:
    frame: uint8 `[H', W', 3]`.
    size: (H, W).
    fit: 'cover': in its proportions, as small as covers the size, and the
      middle of it; 'inside': in its proportions, all of it, on black;
      'stretch': all of it, in other proportions.

  Returns:
    uint8 `[H, W, 3]`.
  """
  if fit == 'inside':
    return within(frame, (*size, 3))
  if fit == 'cover':
    height, width = frame.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, columns = (max(1, round(scale * side)) for side in size)
    top, left = (height - rows) // 2, (width - columns) // 2
    frame = frame[top : top + rows, left : left + columns]
  return resize(np.ascontiguousarray(frame), size)


def decode(
  path: pathlib.Path,
  into: str | os.PathLike,
  *,
  header: Header,
  size: tuple[int, int],
  fit: str,
  rate: float,
  limit: int,
) -> Generator[int, None, str]:
  """Decodes a video into a file that is there whole, at the end, or not at all.

  Args:
    path: of the video.
    into: file to write, see `store`.
    header: of the video; where it tells the wrong number of frames, fewer than
      `limit` may be kept.
    size: rows and columns.
    fit: see `fitted`.
    rate: frames a second to keep; a steady higher rate is divided by a whole
      number.
    limit: frames to keep at most. Of a longer video, stretches of up to 64
      consecutive frames are kept, which lie evenly in its time.

  Yields:
    The number of frames so far.

  Returns:
    What is told of the video, '' where all is well.

  Raises:
    VideoError: it cannot be read to its end.
  """
  changes, told = Changes(), ''
  with files.replacing(into) as beside, open(beside, 'w+b') as file:
    kept = _Kept(file, size, header, rate, limit)
    options = {'rate': rate, 'short_side': None, 'crop': None}
    for number, part in enumerate(read_chunks(path, 1, **options)):
      frame = fitted(part.frames[0], size, fit)
      changes(frame)
      kept.take(frame, number, float(part.times[0]))
      told = flaws(part.damaged, part.resized)
      yield number + 1
    numbers = np.array(kept.numbers)
    cuts = find_cuts(changes.moved, changes.recoloured)
    # A cut may lie in what was left out: it counts for the next frame kept.
    shots = np.cumsum(cuts)[numbers]
    begins = np.diff(shots, prepend=-1) > 0
    begins |= np.diff(kept.stretches, prepend=-2) > 1
    store.close(
      file,
      size,
      times=kept.times,
      changes=np.array(changes.moved)[numbers],
      starts=begins,
      limit=limit if len(numbers) < len(changes.moved) else 0,
    )
  if len(numbers) < number + 1:
    thinned = f'thinned to {len(numbers):,} of {number + 1:,} frames'
    told = f'{told}, {thinned}' if told else thinned
  return told


class _Kept:
  """Writes frames, in stretches evenly far apart, never more than a limit.

  Attributes:
    numbers: of the frames that are in the file.
    times: of these, in seconds.
    stretches: of these, the number of the stretch that each is of.
  """

  def __init__(
    self,
    file: BinaryIO,
    size: tuple[int, int],
    header: Header,
    rate: float,
    limit: int,
  ):
    self._file, self._bytes, self._limit = file, 3 * size[0] * size[1], limit
    together = min(_STRETCH, max(1, limit // 8))
    self._seconds = together / min(header.rate, rate)
    expected = expected_frames(header, rate) or 0
    room = max(limit - together, 1)
    self._every = max(1.0, expected / room) if expected > limit else 1.0
    self._due = 0.0
    self.numbers, self.times, self.stretches = [], [], []

  def take(self, frame: np.ndarray, number: int, time: float) -> None:
    """Writes a frame, if it is of a stretch that is kept."""
    stretch = int(time / self._seconds)
    if not self._keeps(stretch):
      return
    if len(self.numbers) == self._limit:
      self._halve()
      if len(self.numbers) == self._limit or not self._keeps(stretch):
        return
    if not self.stretches or self.stretches[-1] != stretch:
      self._due = max(self._due + self._every, stretch)
    self._file.write(frame.tobytes())
    self.numbers.append(number)
    self.times.append(time)
    self.stretches.append(stretch)

  def _keeps(self, stretch: int) -> bool:
    going_on = bool(self.stretches) and self.stretches[-1] == stretch
    return going_on or stretch >= self._due

  def _halve(self) -> None:
    """Gives up every other stretch: there are more than the header told."""
    order = sorted(set(self.stretches))
    going = set(order[1::2])
    stay = [k for k, s in enumerate(self.stretches) if s not in going]
    for place, old in enumerate(stay):
      self._file.seek(old * self._bytes)
      frame = self._file.read(self._bytes)
      self._file.seek(place * self._bytes)
      self._file.write(frame)
    self._file.truncate(len(stay) * self._bytes)
    self._file.seek(0, os.SEEK_END)
    for name in ('numbers', 'times', 'stretches'):
      values = getattr(self, name)
      setattr(self, name, [values[k] for k in stay])
    self._every *= 2
    self._due = self.stretches[-1] + self._every


def expected_frames(header: Header, rate: float) -> int | None:
  """How many frames `decode` will see, about; None where nobody knows."""
  if header.count is None:
    return None
  return -(-header.count // max(1, round(header.rate / rate)))
