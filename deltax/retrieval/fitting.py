"""Whitening of regions: fitted to samples, or to sums over too many of them."""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from deltax.retrieval.networks.similarity import unit
from deltax.types import Array

_VARIANCE = 1e-7  # added before the root
_ROWS = 8192  # samples that are converted to float64 at once


class Whitening(NamedTuple):
  """Principal components, each divided by its spread.

  Attributes:
    mean: `[C]`, subtracted first.
    projection: `[C, D]`, applied to rows from the right.
  """

  mean: Array
  projection: Array


def whiten(whitening: Whitening, x: Array) -> Array:
  """Whitens regions.

  Args:
    whitening: from C to D features.
    x: `[..., C]`.

  Returns:
    `[..., D]` unit vectors. Zero vectors do not stay zero: pad afterwards.
  """
  mean = jnp.expand_dims(whitening.mean, range(x.ndim - 1))
  return unit((x - mean) @ whitening.projection)


def whitening(
  mean: np.ndarray, variances: np.ndarray, directions: np.ndarray, size: int
) -> Whitening:
  """The whitening by the directions of most variance.

  Args:
    mean: `[C]` of the samples.
    variances: `[C]` along the directions, to any common scale.
    directions: `[C, C]` unit vectors, in columns.
    size: D, number of directions that are kept.

  Returns:
    Float32 arrays.

  Raises:
    ValueError: there are fewer directions than `size`.
  """
  if not 0 < size <= len(variances):
    raise ValueError(
      f'whitening to {size} features; expected 1 to {len(variances)}, as many '
      'as there are directions'
    )
  kept = np.argsort(-variances, kind='stable')[:size]
  projection = directions[:, kept] / np.sqrt(variances[kept] + _VARIANCE)[None]
  return Whitening(np.float32(mean), np.float32(projection))


def fit_whitening(samples: np.ndarray, size: int) -> Whitening:
  """Learns a whitening.

  Args:
    samples: `[N, C]` regions, as `region_pool` gives them; N more than `size`.
    size: D, features that are kept.

  Returns:
    Float32 arrays.

  Raises:
    ValueError: there are too few samples, or fewer than `size` features.

  Source: Jegou & Chum, "Negative evidences and co-occurrences in image
  retrieval", ECCV 2012.
  """
  samples = np.asarray(samples)
  if samples.ndim != 2 or len(samples) <= size:
    raise ValueError(
      f'samples of shape {samples.shape}; expected [N, C] with N more than '
      f'{size}, the features to keep'
    )
  mean = samples.mean(0, dtype=np.float64)
  scatter = np.zeros((samples.shape[1],) * 2)
  for start in range(0, len(samples), _ROWS):
    centred = samples[start : start + _ROWS] - mean[None]
    scatter += centred.T @ centred
  variances, directions = np.linalg.eigh(scatter)
  return whitening(mean, np.maximum(variances, 0), directions, size)


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
