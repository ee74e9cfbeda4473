"""Searches an index for video files."""

import os
from collections.abc import Sequence
from typing import Any

from deltax.retrieval.index.elsewhere.remote import RemoteIndex, is_address
from deltax.retrieval.index.elsewhere.together import Together
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.results import SearchResult
from deltax.retrieval.search.searcher import Searcher
from deltax.retrieval.system import System
from deltax.systems.indexing import open_model_of
from deltax.systems.reading import ReadVideo, read_query


class FileSearcher:
  """An index that is open, to search for one file after the other.

  What the first search compiles serves the others.

  Args:
    index: of videos, or several as one.
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
  folder: str | os.PathLike | Sequence[str | os.PathLike],
  model: System | str | os.PathLike | None = None,
) -> FileSearcher:
  """Opens an index, or several as one, to search it for files.

  Args:
    folder: of the index, or its address, such as `s3://films/my.index`; or a
      list of such, of indexes that were built with one model.
    model: as for `open_index`.

  Raises:
    FileNotFoundError, ValueError: see `open_index`.
    OSError: an index cannot be reached.
    ImportError: an address needs a package that is not installed.
  """
  places = [folder] if isinstance(folder, str | os.PathLike) else [*folder]
  if not places:
    raise ValueError('no index to search: expected at least one')
  indexes = [
    RemoteIndex(place) if is_address(place) else Index(place)
    for place in places
  ]
  index = indexes[0] if len(indexes) == 1 else Together(indexes)
  return FileSearcher(index, open_model_of(index, model))
