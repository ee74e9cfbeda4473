"""From the feature maps of a backbone to vectors of regions."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from deltax.layers import max_pool
from deltax.retrieval.networks.similarity import unit
from deltax.types import Array

_WINDOWS = (28, 14, 6, 3)  # of stages with strides 4, 8, 16 and 32
_FEWEST = 4  # frames, what the comparator needs


def region_pool(stages: Sequence[Array]) -> Array:
  """The largest responses of each stage in overlapping windows, by region.

  Windows are half as far apart as they are wide. Each stage is normalised by
  itself, and brought to the grid of the last; from 224 x 224 pictures all have
  3 x 3 regions.

  Args:
    stages: one to four `[B, H, W, C]` maps, the last ones of those with strides
      4, 8, 16 and 32.

  Returns:
    `[B, R, sum of C]` unit vectors, R the regions of the last stage, by rows.

  Raises:
    ValueError: there are other stages, or one is smaller than its window.

  Source: Kordopatis-Zilos et al., "Near-duplicate video retrieval by
  aggregating intermediate CNN layers", MMM 2017 (iMAC); ViSiL, section 3.1.
  """
  if not 1 <= len(stages) <= len(_WINDOWS):
    raise ValueError(
      f'{len(stages)} stages; expected 1 to {len(_WINDOWS)} feature maps'
    )
  pooled = []
  for x, window in zip(stages, _WINDOWS[-len(stages) :], strict=True):
    if min(x.shape[1:3]) < window:
      raise ValueError(
        f'a feature map of shape {x.shape} is smaller than its regions of '
        f'{window} x {window}; expected larger frames'
      )
    pooled.append(unit(max_pool(x, window, -(-window // 2), 'VALID')))
  grid = pooled[-1].shape[1:3]
  pooled = [unit(_adaptive_max_pool(x, grid)) for x in pooled]
  joined = jnp.concatenate(pooled, -1)
  return unit(joined.reshape(len(joined), -1, joined.shape[-1]))


def _adaptive_max_pool(x: Array, grid: tuple[int, int]) -> Array:
  """Maxima of `[B, H, W, C]` over windows that cover it in `grid` cells."""
  for axis, cells in enumerate(grid, start=1):
    size = x.shape[axis]
    if size == cells:
      continue
    maxima = []
    for cell in range(cells):
      places = [slice(None)] * 4
      # From the floor of the cell's start to the ceiling of its end.
      places[axis] = slice(cell * size // cells, -(-(cell + 1) * size // cells))
      maxima.append(x[tuple(places)].max(axis))
    x = jnp.stack(maxima, axis)
  return x


def pad_short(regions: np.ndarray) -> np.ndarray:
  """Doubles a video until it has the four frames that a comparison needs.

  Args:
    regions: `[T, ...]`, T at least 1.

  Returns:
    `[T', ...]`, T' being T, 2 T or 4 T.

  Raises:
    ValueError: there are no frames.

  Example:
    >>> pad_short(np.array([1, 2, 3])).tolist()
    [1, 2, 3, 1, 2, 3]
  """
  if not len(regions):
    raise ValueError(f'a video of shape {regions.shape} has no frames')
  while len(regions) < _FEWEST:
    regions = np.concatenate([regions, regions])
  return regions
