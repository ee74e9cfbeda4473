"""Which frames of a stored video make a clip: by time, and never over a cut.

A video has a nominal rate; distances are in frames of that rate. A frame of a
clip is the stored one whose time is nearest, so that clips of videos whose
rates vary, or differ, move as far as their distance tells.
"""

from typing import NamedTuple

import numpy as np

from deltax.data.own.prepare import MOST_FPS
from deltax.data.own.store import Stored

_HALF = 0.5  # of a nominal frame: as far as a time may be off
_STILL = 0.1  # how often still frames are drawn, where usual ones are once


class Shots(NamedTuple):
  """What clips are chosen by.

  Attributes:
    times: float64 `[N]`, seconds.
    ends: int64 `[N]`: where the shot ends that a frame is of, exclusive.
    fps: nominal frames per second.
    max_distance: between two frames of a clip, in nominal frames.
  """

  times: np.ndarray
  ends: np.ndarray
  fps: float
  max_distance: int


def find_shots(stored: Stored, fps: float | None, max_distance: int) -> Shots:
  """The shots of a video; what stands still for too long parts them too.

  Args:
    stored: the video.
    fps: nominal; None for the median of the video's own, at most 30.
    max_distance: in nominal frames.
  """
  gaps = np.diff(stored.times)
  if fps is None:
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    fps = min(MOST_FPS, 1 / usual) if usual > 0 else MOST_FPS
  far = (max_distance + _HALF) / fps
  starts = stored.starts | np.concatenate([[True], gaps > far])
  first = np.flatnonzero(starts)
  ends = np.append(first[1:], len(starts))
  return Shots(stored.times, np.repeat(ends, ends - first), fps, max_distance)


def find_keys(shots: Shots, clip_length: int) -> np.ndarray:
  """Frames that a clip can begin with, int64 `[K]`."""
  numbers = np.arange(len(shots.ends))
  return np.flatnonzero(numbers + clip_length <= shots.ends)


def clip_at(
  shots: Shots, key: int, clip_length: int, stride: int
) -> np.ndarray:
  """A clip's frame numbers, int64 `[T]`, each later than the one before.

  Args:
    shots: of the video.
    key: the first of the clip, one of `find_keys`.
    clip_length: T.
    stride: from frame to frame, in nominal frames, at most `max_distance`. No
      frame is farther from the key frame than so many times `max_distance`, as
      long as frames lie that near.
  """
  end, steps = shots.ends[key], np.arange(clip_length)
  times, start = shots.times[key:end], shots.times[key]
  wanted = start + steps * stride / shots.fps
  after = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
  after = np.minimum(after, len(times) - 1)
  before = np.maximum(after - 1, 0)
  nearer = wanted - times[before] <= times[after] - wanted
  places = np.where(nearer, before, after)
  far = start + (steps * shots.max_distance + _HALF) / shots.fps
  places = np.minimum(places, np.searchsorted(times, far, 'right') - 1)
  # Where frames are farther apart than the stride, the next ones are taken.
  places = np.maximum.accumulate(places - steps) + steps
  return key + np.minimum(places, len(times) - clip_length + steps)


def longest_stride(shots: Shots, key: int, clip_length: int) -> int:
  """The longest stride of clips that begin with a frame; at least 1."""
  if clip_length == 1:
    return 1
  seconds = shots.times[shots.ends[key] - 1] - shots.times[key]
  steps = int((seconds * shots.fps + _HALF) / (clip_length - 1))
  return min(max(1, steps), shots.max_distance)


def key_changes(
  shots: Shots, changes: np.ndarray, keys: np.ndarray
) -> np.ndarray:
  """How much changes behind each key frame, in grey levels a frame.

  Args:
    shots: of the video.
    changes: float `[N]`, of each frame since the one before.
    keys: int64 `[K]`.

  Returns:
    float64 `[K]`: the mean over the next `max_distance` frames of the shot; 0
    where there is none.
  """
  sums = np.cumsum(changes, dtype=np.float64)
  last = np.minimum(keys + shots.max_distance, shots.ends[keys] - 1)
  return (sums[last] - sums[keys]) / np.maximum(last - keys, 1)


def key_weights(changes: np.ndarray) -> np.ndarray:
  """How often to draw key frames: less often where hardly anything changes.

  Args:
    changes: float `[K]`, of all videos together, see `key_changes`.

  Returns:
    float64 `[K]`: 1 from the median change on, less below it, at least 0.1.

  >>> key_weights(np.array([0.0, 1.0, 2.0, 4.0, 5.0]))
  array([0.1, 0.5, 1. , 1. , 1. ])
  """
  usual = float(np.median(changes))
  if usual <= 0:
    return np.ones(len(changes))
  return np.clip(changes / usual, _STILL, 1.0)


def windows(shots: Shots, clip_length: int, most: int) -> list[np.ndarray]:
  """Clips of consecutive nominal frames that do not overlap, evenly placed.

  Args:
    shots: of the video.
    clip_length: T.
    most: clips; fewer where the video is too short for so many.
  """
  clips, place = [], 0
  while place < len(shots.ends):
    end = int(shots.ends[place])
    seconds = shots.times[end - 1] - shots.times[place]
    lasts = seconds * shots.fps + _HALF >= clip_length - 1
    if place + clip_length > end or not lasts:
      place = end
      continue
    clips.append(clip_at(shots, place, clip_length, 1))
    place = int(clips[-1][-1]) + 1
  if len(clips) <= most:
    return clips
  # The middles of equal parts, so that neither the start nor the end leads.
  places = (2 * np.arange(most) + 1) * len(clips) // (2 * most)
  return [clips[k] for k in places]
