"""How unusually alike the frames of two videos are, for their own films."""

from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare import bits

_SAMPLE = 128  # frames of the other video that a background is taken from
_SHRINK = 8  # frames as many as which the whole pair counts in a background
_MAD = 1.4826  # from the median of what is left to a standard deviation
_SMALLEST = 1e-6
_ROWS, _COLUMNS = 512, 256  # frames of a tile, some 10 MB of products


class Likeness(NamedTuple):
  """How unusually alike the frames of two videos are.

  Attributes:
    values: float32 `[T, S]`, at least 0; some 0.4 where two frames share
      nothing.
    same: what two equal frames would have.
  """

  values: np.ndarray
  same: float


def frame_likeness(
  query: np.ndarray,
  target: np.ndarray,
  films: tuple[np.ndarray, np.ndarray] | None = None,
) -> Likeness:
  """How much more alike than usual every two frames of two videos are.

  Whatever all of a film has in common says nothing of where a part of it is
  found. So regions are taken relative to their film's mean; each region's best
  match in a frame of the other video counts by what it exceeds its median over
  that video, its background; and the unit is the usual deviation from it. No
  number here depends on the network that made the codes. Matches of either
  video's regions count, so that a picture within a picture is found too.

  Args:
    query: codes `[T, R, D]` float, or packed bits uint32 `[T, R, W]`.
    target: codes of the other video, `[S, P, D]` or `[S, P, W]`.
    films: codes of both videos, of what the frames are compared with to know
      what is usual, where `query` and `target` are but moments of them.

  Returns:
    The map. Tiles of it are computed in turn: beside it, memory grows with
    T + S only.
  """
  films = films or (query, target)
  query_mean, target_mean = map(_mean, films)
  some = [
    _vectors(_spread(film), mean)
    for film, mean in zip(films, (query_mean, target_mean), strict=True)
  ]
  usual, left = zip(
    _background(query, query_mean, some[1]),
    _background(target, target_mean, some[0]),
    strict=True,
  )
  unit = max(_MAD * float(np.median(np.concatenate(left))), _SMALLEST)
  likeness = np.empty((len(query), len(target)), np.float32)
  for top in range(0, len(query), _ROWS):
    rows = slice(top, top + _ROWS)
    regions = _vectors(query[rows], query_mean)
    for first in range(0, len(target), _COLUMNS):
      columns = slice(first, first + _COLUMNS)
      others = _vectors(target[columns], target_mean)
      likeness[rows, columns] = _excess(
        *(regions, others, usual[0][:, rows], usual[1][:, columns])
      )
  likeness /= unit
  same = 1 - np.mean([level.mean() for level in usual])
  return Likeness(likeness, float(same) / unit)


def _excess(regions, others, usual, others_usual) -> np.ndarray:
  """By how much best matches exceed the usual, the mean of both directions.

  Args:
    regions: float32 `[R, T, D]`; `others` `[P, S, D]`.
    usual: float32 `[R, T]`, of the best matches of each region in the other
      video; `others_usual` `[P, S]`.

  Returns:
    float32 `[T, S]`.
  """
  total = np.zeros((regions.shape[1], others.shape[1]), np.float32)
  theirs = np.full((regions.shape[1], *others.shape[:2]), -1, np.float32)
  # Few products of many rows: each may wait for a core that others use.
  together = max(1, _ROWS // regions.shape[1])
  for first in range(0, len(regions), together):
    some = slice(first, first + together)
    for products, level in zip(
      _products(regions[some], others), usual[some], strict=True
    ):
      np.maximum(theirs, products, out=theirs)
      best = products.max(1) - level[:, None]
      total += np.maximum(best, 0, out=best) / (2 * len(regions))
  theirs -= others_usual
  np.maximum(theirs, 0, out=theirs)
  return total + theirs.mean(1) / 2


def _products(regions: np.ndarray, others: np.ndarray) -> np.ndarray:
  """float32 `[R, T, P, S]` of `[R, T, D]` and `[P, S, D]`, by one product."""
  rows, columns = (x.reshape(-1, x.shape[-1]) for x in (regions, others))
  return (rows @ columns.T).reshape(*regions.shape[:2], *others.shape[:2])


def _background(codes, mean, others) -> tuple[np.ndarray, np.ndarray]:
  """The usual best match of each region, `[R, T]`; and some deviations."""
  usual, deviations = [], []
  for first in range(0, len(codes), _COLUMNS):
    part = _vectors(codes[first : first + _COLUMNS], mean)
    best = _products(part, others).max(2)
    middle = np.median(best, -1)
    usual.append(middle)
    left = np.abs(best - middle[..., None]).ravel()
    deviations.append(left[:: 1 + len(left) // _SAMPLE**2])
  usual = np.concatenate(usual, 1)
  # The median over few frames is mostly that of the match itself.
  count = others.shape[1]
  usual = (count * usual + _SHRINK * np.median(usual)) / (count + _SHRINK)
  return usual.astype(np.float32), np.concatenate(deviations)


def _spread(codes: np.ndarray) -> np.ndarray:
  """Some frames, evenly."""
  count = min(len(codes), _SAMPLE)
  return codes[np.arange(count) * len(codes) // count]


def _mean(codes: np.ndarray) -> np.ndarray:
  """float32 `[D]`, the mean region of a video."""
  parts = range(0, len(codes), _ROWS)
  sums = [_plain(codes[n : n + _ROWS]).sum((0, 1)) for n in parts]
  return np.sum(sums, 0) / (codes.shape[0] * codes.shape[1])


def _vectors(codes: np.ndarray, mean: np.ndarray) -> np.ndarray:
  """float32 `[R, T, D]`, relative to the mean and of length 1."""
  return _unit(_plain(codes) - mean).transpose(1, 0, 2)


def _plain(codes: np.ndarray) -> np.ndarray:
  """Regions of length 1, whatever their code is."""
  if codes.dtype == np.uint32:
    return _signs(codes)
  return _unit(np.asarray(codes, np.float32))


def _signs(words: np.ndarray) -> np.ndarray:
  size = bits.WORD * words.shape[-1]
  octets = np.ascontiguousarray(words, '<u4').view(np.uint8)
  signs = np.unpackbits(octets, axis=-1, bitorder='little')
  return (signs.astype(np.float32) * 2 - 1) / np.float32(size**0.5)


def _unit(x: np.ndarray) -> np.ndarray:
  length = np.sqrt(np.einsum('...d,...d->...', x, x))
  return x / np.maximum(length, _SMALLEST)[..., None]
