"""Searches an index for video files."""

import os
from typing import Any

from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.results import SearchResult
from deltax.retrieval.search.searcher import Searcher
from deltax.retrieval.system import System
from deltax.systems.indexing import open_index
from deltax.systems.reading import ReadVideo, read_query


class FileSearcher:
  """An index that is open, to search for one file after the other.

  What the first search compiles serves the others.

  Args:
    index: of videos.
    system: the model that it was built with.

  Attributes:
    index: the same.
    system: the same.

  Raises:
    ValueError: the index was built with another model.
  """

  def __init__(self, index: Index, system: System):
    self.index, self.system = index, system
    self._searcher = Searcher(index, system)

  def search_file(
    self, path: str | os.PathLike, **options: Any
  ) -> SearchResult:
    """The videos that a file is most likely in, as `deltax search` finds them.

    Args:
      path: of a video file.
      **options: `k`, `least`, `budget` and others, see `Searcher.search`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it cannot be read, or see `Searcher.search`.
    """
    return self.search(read_query(self.system, path), **options)

  def search(self, query: ReadVideo, **options: Any) -> SearchResult:
    """The same of a file that `read_query` has read."""
    return self._searcher.search(
      query.regions,
      views=query.views,
      times=query.times,
      duration=query.duration,
      **options,
    )


def open_searcher(
  folder: str | os.PathLike, model: System | str | os.PathLike | None = None
) -> FileSearcher:
  """Opens an index to search it for files.

  Args:
    folder: of the index.
    model: as for `open_index`.

  Raises:
    FileNotFoundError, ValueError: see `open_index`.
  """
  return FileSearcher(*open_index(folder, model))
