"""Augmentation in time: other orders and speeds of a video's frames.

Source: Kordopatis-Zilos et al., Distill-and-Select, IJCV 2022, and its released
code, whose draws these are, number for number.
"""

import numpy as np

MOST = 300  # frames of a training video
_SHORT = 8  # frames, up to which a video stays as it is
_SLOWED = 150  # frames, from which a video is slowed down no more
_WINDOWS = (4, 16)  # frames of a window, the last exclusive
_DROPPED = 0.3  # of the windows


def draw_order(
  count: int, rng: np.random.Generator | np.random.RandomState
) -> np.ndarray:
  """Which frames to show, in which order.

  With a chance of a tenth each: windows of 4 to 15 frames are dropped or
  shuffled (the video starts again until the last window is full), every second
  frame is shown, every frame is shown twice, or the order is turned around;
  else it stays. Videos of up to 8 frames stay too.

  Args:
    count: frames of the video, T.
    rng: with `RandomState(seed)` the published code's draws after
      `numpy.random.seed(seed)`.

  Returns:
    int `[S]`, 0 to T - 1, S at most 300.

  >>> draw_order(10, np.random.RandomState(1))
  array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
  """
  order = np.arange(count)
  if count > _SHORT:
    kind = rng.uniform()
    if kind < 0.2:
      order = _windows(order, kind < 0.1, rng)
    elif kind < 0.3:
      order = order[::2]
    elif kind < 0.4:
      order = np.repeat(order, 2) if count < _SLOWED else order
    elif kind < 0.5:
      order = order[::-1]
  return order[:MOST]


def _windows(order, drop: bool, rng) -> np.ndarray:
  size = int(rng.choice(np.arange(*_WINDOWS)))
  windows = np.resize(order, (-(-len(order) // size), size))
  if not drop:
    rng.shuffle(windows)
    return windows.reshape(-1)
  kept = rng.uniform(size=len(windows)) > _DROPPED
  return windows[kept if kept.any() else slice(None)].reshape(-1)
