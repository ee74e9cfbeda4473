"""A query as it would look in a copy: nearer, and farther away.

Regions of frames are compared at the size that they have. A copy that was cut
out of the picture, or that stands inside of another one, has other sizes; a
query that is shown nearer and farther away has them too, and an index needs
nothing for it.
"""

import cv2
import numpy as np

NEARER, FARTHER = 0.7, 0.8  # of the sides: what is kept; what is left


def views(frames: np.ndarray) -> tuple[np.ndarray, ...]:
  """Other views of a video: its middle enlarged, and all of it made smaller.

  Args:
    frames: uint8 `[T, H, W, 3]`.

  Returns:
    As many frames of the same size each, uint8; what surrounds the smaller ones
    is black.
  """
  height, width = frames.shape[1:3]
  high, wide = (max(1, int(NEARER * side)) for side in (height, width))
  y, x = (height - high) // 2, (width - wide) // 2
  nearer = [
    cv2.resize(np.ascontiguousarray(frame), (width, height))
    for frame in frames[:, y : y + high, x : x + wide]
  ]
  high, wide = (max(1, int(FARTHER * side)) for side in (height, width))
  y, x = (height - high) // 2, (width - wide) // 2
  farther = np.zeros_like(frames)
  for under, frame in zip(farther, frames, strict=True):
    small = cv2.resize(frame, (wide, high), interpolation=cv2.INTER_AREA)
    under[y : y + high, x : x + wide] = small
  return np.stack(nearer), farther
