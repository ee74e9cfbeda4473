"""Which files an index has already, wherever they are by now."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from deltax.data.video.find import plain_name, shortest_name
from deltax.identity import Identity, identify, is_elsewhere
from deltax.retrieval.index.folder import Index

Moved = dict[str, tuple[str, str, Identity | None]]


class NewFile(NamedTuple):
  """A file that is to be encoded.

  Attributes:
    path: of it, links followed.
    file: what it is.
    replaces: the video that was found at that path before, and is no more; ''
      if there was none.
  """

  path: str
  file: Identity
  replaces: str


class SameFile(NamedTuple):
  """Another file of the same content as a video.

  Attributes:
    path: of it, links followed.
    file: what it is.
    video: the video's name.
  """

  path: str
  file: Identity
  video: str


class Sorted(NamedTuple):
  """What files are to an index.

  Attributes:
    new: files that it has not, by the name that they get.
    there: how many it has.
    same: other files of the same content as a video, by the names that they
      would get.
    moved: what `Index.follow` takes: files that are at another path, or whose
      identity was not known.
    gone: videos whose file is one of those now.
    failed: why others cannot be read, by name.
  """

  new: dict[str, NewFile]
  there: int
  same: dict[str, SameFile]
  moved: Moved
  gone: list[str]
  failed: dict[str, str]


class Files:
  """What is asked about files, here of those of this machine.

  Files that are elsewhere are taken to be as they were.
  """

  def real(self, path: str | os.PathLike) -> str:
    """The one name of a file, links followed."""
    return str(pathlib.Path(path).resolve())

  def is_as_it_was(self, file: Identity, real: str) -> bool:
    """As `Identity.is_as_it_was`."""
    return is_elsewhere(real) or file.is_as_it_was(real)

  def identify(self, real: str) -> Identity:
    """As `deltax.identity.identify`."""
    return identify(real)


LOCAL = Files()


def sort_files(
  index: Index | None,
  videos: Mapping[str, str | os.PathLike],
  files: Files = LOCAL,
) -> Sorted:
  """Compares files with those of an index: by path, size, time and content.

  A file that has another path than before keeps its video, as has one that was
  touched. One whose content is another is new, and takes the place of what was
  encoded from that path.

  Args:
    index: None for a new one, which has nothing.
    videos: files by the names that they would get.
    files: where they are.
  """
  failed, there, others = {}, 0, {}
  places = {name: files.real(path) for name, path in videos.items()}
  known = _Known(index, list(places.values()), files)
  for name, path in videos.items():
    real = places[name]
    try:
      if known.is_as_it_was(real):
        there += 1
        continue
      others[name] = real, files.identify(real)
    except OSError as error:
      failed[name] = f'{path}: {error.strerror or error}'
  known.look_for(file for _, file in others.values())
  # All that have only moved come first: what was at their path may be new.
  rest = {}
  for name, (real, file) in others.items():
    if known.follow(name, real, file):
      there += 1
    else:
      rest[name] = real, file
  new, same, of_content, gone = {}, {}, {}, []
  for name, (real, file) in rest.items():
    replaces = known.replaced(name, real)
    twin = known.named(file) or of_content.get(file.content)
    if twin is not None:
      same[name] = SameFile(real, file, twin)
      gone += [replaces] * bool(replaces)
      continue
    if not replaces:
      name = shortest_name(pathlib.Path(real), name, known.names)
    name = known.name_now(replaces) or name
    known.names.add(name)
    new[name] = NewFile(real, file, replaces)
    of_content[file.content] = name
  return Sorted(new, there, same, known.moved, gone, failed)


class Names:
  """Names of all videos, as they will be; none but the new ones is a copy.

  Args:
    index: None for a new one, which has none.
  """

  def __init__(self, index: Index | None):
    self._index, self._new, self._gone = index, set(), set()

  def __contains__(self, name: str) -> bool:
    if name in self._new or name in self._gone:
      return name in self._new
    return self._index is not None and name in self._index

  def add(self, name: str) -> None:
    self._new.add(name)

  def discard(self, name: str) -> None:
    self._new.discard(name)
    self._gone.add(name)


class _Known:
  """The files of an index, and where they are found to be.

  Args:
    index: None for a new one, which has nothing.
    paths: of files that are asked for.
    asked: where they are.

  Attributes:
    moved: see `Sorted`.
    names: of all videos, as they will be.
  """

  def __init__(self, index: Index | None, paths: Sequence[str], asked: Files):
    self._index, self._asked, self.moved = index, asked, {}
    self.names = Names(index)
    self._row_at = index.find('path', paths) if index else {}
    self._row_of: dict[str, int] = {}
    self._followed: set[int] = set()

  def look_for(self, files: Iterable[Identity]) -> None:
    """Finds the videos of some files, all at once."""
    if self._index is not None:
      contents = [file.content for file in files]
      self._row_of = self._index.find('content', contents)

  def is_as_it_was(self, real: str) -> bool:
    """Whether a video was made of the file at that path, as it is."""
    row = self._row_at.get(real)
    file = None if row is None else self._index.files[row]
    return file is not None and self._asked.is_as_it_was(file, real)

  def follow(self, name: str, real: str, file: Identity) -> bool:
    """Whether a video's file is at that path now; notes it."""
    here = self._row_at.get(real)
    was = None if here is None else self._index.files[here]
    row = self._row_of.get(file.content)
    if was is not None and was.content == file.content:
      row = here  # it was touched
    if row is None:
      # An older library has not noted what it was; written later, it is not.
      if here is None or was or file.modified > self._index.written(here):
        return False
      row = here
    elif row in self._followed or self._is_alive(row, real):
      return False
    old = self._index.names[row]
    if not self._ends_with(real, old):
      self.names.discard(old)
      name = shortest_name(pathlib.Path(real), name, self.names)
    else:
      name = old
    self.names.add(name)
    self.moved[old] = name, real, file
    self._followed.add(row)
    return True

  def named(self, file: Identity) -> str | None:
    """The video of this content, by its name as it will be."""
    row = self._row_of.get(file.content)
    return None if row is None else self.name_now(self._index.names[row])

  def name_now(self, name: str) -> str:
    """A video's name, also if its file has moved."""
    return self.moved[name][0] if name in self.moved else name

  def replaced(self, name: str, real: str) -> str:
    """The video that a new file takes the place of, '' if of none."""
    row = self._row_at.get(real)
    if row is None and self._index is not None and name in self._index:
      row = self._index.row(name)
      path = self._index.paths[row]
      # Nobody knows what it was, but that it had this name.
      if self._index.files[row] or not path or os.path.exists(path):
        row = None
    if row is None or row in self._followed:
      return ''
    return self._index.names[row]

  def _is_alive(self, row: int, real: str) -> bool:
    """Whether a video's file is at its own path, which is another."""
    path, file = self._index.paths[row], self._index.files[row]
    if path == real:
      return False
    try:
      return self._asked.is_as_it_was(file, path) or (
        self._asked.identify(path).content == file.content
      )
    except (FileNotFoundError, NotADirectoryError):
      return False
    except OSError:
      return True

  def _ends_with(self, path: str, name: str) -> bool:
    return f'/{plain_name(pathlib.PurePath(path))}'.endswith(f'/{name}')


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
    if path and not is_elsewhere(path) and not os.path.isfile(path):
      there = force or os.path.isdir(os.path.dirname(path))
      (dead if there else unreachable).append(name)
  if dead:
    index.remove(dead)
  changed = [
    name
    for row, name in enumerate(index.names)
    if index.state_at(row) == 'changed'
  ]
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
