"""Similarities of queries and targets, read as one list for each query."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deltax.types import Array

Similarities = Mapping[str, Mapping[str, float] | Array]


class Found(NamedTuple):
  """What is ranked for one query.

  Attributes:
    query: its name.
    places: of the targets, by name.
    scores: `[N]`, NaN for what is not ranked; its own array, to be changed.
  """

  query: str
  places: Mapping[str, int]
  scores: np.ndarray

  def at(self, names: Collection[str]) -> list[int]:
    """Places of those names that have one."""
    return [self.places[name] for name in names if name in self.places]

  def drop(self, names: Collection[str]) -> 'Found':
    """Ranks these no more."""
    self.scores[self.at(names)] = np.nan
    return self

  def only(self, names: Collection[str]) -> 'Found':
    """A copy that ranks no other than these."""
    scores = np.full_like(self.scores, np.nan)
    at = self.at(names)
    scores[at] = self.scores[at]
    return self._replace(scores=scores)


class Lists:
  """Lists of what is available, query by query."""

  def __init__(
    self,
    similarities: Similarities,
    targets: Sequence[str] | None = None,
    available: Collection[str] | None = None,
  ):
    """See `deltax.metrics.protocols.evaluate`."""
    self._similarities = similarities
    self._available = None if available is None else frozenset(available)
    self._targets = targets
    self._places = {name: k for k, name in enumerate(targets or ())}
    if targets is not None and len(self._places) != len(targets):
      raise ValueError(
        f'{len(targets)} targets have {len(self._places)} different names'
      )

  def available(self, names: Collection[str]) -> frozenset[str]:
    """Those of the names that could be searched."""
    names = frozenset(names)
    return names if self._available is None else names & self._available

  def of(
    self, queries: Collection[str], database: Collection[str] | None
  ) -> Iterator[Found]:
    """Each query that has similarities; of the database, None for any target.

    Raises:
      ValueError: an array does not fit the targets.
    """
    allowed = None if database is None else self.available(database)
    shared = None
    for query, row in self._rows(queries):
      if isinstance(row, Mapping):
        places = {name: k for k, name in enumerate(row)}
        scores = np.fromiter(row.values(), np.float64, len(row))
        ranked = self._ranked(row, allowed)
      else:
        if shared is None:
          shared = self._ranked(self._places, allowed)
        places, scores, ranked = self._places, row, shared
      nan = scores.dtype.type(np.nan)
      yield Found(query, places, np.where(ranked, scores, nan))

  def unscored(
    self, queries: Collection[str], database: Collection[str]
  ) -> int:
    """How many available videos of the database no query has a score for."""
    scored, columns = set(), np.zeros(len(self._places), bool)
    for _, row in self._rows(queries):
      if isinstance(row, Mapping):
        scored.update(name for name, score in row.items() if score == score)
      else:
        columns |= ~np.isnan(row)
    scored.update(
      name for name, seen in zip(self._places, columns, strict=True) if seen
    )
    return len(self.available(database) - scored)

  def _ranked(self, names: Collection[str], allowed) -> np.ndarray:
    """bool `[N]`, which of the names are ranked."""
    if allowed is None:
      allowed = self.available(names)
    return np.fromiter((name in allowed for name in names), bool, len(names))

  def _rows(self, queries: Collection[str]) -> Iterator:
    for query in queries:
      if query in self._similarities:
        row = self._similarities[query]
        yield query, row if isinstance(row, Mapping) else self._row(query, row)

  def _row(self, query: str, row: Array) -> np.ndarray:
    row = np.asarray(row)
    if self._targets is None:
      raise ValueError(
        f'similarities of {query!r} are an array: give the names of its '
        'targets, or a dict of scores by name'
      )
    if row.shape != (len(self._places),):
      raise ValueError(
        f'similarities of {query!r} have shape {row.shape}; expected '
        f'[{len(self._places)}], one for each target'
      )
    exact = row.dtype in (np.float32, np.float64)
    return row if exact else row.astype(np.float64)
