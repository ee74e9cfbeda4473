"""Anchors: the boxes that a detector starts from."""

from collections.abc import Sequence

import numpy as np


def pyramid_anchors(
  size: tuple[int, int],
  *,
  levels: tuple[int, int] = (3, 7),
  octaves: int = 3,
  aspects: Sequence[tuple[float, float]] = ((1, 1), (1.4, 0.7), (0.7, 1.4)),
  scale: float = 4.0,
) -> np.ndarray:
  """Anchors of a pyramid of features, as EfficientDet has them.

  Args:
    size: (H, W) of the frames.
    levels: first and last level; level l has a stride of 2 ** l, and
      ceil(size / stride) places.
    octaves: sizes at a place, within a doubling.
    aspects: (width, height) factors.
    scale: side of the smallest anchor, in strides.

  Returns:
    `[A, 4]` float32 (x0, y0, x1, y1): by level from the finest, row, column,
    size and aspect. Some reach beyond the frame.

  Example:
    >>> pyramid_anchors((8, 16), levels=(3, 3), octaves=1, aspects=[(1, 1)])
    array([[-12., -12.,  20.,  20.],
           [ -4., -12.,  28.,  20.]], dtype=float32)
  """
  sides = 2.0 ** (np.arange(octaves) / octaves)
  halves = (sides[:, None, None] * np.asarray(aspects, float)).reshape(-1, 2)
  found = []
  for level in range(levels[0], levels[1] + 1):
    stride = 2**level
    y, x = ((np.arange(-(-length // stride)) + 0.5) * stride for length in size)
    centres = np.stack(np.meshgrid(x, y), -1).reshape(-1, 1, 2)
    half = halves * (scale * stride / 2)
    found.append(np.concatenate([centres - half, centres + half], -1))
  return np.concatenate([x.reshape(-1, 4) for x in found]).astype(np.float32)
