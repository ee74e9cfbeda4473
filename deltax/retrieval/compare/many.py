"""One query against many videos: fast, and compiled once per length."""

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from deltax.layers import forms
from deltax.retrieval.compare import bits
from deltax.retrieval.compare.products import (
  check_form,
  compare_frames,
  over_frames,
  prepare,
)
from deltax.retrieval.networks.comparator import STRIDE
from deltax.retrieval.networks.fine import Comparison, VideoSimilarity
from deltax.types import Array

# Products of regions made at a time: what a CPU's second cache holds. And in a
# block, which is one call.
_LARGEST = {'cpu': 2**18}
_LARGEST_ELSEWHERE = 2**26
_BLOCK = {'cpu': 5 * 2**18}
# Left alone, XLA counts bits in halves of the widest registers.
_OPTIONS = {'cpu': {'xla_cpu_prefer_vector_width': 512}}
_IN_FLIGHT = 2  # blocks that an accelerator may be ahead of the host


def bucket_length(frames: int) -> int:
  """The length that a video is padded to: one of few, a fifth apart.

  Args:
    frames: of the video, at least 1.

  Returns:
    A multiple of 4, at least `frames`; 36 of them serve videos up to two hours.

  Raises:
    ValueError: if there are no frames.

  Example:
    >>> [bucket_length(n) for n in (1, 4, 5, 25, 60, 61, 3600)]
    [4, 4, 8, 32, 60, 72, 3688]
  """
  if frames < 1:
    raise ValueError(f'a video has at least 1 frame, got {frames}')
  length = STRIDE
  while length < frames:
    length = STRIDE * -(-length * 6 // (5 * STRIDE))
  return length


def frame_similarity(
  query: Array,
  targets: Array,
  *,
  symmetric: bool = False,
  products: str | None = None,
) -> Array:
  """Chamfer similarity of a query's frames with those of some targets.

  `deltax.retrieval.frame_similarity`, in less time and bounded memory.

  Args:
    query: float32 `[T, R, D]`.
    targets: float32 `[N, S, P, D]`. Zero frames give zeros.
    symmetric: whether the mean of both directions is taken.
    products: how vectors are multiplied, one of `products.FORMS`; None: the
      fastest on this machine that agrees with float32 to 1e-5.

  Returns:
    float32 `[N, T, S]`.
  """
  form = check_form(products, targets.shape[-1])
  prepared = prepare(query, form)
  return _compare_all(prepared, targets, form, symmetric)


def make_compare(
  net: VideoSimilarity, variables: Any, *, products: str | None = None
) -> Callable[[Array, Array, Array, Array], Comparison]:
  """Makes a function that compares one query with many videos.

  Each pair of lengths (T, S) is compiled once, whatever N (for few targets,
  once for every power of two). Lengths of `bucket_length` are few.

  Args:
    net: the network.
    variables: its variables.
    products: as of `frame_similarity`; 'binary' networks have none.

  Returns:
    `compare(query, query_mask, targets, target_masks)`:

    * query: codes float32 `[T, R, D]`; of 'binary' networks packed, uint32
      `[T, R, D / 32]`. T and S are multiples of 4.
    * query_mask: float32 `[T]`, exactly 1 for real frames and 0 for the padding
      after them.
    * targets, target_masks: `[N, S, P, D]` and `[N, S]`, the same.

    It gives a `Comparison` of numpy arrays, N first. Scores depend on the real
    frames alone, not on how many pad nor on the other targets; what padding
    means is told by `Comparator`.

  Raises:
    ValueError: if there are no such products; the function, if arrays do not
      fit.
  """
  check_form(products, 1)
  binary = net.index == 'binary'
  options = _OPTIONS.get(jax.default_backend()) if binary else None

  @jax.jit
  def prepare_query(query):
    form = check_form(products, query.shape[-1])
    return prepare(query, form)

  # Two programs: in one, XLA would compute the similarities again wherever the
  # network reads them.
  @functools.partial(jax.jit, compiler_options=options)
  def match(prepared, targets):
    if binary:
      return bits.frame_similarity(
        prepared, targets, symmetric=net.symmetric, largest=_largest()
      )
    form = check_form(products, targets.shape[-1])
    return _compare_all(prepared, targets, form, net.symmetric)

  @jax.jit
  def follow(variables, frames, query_mask, masks):
    query_masks = query_mask[None].repeat(len(frames), 0)
    return net.apply(
      variables, frames, query_masks, masks, method='compare_frames'
    )

  def compare(query, query_mask, targets, target_masks):
    _check(binary, query, query_mask, targets, target_masks)
    size = _block_size(len(targets), query, targets)
    # An accelerator has the next blocks to do while the host takes the last one
    # back, and never so many that they fill its memory. On a CPU, blocks at the
    # same time would only fight for its caches.
    in_flight = 0 if jax.default_backend() == 'cpu' else _IN_FLIGHT
    ahead, done = deque(), []
    prepared = query if binary else prepare_query(query)
    for start in range(0, len(targets), size):
      block = slice(start, start + size)
      # The last block is filled up: another size would be compiled again.
      part, masks = (_filled(x[block], size) for x in (targets, target_masks))
      frames = match(prepared, part)
      ahead.append(follow(variables, frames, query_mask, masks))
      if len(ahead) > in_flight:
        done.append(jax.device_get(ahead.popleft()))
    done.extend(jax.device_get(list(ahead)))
    whole = [np.concatenate(x)[: len(targets)] for x in zip(*done, strict=True)]
    return Comparison(*whole)

  return compare


def _compare_all(prepared, targets, form, symmetric) -> Array:
  """`frame_similarity` with a query that `prepare` has gone over."""
  regions, rows = jax.tree.leaves(prepared)[0].shape[1:]
  videos, frames, others, size = targets.shape
  # A frame of a target depends on no other, so all targets' frames are one long
  # column, cut where its products fill the memory that they may have.
  alike = over_frames(
    lambda part: compare_frames(prepared, part, form, symmetric=symmetric),
    targets.reshape(-1, others, size),
    max(1, _largest() // (rows * regions * others)),
  )
  return alike.reshape(videos, frames, rows).transpose(0, 2, 1)


def _largest() -> int:
  return _LARGEST.get(forms.target(), _LARGEST_ELSEWHERE)


def _block_size(videos: int, query: Array, targets: Array) -> int:
  """Targets at a time: a power of two, so that few sizes are compiled."""
  (rows, regions), (columns, others) = query.shape[:2], targets.shape[1:3]
  block = _BLOCK.get(jax.default_backend(), _LARGEST_ELSEWHERE)
  fitting = max(1, block // (rows * regions * columns * others))
  wanted = 1 << max(videos - 1, 0).bit_length()
  return min(1 << fitting.bit_length() - 1, wanted)


def _filled(x: Array, length: int) -> Array:
  """`x` with zeros after it, to that length."""
  missing = length - len(x)
  return np.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1))) if missing else x


def _check(binary, query, query_mask, targets, target_masks) -> None:
  shapes = [x.shape for x in (query, query_mask, targets, target_masks)]
  (rows, *rest), mask, (videos, columns, *others), masks = shapes
  fitting = mask == (rows,) and masks == (videos, columns)
  if not fitting or len(rest) != 2 or rest[-1:] != others[-1:]:
    raise ValueError(
      'query, mask, targets and masks of shapes '
      f'{", ".join(map(str, shapes))}: expected [T, R, D], [T], [N, S, P, D] '
      'and [N, S]'
    )
  if videos == 0 or rows % STRIDE or columns % STRIDE:
    raise ValueError(
      f'query of {rows} frames, {videos} targets of {columns}: expected at '
      f'least one target, and lengths that are multiples of {STRIDE}'
    )
  wanted = np.uint32 if binary else np.float32
  if query.dtype != wanted or targets.dtype != wanted:
    raise ValueError(
      f'codes of type {query.dtype} and {targets.dtype}; this network '
      f'compares {np.dtype(wanted)}'
    )
