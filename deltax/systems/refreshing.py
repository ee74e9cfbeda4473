"""Brings an index up to date with its files, without encoding any."""

import os
import pathlib
from typing import NamedTuple

from deltax.data.video.find import plain_name
from deltax.retrieval.index.folder import Index
from deltax.systems.known import sort_files


class Refreshed(NamedTuple):
  """What became of the videos of an index.

  Attributes:
    moved: new names by the old ones, of videos whose file was found elsewhere.
    removed: names of those whose file is gone.
    unreachable: names of those whose folder is gone too, as when a disk is not
      there.
    changed: names of those whose file is another by now.
    videos: how many are left.
  """

  moved: dict[str, str]
  removed: list[str]
  unreachable: list[str]
  changed: list[str]
  videos: int


def refresh(index: Index, *, force: bool = False) -> Refreshed:
  """Follows files that were moved, and removes videos whose file is gone.

  Moved files are looked for in all folders that the index knows.

  Args:
    index: to change. Videos that are of no file, but of features, stay.
    force: remove those too whose folder is gone.
  """
  before = dict(zip(index.names, index.paths, strict=True))
  candidates = _candidates(index)
  plan = sort_files(index, candidates)
  if plan.moved:
    index.follow(plan.moved)
  dead, unreachable = [], []
  for name, path in zip(index.names, index.paths, strict=True):
    if path and not os.path.isfile(path):
      there = force or os.path.isdir(os.path.dirname(path))
      (dead if there else unreachable).append(name)
  if dead:
    index.remove(dead)
  changed = [name for name in index.names if index.state(name) == 'changed']
  return Refreshed(
    {
      old: new
      for old, (new, path, _) in plan.moved.items()
      if (old, before[old]) != (new, path)
    },
    sorted(dead),
    sorted(unreachable),
    sorted(changed),
    len(index),
  )


def _candidates(index: Index) -> dict[str, pathlib.Path]:
  """Files that may be those of videos, by the names that they would get."""
  names = dict(zip(index.paths, index.names, strict=True))
  names.pop('', None)
  found = {n: pathlib.Path(p) for p, n in names.items() if os.path.isfile(p)}
  pairs = zip(index.files, index.paths, strict=True)
  sizes = {file.size for file, p in pairs if file and not os.path.isfile(p)}
  for folder in sorted({os.path.dirname(path) for path in names}):
    try:
      entries = [entry for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
      continue
    for entry in sorted(entries, key=lambda entry: entry.name):
      if entry.path not in names and entry.stat().st_size in sizes:
        name = _name_beside(entry.path, names)
        found.setdefault(name, pathlib.Path(entry.path))
  return found


def _name_beside(path: str, names: dict[str, str]) -> str:
  """A name as those of the videos of the same folder have."""
  folder = os.path.dirname(path)
  beside = next(
    (n for p, n in names.items() if os.path.dirname(p) == folder), ''
  )
  parent = pathlib.PurePosixPath(beside).parent
  return plain_name(parent / os.path.basename(path))
