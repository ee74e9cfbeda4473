"""Compares a query with videos of an index, frame by frame, within a budget."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.many import bucket_length, make_compare
from deltax.retrieval.compare.tiles import compare_long
from deltax.retrieval.networks.comparator import STRIDE
from deltax.retrieval.system import Network

BLOCK = 8  # videos compared at once; empty ones fill a block
CELLS = 2**21  # pairs of frames of a block; one takes some 200 bytes
CHUNK = 2 * BLOCK  # videos between two looks at the clock
ALONE = 1024  # frames of a longer video are compared with themselves


class ComparedPair(NamedTuple):
  """A query and a video, compared frame by frame.

  Attributes:
    score: how much of the query is in the target, -1 to 1, as the fine student
      says it.
    back: how much of the target is in the query; of a symmetric network the
      same.
  """

  score: float
  back: float


class FineSearch:
  """Compares videos by the fine student, compiled for each of few lengths.

  Args:
    fine: the network.
  """

  def __init__(self, fine: Network):
    self._fine = fine
    self._stride = STRIDE if fine.net.comparator else 1
    self._compare = make_compare(*fine)
    self._compiled = set()

  def with_itself(self, codes: np.ndarray) -> ComparedPair:
    """A video, `[T, R, D]` or `[T, R, W]`, against itself.

    A frame is most like itself, so a video of many hours is compared part by
    part: time and memory grow with its length, and not with the square of it.
    """
    parts = [codes[n : n + ALONE] for n in range(0, len(codes), ALONE)]
    pairs = [self._alone(part) for part in parts]
    lengths = [len(part) for part in parts]
    return ComparedPair(*np.average(pairs, 0, lengths).tolist())

  def _alone(self, codes: np.ndarray) -> ComparedPair:
    return self.compare(codes, {0: len(codes)}, lambda _: codes)[0]

  def compare(
    self,
    query: np.ndarray,
    lengths: Mapping[int, int],
    codes: Callable[[int], np.ndarray],
    milliseconds: float | None = None,
  ) -> dict[int, ComparedPair]:
    """The pairs of a query with some videos.

    Args:
      query: codes, `[T, R, D]` or `[T, R, W]`.
      lengths: frames of each video, by row, the most important first.
      codes: gives a video's codes by its row.
      milliseconds: no more are begun that would not be done by then, as far as
        the last ones tell; compiling does not count.

    Returns:
      Pairs by row: all, or those there was time for.
    """
    if milliseconds is None:
      return dict(self._compared(query, lengths, codes))
    pairs, left, last, rows = {}, milliseconds / 1000, 0.0, iter(lengths)
    # The last chunk's time stands for the next one's, which must still fit.
    while left > last and (chunk := list(itertools.islice(rows, CHUNK))):
      chosen = {row: lengths[row] for row in chunk}
      self._warm(query, chosen)
      start = time.perf_counter()
      pairs.update(self._compared(query, chosen, codes))
      last = time.perf_counter() - start
      left -= last
    return pairs

  def _compared(
    self, query, lengths, codes
  ) -> Iterator[tuple[int, ComparedPair]]:
    for bucket, rows in _blocks(len(query), lengths):
      targets = [codes(row) for row in rows]
      if _size(len(query), bucket):
        pairs = self._block(query, targets, bucket)
      else:
        pairs = [self._long(query, target) for target in targets]
      yield from zip(rows, pairs, strict=True)

  def _block(self, query, targets, bucket) -> list[ComparedPair]:
    # Always a full block, so that one program serves the last videos too.
    blanks = [query[:0]] * (_size(len(query), bucket) - len(targets))
    queries, masks = _padded([query], bucket_length(len(query)))
    comparison = self._compare(
      queries[0], masks[0], *_padded([*targets, *blanks], bucket)
    )
    pairs = []
    for n, target in enumerate(targets):
      rows, columns = (-(-len(x) // self._stride) for x in (query, target))
      part = np.clip(comparison.raw[n, :rows, :columns], -1, 1)
      score = float(comparison.score[n])
      back = score if self._fine.net.symmetric else float(part.max(0).mean())
      pairs.append(ComparedPair(score, back))
    return pairs

  def _long(self, query, target) -> ComparedPair:
    long = compare_long(*self._fine, query, target)
    return ComparedPair(long.score, long.back)

  def _warm(self, query, lengths) -> None:
    """Compiles what a chunk needs."""
    for bucket, _ in _blocks(len(query), lengths):
      shape = bucket_length(len(query)), bucket
      if shape not in self._compiled and _size(len(query), bucket):
        self._block(query, [], bucket)
        self._compiled.add(shape)


def _padded(videos, length) -> tuple[np.ndarray, np.ndarray]:
  codes = np.zeros((len(videos), length, *videos[0].shape[1:]), videos[0].dtype)
  masks = np.zeros((len(videos), length), np.float32)
  for n, video in enumerate(videos):
    codes[n, : len(video)] = video
    masks[n, : len(video)] = 1
  return codes, masks


def _size(query: int, bucket: int) -> int:
  """Videos in a block; 0 where a single one is too much."""
  fitting = CELLS // (bucket_length(query) * bucket)
  return min(BLOCK, 1 << fitting.bit_length() - 1) if fitting else 0


def _blocks(
  query: int, lengths: Mapping[int, int]
) -> Iterator[tuple[int, Sequence[int]]]:
  """Rows that are compared at once, and the length that they are padded to."""
  buckets: dict[int, list[int]] = {}
  for row, length in lengths.items():
    buckets.setdefault(bucket_length(length), []).append(row)
  for bucket, rows in buckets.items():
    size = max(1, _size(query, bucket))
    for start in range(0, len(rows), size):
      yield bucket, rows[start : start + size]
