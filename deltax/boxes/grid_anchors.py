"""Anchors of one feature map, every scale in every shape at every feature."""

import numpy as np


def grid_anchors(
  size: tuple[int, int],
  *,
  stride: int,
  scales: tuple[float, ...],
  ratios: tuple[float, ...],
) -> np.ndarray:
  """Anchors centred on the first pixel of every feature, as in mmdet 2.

  Args:
    size: (rows, columns) of the feature map.
    stride: pixels a feature.
    scales: side of a square anchor, in strides.
    ratios: height over width; the area is kept.

  Returns:
    float32 `[rows * columns * A, 4]` (x0, y0, x1, y1) in pixels, also outside
    the frame. The A anchors of a feature follow each other, scales inside
    ratios; features go row by row.

  Example:
    >>> grid_anchors((1, 2), stride=16, scales=(4,), ratios=(1.0,)).tolist()
    [[-32.0, -32.0, 32.0, 32.0], [-16.0, -32.0, 48.0, 32.0]]
  """
  high = np.sqrt(np.asarray(ratios, np.float32))[:, None]
  sides = stride * np.asarray(scales, np.float32)[None]
  width, height = (sides / high).ravel(), (sides * high).ravel()
  shapes = np.stack([-width, -height, width, height], -1) / 2
  rows, cols = (stride * np.arange(n, dtype=np.float32) for n in size)
  y, x = np.meshgrid(rows, cols, indexing='ij')
  centres = np.stack([x, y, x, y], -1)
  return (centres[:, :, None] + shapes[None, None]).reshape(-1, 4)
