"""All copies within an index: coarse vectors propose, the fine student says."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import tqdm

from deltax.retrieval.compare.locate import Frames
from deltax.retrieval.duplicates.candidates import nearest_pairs
from deltax.retrieval.duplicates.groups import group
from deltax.retrieval.duplicates.rarity import Overlap, second_weights, shares
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search import scores
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.search.results import Where, find_where
from deltax.retrieval.search.searcher import check_model
from deltax.retrieval.system import System

SAME, CONTAINED, PART = 'same', 'contained', 'part'
WHOLE = 0.7  # share of a video that counts as all of it
SMALL = 0.1  # share of both below which what they have in common is common
NEAREST = 20  # videos whose coarse vectors are the nearest, of each video
EACH = (
  10  # pairs that are compared for each video, unless another budget is set
)


class Pair(NamedTuple):
  """Two videos of an index that have something in common.

  Attributes:
    first: row of the index.
    second: row of the index; where one is contained in the other, that one is
      the first.
    relation: `SAME`: each has nearly all of the other; `CONTAINED`: the second
      has nearly all of the first; `PART`: each has more than the other has.
    score: 0 to 1, that one is a copy of the other, or of a part of it.
    shares: how much of the first is in the second, and the reverse, 0 to 1;
      what many videos share counts little.
    where: parts that belong together, of the first (`query`) and the second.
  """

  first: int
  second: int
  relation: str
  score: float
  shares: tuple[float, float]
  where: tuple[Where, ...]


class Duplicates(NamedTuple):
  """The copies within an index.

  Attributes:
    groups: rows of videos that are the same, each group of two or more.
    pairs: each pair once, the best scores first.
    videos: how many there are.
    compared: pairs that the fine student compared.
    common: pairs that only share what many videos share, and are left out.
    different: pairs left out because somebody has said that they are none.
  """

  groups: tuple[tuple[int, ...], ...]
  pairs: tuple[Pair, ...]
  videos: int
  compared: int
  common: int
  different: int


def find_duplicates(
  index: Index,
  system: System,
  *,
  budget: int | None = None,
  least: float = 0.5,
  different: Collection[frozenset[str]] = (),
  progress: bool = False,
) -> Duplicates:
  """Finds all videos of an index that are copies of each other, or of parts.

  The coarse vectors of all videos are compared with each other; the most
  similar pairs are compared by the fine student, in both directions.

  Args:
    index: of videos; its background takes no part.
    system: the model that it was built with.
    budget: pairs that the fine student compares; None: ten for each video.
    least: score that a pair must have.
    different: contents of two files that are no copies, whatever they look
      like; see `marks.read_marks`.
    progress: whether to draw a bar.

  Returns:
    Groups and pairs.

  Raises:
    ValueError: the index was built with another model, or the budget is
      negative.
  """
  check_model(index, system)
  rows = np.flatnonzero(~index.table['background'])
  budget = EACH * len(rows) if budget is None else budget
  if budget < 0:
    raise ValueError(f'budget={budget}: expected 0 pairs or more')
  proposed = _candidates(index, rows, budget)
  kept = [pair for pair in proposed if _contents(index, pair) not in different]
  bar = tqdm.tqdm(total=len(kept), unit='pair', disable=not progress)
  found = []
  with bar:
    for pair in _compared(index, system, kept, bar):
      if pair.score >= least:
        videos = _frames(index, pair.first), _frames(index, pair.second)
        found.append(pair._replace(where=find_where(*videos)))
  pairs = _related(index, found)
  told = sorted(
    (pair for pair in pairs if pair.relation), key=lambda pair: -pair.score
  )
  same = [(p.first, p.second) for p in told if p.relation == SAME]
  return Duplicates(
    groups=tuple(map(tuple, group(same))),
    pairs=tuple(told),
    videos=len(rows),
    compared=len(kept),
    common=len(pairs) - len(told),
    different=len(proposed) - len(kept),
  )


def _candidates(index: Index, rows, budget: int) -> list[tuple[int, int]]:
  """Pairs of rows, the most similar first."""
  if not len(rows):
    return []
  counts, vectors = index.vectors(rows)
  owners = np.repeat(np.arange(len(rows)), counts)
  pairs = nearest_pairs(vectors, owners, each=NEAREST, most=budget)
  return [(int(rows[a]), int(rows[b])) for a, b in pairs]


def _contents(index: Index, pair: tuple[int, int]) -> frozenset[str]:
  """What the files of two videos are; nothing where that is not known."""
  known = [index.files[row] for row in pair]
  return (
    frozenset(file.content for file in known) if all(known) else frozenset()
  )


def _compared(index: Index, system: System, pairs, bar) -> Iterator[Pair]:
  """The pairs as the fine student sees them; relations are not known yet."""
  fine, others = FineSearch(system.fine), {}
  for first, second in pairs:
    others.setdefault(first, []).append(second)
  for row, targets in others.items():
    codes, own = index.fine(row), index.table['own']
    lengths = {n: int(index.table['frames'][n]) for n in targets}
    compared = fine.compare(codes, lengths, index.fine)
    for other, pair in compared.items():
      forward, back = (
        float(system.calibration.readable(system.calibration.fine_odds(mark)))
        for mark in (
          scores.calibrate(pair.score, own[row]),
          scores.calibrate(pair.back, own[other]),
        )
      )
      yield Pair(row, other, '', max(forward, back), (forward, back), ())
    bar.update(len(targets))


def _frames(index: Index, row: int) -> Frames:
  times = index.times(row)
  end = float(index.table['duration'][row])
  return Frames(index.fine(row), times, float(times[0]), end)


def _related(index: Index, pairs: list[Pair]) -> list[Pair]:
  """The pairs with what they are to each other; '' where it is too common."""
  overlaps = [_overlap(pair) for pair in pairs]
  weights = second_weights(index.table['duration'], overlaps)
  related = []
  for pair, overlap in zip(pairs, overlaps, strict=True):
    a, b = shares(overlap, weights) if pair.where else pair.shares
    if b > a:
      turned = tuple(
        where._replace(query=where.target, target=where.query)
        for where in pair.where
      )
      pair = pair._replace(first=pair.second, second=pair.first, where=turned)
      a, b = b, a
    related.append(pair._replace(shares=(a, b), relation=_relation(a, b)))
  return related


def _relation(more: float, less: float) -> str:
  if less >= WHOLE:
    return SAME
  if more >= WHOLE:
    return CONTAINED
  return PART if more >= SMALL else ''


def _overlap(pair: Pair) -> Overlap:
  return Overlap(
    (pair.first, pair.second),
    (
      [where.query for where in pair.where],
      [where.target for where in pair.where],
    ),
  )
