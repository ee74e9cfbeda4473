"""Finds video files, and says which other files it passed by, and why."""

import collections
import os
import pathlib
import stat
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from deltax.data.video.sniff import sniff

# Taken for videos; files of other endings are, if they turn out to be.
ENDINGS = (
  *('.3g2', '.3gp', '.asf', '.avi', '.divx', '.f4v', '.flv', '.gif', '.m2ts'),
  *('.m2v', '.m4v', '.mkv', '.mov', '.mp4', '.mpe', '.mpeg', '.mpg', '.mts'),
  *('.mxf', '.ogm', '.ogv', '.qt', '.rm', '.rmvb', '.ts', '.vob', '.webm'),
  *('.wmv', '.y4m'),
)
_INDEX = ('manifest.json', 'segments')  # an index may lie among its videos
_HIDDEN = 'hidden'
_UNREADABLE = 'unreadable'
_DEAD = 'links to nothing'
_SPECIAL = 'neither files nor folders'
_TWICE = 'other names of one file'


class Found(NamedTuple):
  """What is in some places.

  Attributes:
    videos: paths of files by name, in the order of the places and of the
      alphabet. A name is the path below the folder that was given, or the
      file's own; where two would be one, as much of their paths as tells them
      apart.
    skipped: paths of what is no video here, by the reason.
  """

  videos: dict[str, pathlib.Path]
  skipped: dict[str, list[pathlib.Path]]


def find(places: Iterable[str | os.PathLike]) -> Found:
  """All videos of some places.

  Links to folders are followed, each folder is entered once. Of a file that has
  several names, by links or in several places, the first counts.

  Args:
    places: files, of whatever ending and content, and folders, where files
      count that have a known ending, or else turn out to be videos.

  Raises:
    FileNotFoundError: no such file or folder.
    ValueError: there are no videos; says what there is.
  """
  places, skipped = list(map(pathlib.Path, places)), {}
  candidates, seen = [], set()
  for path, below in _candidates(places, skipped):
    about = path.stat()
    # Sizes and times too, as some disks of a network give numbers twice.
    identity = _number(path), about.st_size, about.st_mtime_ns
    if identity in seen:
      skipped.setdefault(_TWICE, []).append(path)
      continue
    seen.add(identity)
    candidates.append((path, below))
  if not candidates:
    told = describe_skipped(skipped)
    raise ValueError(
      f'no videos in {", ".join(map(str, places)) or "no place"}; '
      + (f'there are {", ".join(told)}' if told else 'nothing is there')
    )
  names = told_apart(candidates)
  paths = [path for path, _ in candidates]
  return Found(dict(zip(names, paths, strict=True)), skipped)


def find_videos(
  places: Iterable[str | os.PathLike], *, endings: bool = True
) -> dict[str, pathlib.Path]:
  """Videos by name, see `find`.

  Args:
    places: files and folders.
    endings: whether names keep their ending, such as .mp4; ids of the published
      data sets mostly have none.

  Raises:
    FileNotFoundError: no such file or folder.
    ValueError: there are no videos; or, without endings, two of one name.
  """
  found = find(places)
  return found.videos if endings else ids(found)


def ids(found: Found) -> dict[str, pathlib.Path]:
  """Videos by their names without endings.

  Raises:
    ValueError: two are of one name.
  """
  videos = {}
  for name, path in found.videos.items():
    short = pathlib.PurePosixPath(name).with_suffix('').as_posix()
    if short in videos:
      raise ValueError(f'two videos named {short}: {videos[short]}, {path}')
    videos[short] = path
  return videos


def shortest_name(path: pathlib.Path, name: str, taken: Container[str]) -> str:
  """A name that is not taken: `name`, or more of the file's path.

  Args:
    path: of the file.
    name: the end of its path, or another name.
    taken: names of others.

  >>> path = pathlib.Path('/films/card2/a.mp4')
  >>> shortest_name(path, 'a.mp4', {'a.mp4'})
  'card2/a.mp4'
  """
  parts = path.absolute().parts[1:]
  for length in range(1, len(parts) + 1):
    longer = plain_name(pathlib.PurePath(*parts[-length:]))
    if name not in taken:
      break
    if len(longer) > len(name):
      name = longer
  return name


def plain_name(path: pathlib.PurePath) -> str:
  """A path as a name: the same however its letters with accents are written."""
  return unicodedata.normalize('NFC', path.as_posix())


def describe_skipped(
  skipped: Mapping[str, Sequence[pathlib.Path]],
) -> list[str]:
  """What was passed by, counted by reason; the first of each is named."""
  told = []
  for reason, paths in sorted(skipped.items()):
    more = ', ...' if len(paths) > 1 else ''
    told.append(f'{len(paths):,} {reason} ({paths[0]}{more})')
  return told


def _candidates(
  places: Sequence[pathlib.Path], skipped: dict[str, list[pathlib.Path]]
) -> Iterator[tuple[pathlib.Path, pathlib.PurePath]]:
  """Files that may be videos, and their paths below what was given."""
  for place in places:
    if place.is_dir():
      # A file is known by its own name, if that is here.
      paths = _below(place, skipped)
      for path in sorted(paths, key=lambda path: (path.is_symlink(), path)):
        reason = _reason_against(path)
        if reason:
          skipped.setdefault(reason, []).append(path)
        else:
          yield path, path.relative_to(place)
    elif place.is_file():
      yield place, pathlib.PurePath(place.name)
    else:
      raise FileNotFoundError(f'{place}: no such file or folder')


def _below(folder: pathlib.Path, skipped: dict) -> Iterator[pathlib.Path]:
  """All that is no folder, in this one and below, each folder once."""
  entered, waiting, links = set(), [folder], []
  while waiting or links:
    # Links last: a folder is known by its own name, if it is here.
    inside = waiting.pop() if waiting else links.pop(0)
    if _number(inside) in entered:
      continue
    entered.add(_number(inside))
    try:
      paths = sorted(inside.iterdir())
    except OSError:
      skipped.setdefault(_UNREADABLE, []).append(inside)
      continue
    for path in paths:
      if path.name.startswith('.'):
        skipped.setdefault(_HIDDEN, []).append(path)
      elif not path.is_dir():
        yield path
      elif all((path / name).exists() for name in _INDEX):
        skipped.setdefault('indexes', []).append(path)
      elif path.is_symlink():
        links.append(path)
      else:
        waiting.append(path)


def _number(path: pathlib.Path) -> tuple:
  """What a file or folder is to the system, whatever it is called."""
  about = path.stat()
  number = about.st_ino or str(path.resolve())  # not every disk has numbers
  return about.st_dev, number


def _reason_against(path: pathlib.Path) -> str | None:
  """Why a file in a folder is not taken for a video."""
  try:
    mode = path.stat().st_mode
  except OSError:
    return _DEAD if path.is_symlink() else _UNREADABLE
  if not stat.S_ISREG(mode):
    return _SPECIAL
  if path.suffix.lower() in ENDINGS:
    return None
  try:
    return sniff(path)
  except OSError:
    return _UNREADABLE


def told_apart(
  candidates: Sequence[tuple[pathlib.Path, pathlib.PurePath]],
) -> list[str]:
  """Names of files that are all different.

  Args:
    candidates: paths of files, and their paths below what was given.
  """
  names = [plain_name(below) for _, below in candidates]
  longest = max(len(path.absolute().parts) for path, _ in candidates)
  for length in range(2, longest + 1):
    shared = _shared(names)
    for place in shared:
      parts = candidates[place][0].absolute().parts[1:][-length:]
      longer = plain_name(pathlib.PurePath(*parts))
      names[place] = max(names[place], longer, key=len)
    if not shared:
      return names
  # What is left differs in how accents are written.
  for place in _shared(names):
    names[place] = candidates[place][0].absolute().as_posix()
  return names


def _shared(names: Sequence[str]) -> list[int]:
  """Places of names that stand there more than once."""
  counts = collections.Counter(names)
  return [place for place, name in enumerate(names) if counts[name] > 1]
