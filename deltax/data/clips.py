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
  """Frame numbers of a training clip, in order.

  Args:
    rng: generator.
    frames: of the video.
    clip_length: 2 is a pair: a key frame, and a frame that is 1 to
      `max_distance` frames later, every distance as likely. Any other number is
      that many consecutive frames.
    max_distance: largest distance of a pair.
  """
  if clip_length == 2:
    distance = int(rng.integers(1, max_distance + 1))
    key = int(rng.integers(0, frames - distance))
    return [key, key + distance]
  start = int(rng.integers(0, frames - clip_length + 1))
  return list(range(start, start + clip_length))


def ending(
  rng: np.random.Generator, last: int, clip_length: int, max_distance: int
) -> list[int]:
  """Frame numbers of a training clip that ends in a certain frame, in order.

  Args:
    rng: generator.
    last: number of the frame, at least `clip_length - 1`.
    clip_length: as for `choose`.
    max_distance: largest distance of a pair.
  """
  if clip_length == 2:
    distance = int(rng.integers(1, min(max_distance, last) + 1))
    return [last - distance, last]
  return list(range(last - clip_length + 1, last + 1))


def middles(frames: int, parts: int = 15) -> list[int]:
  """The middle frames of equal parts of a video; fewer if it is short.

  >>> middles(300)[:3], middles(3)
  ([10, 30, 50], [0, 1, 2])
  """
  return sorted({(2 * k + 1) * frames // (2 * parts) for k in range(parts)})


def partner(
  rng: np.random.Generator, anchor: int, frames: int, order: str
) -> list[int]:
  """The pair of an anchor frame and one at most 9 frames away.

  Args:
    rng: generator.
    anchor: frame number.
    frames: of the video.
    order: 'sorted': the other frame is -9 to 8 frames away, held inside the
      video, and the earlier one is the key frame. 'anchor_first': any other
      frame within 9, earlier or later, and the anchor is the key frame.

  Returns:
    Two frame numbers, twice the same for a video of one frame.

  Source: the recipes of Delta Distillation for EfficientDet and Faster R-CNN.
  """
  if order == 'sorted':
    other = int(np.clip(anchor + rng.integers(-9, 9), 0, frames - 1))
    return sorted([anchor, other])
  near = range(max(anchor - 9, 0), min(anchor + 10, frames))
  others = [k for k in near if k != anchor] or [anchor]
  return [anchor, others[int(rng.integers(len(others)))]]


def windows(frames: int, length: int) -> list[tuple[list[int], np.ndarray]]:
  """All of a video as clips that do not overlap.

  Returns:
    `(frame numbers, real)` of each clip; the last clip repeats the last frame
    until it is full, and `real`, bool `[length]`, is False there.

  >>> windows(3, 2)[1]
  ([2, 2], array([ True, False]))
  """
  clips = []
  for start in range(0, frames, length):
    places = np.arange(start, start + length)
    clips.append((np.minimum(places, frames - 1).tolist(), places < frames))
  return clips
