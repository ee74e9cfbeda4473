"""Where the files of videos are by now, if they were moved.

A shard never changes, so the manifest notes it until the shard is rewritten.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deltax.identity import Identity, read_stored
from deltax.retrieval.index.manifest import MANIFEST
from deltax.retrieval.index.open_shard import Shard
from deltax.retrieval.index.shard import IndexedVideo


class Moved:
  """What a manifest notes, which holds for a video and no longer its shard.

  Args:
    noted: name, path and what the file is, by the id of a video.
  """

  def __init__(self, noted: Mapping[str, Any]):
    self._noted = noted
    self._ids: dict[str, dict[str, list[int]]] = {}

  def has(self, shard: Shard, row: int) -> bool:
    """Whether there is a note of a video of a shard."""
    return bool(self._noted) and self._key(shard, row) in self._noted

  def where(
    self, shard: Shard, row: int, entry: Sequence[Any]
  ) -> tuple[str, str]:
    """Name and path of a video as they are now; `entry` is the shard's."""
    if not self.has(shard, row):
      return entry[0], entry[1]
    name, path, _ = self._noted[self._key(shard, row)]
    return name, path

  def file(self, shard: Shard, row: int, known: Identity | None):
    """What the file of a video is; `known` is what the shard has of it."""
    if not self.has(shard, row):
      return known
    return read_stored(self._noted[self._key(shard, row)][2], MANIFEST)

  def ids(self, kind: str, text: str) -> list[int]:
    """Ids of videos that have a name, a path or a content by now."""
    if kind not in self._ids:
      self._ids[kind] = {}
      for key, (name, path, stored) in self._noted.items():
        file = read_stored(stored, MANIFEST)
        texts = {'name': name, 'path': path, 'content': file and file.content}
        self._ids[kind].setdefault(texts[kind], []).append(int(key))
    return self._ids[kind].get(text, [])

  def _key(self, shard: Shard, row: int) -> str:
    return str(shard.table['id'][row])


def moved_videos(
  parts: Iterable[tuple[Shard, Sequence[int]]], noted: dict[str, Any]
) -> Iterator[IndexedVideo]:
  """Videos of shards to be written again, with where their files are by now.

  Args:
    parts: shards, and the rows of each that are to be written.
    noted: see `Moved`; needs no note of these any more.
  """
  moved = Moved(noted)
  for shard, alive in parts:
    for row in alive:
      video = shard.video(row)
      name, path = moved.where(shard, row, (video.name, video.path))
      file = moved.file(shard, row, video.file)
      noted.pop(str(video.id), None)
      yield video._replace(name=name, path=path, file=file)
