"""How much a video changes from frame to frame, and where its cuts are."""

import cv2
import numpy as np

_THUMBNAIL = 32, 24  # columns and rows
_BINS = 8  # of a colour's histogram
_NEAR = 6  # frames on either side that tell the running level
# A cut is a change so many times the running level, and not below the least:
# grey levels of thumbnails, and the share of pixels whose colour is another.
_TIMES, _LEAST, _LEAST_RECOLOURED = 3.0, 8.0, 0.08


class Changes:
  """Measures the change of each frame since the one before.

  Attributes:
    moved: of each frame, grey levels (0 to 255) between its thumbnail and that
      of the frame before, on average; 0 for the first.
    recoloured: of each frame, the share (0 to 1) of its histogram that is not
      in that of the frame before; 0 for the first.
  """

  def __init__(self):
    self.moved, self.recoloured = [], []
    self._before = None

  def __call__(self, frame: np.ndarray) -> None:
    """Takes the next frame, uint8 `[H, W, 3]`."""
    small = cv2.resize(frame, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    counts = [
      np.bincount(channel.ravel() // (256 // _BINS), minlength=_BINS)
      for channel in cv2.split(small)
    ]
    histogram = np.stack(counts) / small[..., 0].size
    moved = recoloured = 0.0
    if self._before is not None:
      last, shares = self._before
      moved = float(cv2.absdiff(small, last).mean())
      recoloured = float(abs(histogram - shares).sum() / 2 / len(shares))
    self.moved.append(moved)
    self.recoloured.append(recoloured)
    self._before = small, histogram


def find_cuts(moved: np.ndarray, recoloured: np.ndarray) -> np.ndarray:
  """Which frames begin another shot.

  A cut changes much more than the frames around it do, in place and in colour:
  a fast camera changes all of them, a flash of light counts as two cuts. Slow
  dissolves are not found.

  Args:
    moved: float `[N]`, see `Changes`.
    recoloured: float `[N]`.

  Returns:
    bool `[N]`, False for the first frame.

  >>> find_cuts([0, 2, 2, 40, 2, 2], [0, 0.1, 0.1, 0.6, 0.1, 0.1]).nonzero()[0]
  array([3])
  """
  moved = np.asarray(moved, float)
  recoloured = np.asarray(recoloured, float)
  cuts = moved > np.maximum(_LEAST, _TIMES * _level(moved))
  cuts &= recoloured > np.maximum(_LEAST_RECOLOURED, _level(recoloured))
  cuts[:1] = False
  return cuts


def _level(values: np.ndarray) -> np.ndarray:
  """The median of each value's neighbours, without itself."""
  if len(values) < 2:
    return np.zeros_like(values)
  # The first frame has no change; it would make the level too low.
  beyond = np.concatenate([[np.nan] * _NEAR, values, [np.nan] * _NEAR])
  beyond[_NEAR] = np.nan
  windows = np.lib.stride_tricks.sliding_window_view(beyond, 2 * _NEAR + 1)
  others = np.delete(windows, _NEAR, axis=1)
  levels = np.zeros_like(values)
  known = ~np.isnan(others).all(1)
  levels[known] = np.nanmedian(others[known], axis=1)
  return levels
