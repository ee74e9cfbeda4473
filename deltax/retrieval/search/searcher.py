"""From a query's regions to ranked videos, and where in them it is found."""

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from deltax.retrieval.compare.locate import Frames
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.coarse_search import open_coarse
from deltax.retrieval.search.fine_search import ComparedPair, FineSearch
from deltax.retrieval.search.readable import Scale
from deltax.retrieval.search.rerank import by_budget
from deltax.retrieval.search.results import Match, SearchResult, find_where
from deltax.retrieval.system import (
  Codes,
  System,
  encode,
  needs,
  vectors_of,
)

WITHIN = 10  # times the budget of pairs are looked up
TIMED = 1000  # so many where the budget is a time
ASKED = 1.5  # times the budget of pairs, among which the selector chooses
# Of the budget, for the best coarse scores, whoever is in need: a selector says
# where a coarse score is wrong, of a copy or not, and most pairs are no copies.
KEPT = 0.8
LIKELY = 0.5  # score from which a copy is, so that other views are looked at
BACKGROUND = 20  # videos of the background that are compared, the nearest


class Budget(NamedTuple):
  """What the fine student may cost in a search.

  Attributes:
    pairs: videos that are compared with the query frame by frame.
    milliseconds: if given, the time for that, in place of `pairs`.
  """

  pairs: int = 100
  milliseconds: float | None = None


BUDGET = Budget()


class Searcher:
  """An index, opened to search with the model that it was built with.

  Args:
    index: of videos.
    system: the model.

  Raises:
    ValueError: the index was built with another model.
  """

  def __init__(self, index: Index, system: System):
    check_model(index, system)
    self._index, self._system = index, system
    self._fine = FineSearch(system.fine)
    self._background = index.background
    self._searched = np.delete(np.arange(len(index)), self._background)
    self._coarse = open_coarse(index, self._searched)

  def search(
    self,
    regions: np.ndarray,
    *,
    views: Sequence[np.ndarray] = (),
    times: np.ndarray | None = None,
    duration: float | None = None,
    k: int = 20,
    least: float = -np.inf,
    budget: Budget = BUDGET,
    symmetric: bool = False,
    normalise: bool = False,
    locate: bool = True,
    look: bool = True,
  ) -> SearchResult:
    """The videos that a query is most likely in.

    The coarse student orders all of them, the selector says which of the best
    need the fine one, and it compares those within its budget. Four fifths of
    the budget go to the best coarse scores, whatever the selector says of them.
    All have a score on one scale, the system's calibration: of those compared
    it is the fine student's, of the others the coarse one's.

    Args:
      regions: float32 `[T, R, D]`, of the query.
      views: the same of other views of it, such as its middle enlarged: of each
        pair, the view that is most alike counts. Within a budget of time only
        the query itself is compared frame by frame.
      times: float64 `[T]`, seconds of its frames; one a second when absent.
      duration: of the query, seconds; until its last frame when absent.
      k: how many videos to give at most.
      least: score that a video must have to be given.
      budget: of the fine student.
      symmetric: whether a video must also have nothing else in it to have a
        score of 1; else it is enough that all of the query is in it.
      normalise: whether the scores of the background are subtracted.
      locate: whether to find where in a video the query is; takes long where
        many are given.
      look: whether to look if the files of the matches are still what they
        were; nothing outside of the index is read otherwise.

    Returns:
      The matches, best first, and how many videos and pairs were looked at.

    Raises:
      ValueError: regions of another shape; k or the budget is not positive;
        there is no background to normalise with.
    """
    if k < 1 or budget.pairs < 0 or (budget.milliseconds or 0) < 0:
      raise ValueError(
        f'k={k} and {budget}: expected k >= 1, no budget below 0'
      )
    if normalise and not len(self._background):
      raise ValueError(
        f'{self._index.folder} has no background videos to normalise with'
      )
    timed = budget.milliseconds is not None
    within = max(k, TIMED if timed else WITHIN * budget.pairs)
    first, second = _split(budget)
    clock: dict[str, float] = {}
    codes, *others = (encode(self._system, x) for x in (regions, *views))
    more = [vectors_of(other) for other in others]
    codes = codes._replace(clips=np.concatenate([codes.clips, *more]))
    compared = [codes.fine, *([] if timed else [x.fine for x in others])]
    with _timed(clock, 'coarse'):
      rows, coarse = self._nearest(codes, within)
    with _timed(clock, 'selector'):
      asked = len(rows) if timed else math.ceil(ASKED * budget.pairs)
      order = rows[self._by_need(codes, rows[:asked], coarse[:asked])]
    with _timed(clock, 'fine'):
      scale = self._scale(codes, compared, symmetric, normalise)
      pairs = self._compare(compared, order, first)
      best = [row for row in rows.tolist() if row not in pairs]
      pairs |= self._compare(compared, best, second)
      marks = self._scores(scale, rows, coarse, pairs)
    if times is None:
      times = np.arange(len(regions), dtype=float)
    end = times[-1] if duration is None else duration
    query = Frames(codes.fine, times, float(times[0]), float(end))
    sought = (query, [x.fine for x in others]) if locate else None
    with _timed(clock, 'where'):
      matches = tuple(
        self._match(
          rows[i], marks[i], coarse[i], sought, rows[i] in pairs, look
        )
        for i in np.argsort(-marks, kind='stable')[:k]
        if marks[i] >= least
      )
    return SearchResult(
      matches,
      len(self._searched),
      len(pairs),
      clock,
      best=float(marks.max()) if len(marks) else None,
      false_alarms=None if normalise else self._system.calibration.false_alarms,
    )

  def _nearest(self, codes: Codes, within) -> tuple[np.ndarray, np.ndarray]:
    """Rows and coarse scores of the nearest videos, best first."""
    ids, _ = self._coarse.query(vectors_of(codes), within)
    rows = self._index.rows_of(np.unique(ids[ids >= 0]))
    coarse = self._dot(codes, rows)
    order = np.argsort(-coarse, kind='stable')[:within]
    return rows[order], coarse[order]

  def _dot(self, codes: Codes, rows) -> np.ndarray:
    """The highest dot product of a vector of the query and one of a video."""
    if not len(rows):
      return np.zeros(0)
    counts, vectors = self._index.vectors(rows)
    scores = (vectors @ vectors_of(codes).T).max(1)
    return np.maximum.reduceat(scores, np.cumsum(counts) - counts)

  def _by_need(self, codes: Codes, rows, coarse) -> np.ndarray:
    """Places in the order in which they are worth the fine student."""
    need = None
    if self._system.selector and len(rows):
      targets = self._index.numbers(rows)['selector']
      need = needs(self._system.selector, codes.selector, targets, coarse)
    return by_budget(coarse, need, len(rows), pairs=len(rows))

  def _compare(self, asked, rows, budget: Budget) -> dict[int, ComparedPair]:
    """Pairs by row, each of the view of the query that scores highest."""
    if budget.milliseconds is None:
      rows = rows[: budget.pairs]
    frames = self._index.numbers(rows)['frames'].tolist()
    lengths = dict(zip(map(int, rows), frames, strict=True))
    pairs: dict[int, ComparedPair] = {}
    for codes in asked:
      compared = self._fine.compare(
        codes, lengths, self._index.fine, budget.milliseconds
      )
      for row, pair in compared.items():
        if row not in pairs or pair.score > pairs[row].score:
          pairs[row] = pair
    return pairs

  def _scale(
    self, codes: Codes, compared, symmetric: bool, normalise: bool
  ) -> Scale:
    itself = self._fine.with_itself(codes.fine)
    scale = Scale(self._system.calibration, itself, symmetric)
    if not normalise:
      return scale
    coarse = self._dot(codes, self._background)
    nearest = self._background[np.argsort(-coarse)[:BACKGROUND]]
    pairs = self._compare(compared, nearest, Budget(BACKGROUND))
    itself = self._index.numbers(nearest)['own']
    fine = scale.fine([pairs[row] for row in nearest], itself)
    return scale._replace(background=(scale.coarse(coarse), fine))

  def _scores(self, scale, rows, coarse, pairs) -> np.ndarray:
    """Readable coarse scores, and fine ones where there are some."""
    marks = scale.coarse(coarse)
    places = [i for i, row in enumerate(rows) if row in pairs]
    if places:
      itself = self._index.numbers(rows[places])['own']
      marks[places] = scale.fine([pairs[row] for row in rows[places]], itself)
    return marks

  def _match(self, row, score, coarse, sought, reranked, look) -> Match:
    index, row = self._index, int(row)
    duration = float(index.numbers([row])['duration'][0])
    where = ()
    if reranked and sought:
      times = index.times(row)
      target = Frames(index.fine(row), times, float(times[0]), duration)
      query, views = sought
      where = find_where(query, target, views if score >= LIKELY else ())
    return Match(
      name=index.names[row],
      path=index.paths[row],
      score=float(score),
      coarse=float(coarse),
      reranked=reranked,
      duration=duration,
      where=where,
      row=row,
      state=index.state_at(row) if look else '',
    )


def search(
  index: Index, system: System, regions: np.ndarray, **options: Any
) -> SearchResult:
  """Searches once. For several queries, a `Searcher` opens the index once."""
  return Searcher(index, system).search(regions, **options)


def check_model(index: Index, system: System) -> None:
  """Raises ValueError if the index was built with another model."""
  if index.fingerprint != system.fingerprint:
    raise ValueError(
      f'{index.folder} was built with the model {index.fingerprint}, and this '
      f'is {system.fingerprint}: their codes cannot be compared'
    )


def _split(budget: Budget) -> tuple[Budget, Budget]:
  """What is spent by need, and what is kept for results."""
  kept = int(KEPT * budget.pairs)
  if budget.milliseconds is None:
    return Budget(budget.pairs - kept), Budget(kept)
  late = KEPT * budget.milliseconds
  return Budget(0, budget.milliseconds - late), Budget(0, late)


@contextlib.contextmanager
def _timed(clock: dict[str, float], name: str):
  start = time.perf_counter()
  yield
  clock[name] = 1000 * (time.perf_counter() - start)
