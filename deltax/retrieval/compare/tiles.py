"""Videos of any length, compared tile by tile: the score of the whole."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from deltax.retrieval.compare import bits
from deltax.retrieval.compare.many import bucket_length, frame_similarity
from deltax.retrieval.networks.comparator import STRIDE
from deltax.retrieval.networks.fine import Comparison, VideoSimilarity
from deltax.types import Array

HALO = 8  # frames around a tile that its outputs see, a multiple of STRIDE
_LARGEST = 2**22  # pairs of regions held at a time


class LongComparison(NamedTuple):
  """What comparing two long videos gives.

  Attributes:
    score: how much of the query is found in the target, in [-1, 1].
    back: how much of the target is found in the query; of a symmetric network
      the same.
    map: float32 `[t, s]` in [-1, 1], similarity of parts, one for 4 frames (for
      1 without a comparator); None if it was not asked for.
  """

  score: float
  back: float
  map: np.ndarray | None


def compare_long(
  net: VideoSimilarity,
  variables: Any,
  query: Array,
  target: Array,
  *,
  tile: int = 256,
  products: str | None = None,
  with_map: bool = False,
) -> LongComparison:
  """Compares two videos of any length in bounded memory.

  The matrix of similarities is never whole: it is made and compared in square
  tiles, each with the 8 frames around it that its outputs depend on, and only
  the best of each row and column is kept, which is all that a score needs. The
  result is that of comparing the whole videos with masks (see `Comparator`), to
  float rounding.

  Args:
    net: the network.
    variables: its variables.
    query: `[T, R, D]` codes of real frames; uint32 `[T, R, W]` of 'binary'.
    target: `[S, P, D]`, the same.
    tile: frames of a tile's side, a multiple of 4. Memory grows with its
      square: some 100 MB at 256.
    products: as of `frame_similarity`.
    with_map: whether the map is kept, 4 bytes for 16 pairs of frames.

  Returns:
    The scores.

  Raises:
    ValueError: if a video has no frames or `tile` is no multiple of 4.
  """
  if tile < STRIDE or tile % STRIDE:
    raise ValueError(f'tiles of {tile} frames: expected a multiple of {STRIDE}')
  stride = STRIDE if net.comparator else 1
  lengths = [-(-len(video) // stride) for video in (query, target)]
  # The best of each row, and of each column. The last tiles reach beyond the
  # videos' ends, where it stays minus infinity: nothing there counts.
  best = [np.full(n + tile // stride, -np.inf) for n in lengths]
  whole = np.full([len(x) for x in best] if with_map else 0, -np.inf, 'f4')
  for top, rows, window in _windows(query, tile):
    for left, columns, other in _windows(target, tile):
      comparison = _compare(net, products, variables, *window, *other)
      # Outputs of the halo saw the window's end where there are more frames:
      # only those of the tile itself are those of the whole matrix.
      inner = tuple(
        slice((first - start) // stride, (last - start) // stride)
        for start, (first, last) in ((top, rows), (left, columns))
      )
      part = np.clip(np.asarray(comparison.raw)[0][inner], -1, 1)
      part = np.where(np.asarray(comparison.mask)[0][inner] > 0, part, -np.inf)
      place = tuple(
        slice(first // stride, first // stride + size)
        for (first, _), size in zip((rows, columns), part.shape, strict=True)
      )
      # A row's best is the best of its bests in the tiles that it crosses; so
      # both directions come out of one pass.
      for axis in (0, 1):
        strip = best[axis][place[axis]]
        np.maximum(strip, part.max(1 - axis), out=strip)
      if with_map:
        whole[place] = part
  scores = [_mean(x[x > -np.inf]) for x in best]
  if net.symmetric:  # as `symmetric_chamfer`: both directions in one score
    scores = [_mean(np.array(scores))] * 2
  if not with_map:
    return LongComparison(*scores, None)
  whole = whole[: lengths[0], : lengths[1]]
  return LongComparison(*scores, np.where(whole > -np.inf, whole, 0))


def _mean(x: np.ndarray) -> float:
  return float(x.mean()) if len(x) else 0.0


def _windows(
  codes: Array, tile: int
) -> Iterator[tuple[int, tuple[int, int], tuple[np.ndarray, np.ndarray]]]:
  """The stretches of one video that tiles are made of, with their halo.

  Yields:
    Where the window starts; first frame of the tile and the one after its last;
    codes `[W, ...]` and mask `[W]` of the window, zero after the video's end. W
    is one number for all, so that one program compares all tiles. No window
    begins before the video does: there the comparator must see its own border,
    as in the whole matrix.
  """
  frames = len(codes)
  length = bucket_length(frames)
  if length <= tile + 2 * HALO:  # all of the video is one window
    tile = length
  else:
    length = tile + 2 * HALO
  for first in range(0, frames, tile):
    start = max(0, first - HALO)
    part = np.asarray(codes[start : start + length])
    missing = length - len(part)
    mask = np.pad(np.ones(len(part), np.float32), (0, missing))
    part = np.pad(part, ((0, missing), (0, 0), (0, 0)))
    yield start, (first, first + tile), (part, mask)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compare(
  net, products, variables, query, query_mask, target, target_mask
) -> Comparison:
  if net.index == 'binary':
    frames = bits.frame_similarity(
      query, target[None], symmetric=net.symmetric, largest=_LARGEST
    )
  else:
    frames = frame_similarity(
      query, target[None], symmetric=net.symmetric, products=products
    )
  masks = query_mask[None], target_mask[None]
  return net.apply(variables, frames, *masks, method='compare_frames')
