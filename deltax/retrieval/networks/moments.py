"""A whitening fitted to more regions than memory holds."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from deltax.retrieval.networks.regions import Whitening, whitening


class Moments(NamedTuple):
  """Sums over samples.

  Attributes:
    count: number of samples.
    total: float64 `[C]`, their sum.
    outer: float64 `[C, C]`, the sum of each times itself.
  """

  count: int
  total: np.ndarray
  outer: np.ndarray


def moments(parts: Iterable[np.ndarray]) -> Moments:
  """Sums over all rows.

  Args:
    parts: `[..., C]` each, with one C for all.

  Raises:
    ValueError: no parts, or parts of different C.
  """
  sums = None
  for part in parts:
    rows = np.asarray(part, np.float64).reshape(-1, np.shape(part)[-1])
    size = rows.shape[1]
    if sums is None:
      sums = Moments(0, np.zeros(size), np.zeros((size, size)))
    if size != len(sums.total):
      raise ValueError(
        f'features of {size} numbers among features of {len(sums.total)}'
      )
    sums.total[:] += rows.sum(0)
    sums.outer[:] += rows.T @ rows
    sums = sums._replace(count=sums.count + len(rows))
  if sums is None:
    raise ValueError('no features to take sums of')
  return sums


def whitening_from_moments(sums: Moments, size: int) -> Whitening:
  """The whitening that `fit_whitening` gives for the samples themselves.

  Args:
    sums: over N samples of C numbers, N more than `size`.
    size: D, features that are kept.

  Raises:
    ValueError: there are too few samples, or fewer than `size` features.
  """
  if sums.count <= size:
    raise ValueError(
      f'{sums.count} regions are too few to keep {size} features'
    )
  mean = sums.total / sums.count
  scatter = sums.outer - sums.count * np.outer(mean, mean)
  variances, directions = np.linalg.eigh(scatter)
  return whitening(mean, np.maximum(variances, 0), directions, size)
