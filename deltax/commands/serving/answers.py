"""Answers searches from an index, in the form that is sent."""

import os
import pathlib
import time
from typing import Any

from absl import logging

from deltax import systems
from deltax.commands.serving.jobs import Answer, Asked, Told
from deltax.commands.videos.info import measure
from deltax.commands.videos.search import as_json, dated, side_by_side
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import stamp
from deltax.retrieval.search.results import Match, SearchResult
from deltax.retrieval.search.searcher import Budget
from deltax.retrieval.system import System

AGAIN = 10.0  # seconds from one look at what others have changed to the next


class Answers:
  """An index that is open, to be searched by one thread.

  What others add to it or remove from it is seen by the searches after.

  Args:
    folder: of the index.
    model: as of `systems.open_index`.
    pairs: videos that are compared frame by frame in a search.
    longest: seconds that a query may last.

  Raises:
    FileNotFoundError, ValueError: see `systems.open_index`.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    model: System | str | os.PathLike | None,
    pairs: int,
    longest: float,
  ):
    self._folder, self._pairs, self._longest = folder, pairs, longest
    self._stamp, self._looked = stamp(folder), time.monotonic()
    self._searcher = systems.open_searcher(folder, model)

  def about(self) -> dict[str, Any]:
    """Plain values of the index, for whoever asks."""
    told = measure(self._searcher.index)
    kept = ('videos', 'hours', 'background', 'fingerprint')
    return {
      'name': self._folder.resolve().name,
      **{name: told[name] for name in kept},
      'pairs': self._pairs,
      'longest': self._longest,
    }

  def __call__(self, path: pathlib.Path, asked: Asked, told: Told) -> Answer:
    """Searches for a video.

    Raises:
      VideoError: it cannot be read, or is too long.
    """
    searcher = self._current()
    query = systems.read_query(
      searcher.system,
      path,
      longest=self._longest,
      progress=lambda share: told('reading', share),
    )
    told('comparing', None)
    result = searcher.search(
      query,
      k=asked.k,
      least=asked.least,
      budget=Budget(self._pairs),
      look=False,
    )
    return _answer(searcher.index, query, result)

  def _current(self) -> systems.FileSearcher:
    """The index as it is now, or as it was where it cannot be read."""
    now = time.monotonic()
    if now - self._looked > AGAIN:
      self._looked, found = now, stamp(self._folder)
      if found != self._stamp:
        self._stamp = found
        try:
          index = Index(self._folder)
          self._searcher = systems.FileSearcher(index, self._searcher.system)
        except (ValueError, OSError) as error:
          logging.error('the index is searched as it was: %s', error)
    return self._searcher


def _answer(
  index: Index, query: systems.ReadVideo, result: SearchResult
) -> Answer:
  """What is sent: no path, neither of the query nor of a match."""
  found, pictures = as_json(pathlib.Path(), query, result), {}
  del found['query']['path']
  for place, match in enumerate(result.matches):
    told = found['matches'][place]
    del told['path'], told['state']
    if pair := _pair(index, query, match):
      told['pictures'] = {}
      for side, (second, jpeg) in zip(('query', 'video'), pair, strict=True):
        name = f'{place}-{side}'
        told['pictures'][side] = {'name': name, 'second': second}
        pictures[name] = jpeg
  return Answer(found, pictures)


def _pair(index: Index, query: systems.ReadVideo, match: Match):
  """Pictures of the two videos in the middle of the surest part; or None."""
  pairs = side_by_side(query, match, dated(index, match.row))
  pairs = [pair for pair in pairs if not pair.segment]
  if not pairs:
    return None
  middle = pairs[len(pairs) // 2]
  return middle.query, middle.target
