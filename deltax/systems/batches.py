"""Puts encoded videos into an index that others may add to meanwhile."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Self

from deltax.data.video.find import shortest_name
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.systems.known import Names

COMMIT = 8  # videos that are put on the disk together


class Batches:
  """Puts encoded videos on the disk, a few at a time.

  The last ones too when it is left by an error, so that work that is done is
  never lost. The index is opened with the first videos: where there are none, a
  new one is not made.

  Attributes:
    index: None until there are videos.
    done: how many were added.
    there: how many another has added meanwhile.
  """

  def __init__(self, known: Index | None, open_index: Callable[[], Index]):
    self._known, self._open_index = known, open_index
    self._waiting: list[IndexedVideo] = []
    self._replaced: list[str] = []
    self.index: Index | None = None
    self.done = self.there = 0

  def __enter__(self) -> Self:
    return self

  def finds(self, content: str) -> bool:
    """Whether another has added a file of this content meanwhile; counts it."""
    index = self.index or self._known
    if index is None:
      return False
    index.reload()
    found = index.holds(content)
    self.there += found
    return found

  def add(self, video: IndexedVideo, replaces: str) -> None:
    self._waiting.append(video)
    self._replaced += [replaces] * bool(replaces)
    if len(self._waiting) == COMMIT:
      self._write()

  def __exit__(self, *error) -> None:
    if self._waiting:
      self._write()

  def _write(self) -> None:
    # Forgotten first: videos that were refused would be so again on leaving.
    batch, self._waiting = self._waiting, []
    replaced, self._replaced = self._replaced, []
    self.index = self.index or self._open_index()
    for last in (False, False, True):
      self.index.reload()
      new = _not_there(self.index, batch, replaced)
      try:
        self.index.add(new, replaced=replaced)
        break
      except ValueError:
        self.index.reload()
        if last or not any(video.name in self.index for video in new):
          raise  # else another was faster
    self.done += len(new)
    self.there += len(batch) - len(new)


def _not_there(
  index: Index, batch: Sequence[IndexedVideo], replaced: Sequence[str]
) -> list[IndexedVideo]:
  """Those of a batch that nobody has added meanwhile, by free names."""
  taken, new = Names(index), []
  for name in replaced:
    taken.discard(name)
  for video in batch:
    if index.holds(video.file.content):
      continue
    name = shortest_name(pathlib.Path(video.path), video.name, taken)
    taken.add(name)
    new.append(video._replace(name=name))
  return new
