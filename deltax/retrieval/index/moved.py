"""Where the files of videos are by now, if they were moved.

A shard never changes, so the manifest notes it until the shard is rewritten.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deltax.identity import Identity, read_stored
from deltax.retrieval.index.manifest import MANIFEST
from deltax.retrieval.index.shard import IndexedVideo, Shard


def where(part: Shard, row: int, moved: Mapping[str, Any]) -> tuple[str, str]:
  """Name and path of a video, as they are now.

  Args:
    part: that has the video.
    row: of the video in it.
    moved: what the manifest notes, by the ids of videos.
  """
  change = moved.get(str(part.table['id'][row]))
  if change is None:
    return part.names[row], part.paths[row]
  return change[0], change[1]


def file_of(part: Shard, row: int, moved: Mapping[str, Any]) -> Identity | None:
  """What the file of a video is, as `where`."""
  change = moved.get(str(part.table['id'][row]))
  if change is None:
    return part.files[row]
  return read_stored(change[2], MANIFEST)


def moved_videos(
  parts: Iterable[tuple[Shard, Sequence[int]]], moved: dict[str, Any]
) -> Iterator[IndexedVideo]:
  """Videos of shards to be written again, with where their files are by now.

  Args:
    parts: shards, and the rows of each that are to be written.
    moved: what the manifest notes; needs no note of these any more.
  """
  for part, alive in parts:
    for row in alive:
      name, path = where(part, row, moved)
      file = file_of(part, row, moved)
      moved.pop(str(part.table['id'][row]), None)
      yield part.video(row)._replace(name=name, path=path, file=file)
