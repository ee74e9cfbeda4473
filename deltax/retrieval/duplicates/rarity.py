"""What seconds of videos are worth: what many of them share counts little.

An opening, a logo or a black frame that fifty videos have makes none of them a
copy. A second that k other videos of the collection share counts 1 / k, any
other counts 1 (the inverse frequency of frames, counted where videos match).
Only ratios within one video are used, so that fifty copies of a whole video
still share all of it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

Stretch = tuple[float, float]  # start and end, seconds


class Overlap(NamedTuple):
  """Two videos and the stretches of each that the other has too.

  Attributes:
    videos: two numbers.
    stretches: of the first, and of the second.
  """

  videos: tuple[int, int]
  stretches: tuple[Sequence[Stretch], Sequence[Stretch]]


def second_weights(
  durations: Sequence[float], overlaps: Iterable[Overlap]
) -> list[np.ndarray]:
  """What each second of each video counts.

  Args:
    durations: of N videos, seconds.
    overlaps: of their pairs.

  Returns:
    N arrays, float64 `[ceil(duration)]`, at least one second each: 1 over the
    number of videos that share the second, 1 where none does.
  """
  shared = [np.zeros(_seconds(duration)) for duration in durations]
  for overlap in overlaps:
    for video, stretches in zip(*overlap, strict=True):
      shared[video] += covered(len(shared[video]), stretches) > 0
  return [1 / np.maximum(count, 1) for count in shared]


def shares(
  overlap: Overlap, weights: Sequence[np.ndarray]
) -> tuple[float, float]:
  """How much of the first video the second has, and the reverse; 0 to 1."""
  found = []
  for video, stretches in zip(*overlap, strict=True):
    weight = weights[video]
    part = covered(len(weight), stretches)
    found.append(float((weight * part).sum() / weight.sum()))
  return found[0], found[1]


def covered(seconds: int, stretches: Iterable[Stretch]) -> np.ndarray:
  """The part of each second that lies in one of some stretches.

  Args:
    seconds: how many there are.
    stretches: that may overlap.

  Returns:
    float64 `[seconds]`, 0 to 1.

  Example:
    >>> covered(4, [(0.5, 2.0), (1.0, 2.25)]).tolist()
    [0.5, 1.0, 0.25, 0.0]
  """
  ends, lengths = [0.0], [0.0]  # how much is covered until a moment
  for start, end in sorted(stretches):
    start = max(start, ends[-1])
    if end > start:
      ends += [start, end]
      lengths += [lengths[-1], lengths[-1] + end - start]
  return np.diff(np.interp(np.arange(seconds + 1), ends, lengths))


def _seconds(duration: float) -> int:
  return max(1, int(np.ceil(duration)))
