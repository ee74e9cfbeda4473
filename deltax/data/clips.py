"""Which frames of a video make a clip."""

import numpy as np


def check(clip_length, frames: int, train: bool, max_distance: int) -> None:
  """Raises ValueError if videos of `frames` frames hold no such clip."""
  if clip_length is None:
    if train:
      raise ValueError('clip_length=None (whole videos) is for evaluation only')
    return
  span = max_distance + 1 if train and clip_length == 2 else clip_length
  if clip_length < 1 or max_distance < 1 or span > frames:
    raise ValueError(
      f'clips of {clip_length} frames (max_distance {max_distance}) do not fit '
      f'in videos of {frames} frames'
    )


def choose(
  rng: np.random.Generator, frames: int, clip_length: int, max_distance: int
) -> list[int]:
  """Frame numbers of a training clip.

  A pair is a key frame and one of the next `max_distance` frames, the distance
  uniform; any other clip is consecutive frames.
  """
  if clip_length == 2:
    distance = int(rng.integers(1, max_distance + 1))
    key = int(rng.integers(0, frames - distance))
    return [key, key + distance]
  start = int(rng.integers(0, frames - clip_length + 1))
  return list(range(start, start + clip_length))
