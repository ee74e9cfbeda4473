"""Videos that Beam's file systems reach: found, and told apart."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from apache_beam.io.filesystem import (
  BeamIOError,
  CompressionTypes,
  FileMetadata,
)
from apache_beam.io.filesystems import FileSystems

from deltax.data.video.find import ENDINGS, Found, find, told_apart
from deltax.errors import DeltaxError
from deltax.identity import Identity, content_of, is_elsewhere
from deltax.systems.known import Files

_PATTERN = set('*?[')
_HIDDEN, _OTHER = 'hidden', 'without the ending of a video'
_EXTRAS = {'gs': 'gcp', 's3': 'aws', 'azfs': 'azure', 'hdfs': 'hadoop'}


class AnyFiles(Files):
  """What is asked about files of this machine and of all others.

  Args:
    listed: what is known of those elsewhere, by their addresses.
  """

  def __init__(self, listed: Mapping[str, FileMetadata]):
    self._listed = listed

  def real(self, path: str | os.PathLike) -> str:
    return path if is_elsewhere(path) else super().real(path)

  def is_as_it_was(self, file: Identity, real: str) -> bool:
    if real not in self._listed:
      return super().is_as_it_was(file, real)
    return file[:2] == _size_and_time(self._listed[real])

  def identify(self, real: str) -> Identity:
    if not is_elsewhere(real):
      return super().identify(real)
    size, modified = _size_and_time(self._listed[real])
    with FileSystems.open(
      real, compression_type=CompressionTypes.UNCOMPRESSED
    ) as file:
      return Identity(size, modified, content_of(file, size))


def find_anywhere(
  places: Iterable[str | os.PathLike],
) -> tuple[Found, dict[str, FileMetadata]]:
  """As `deltax.data.video.find`, with files of other machines behind the rest.

  Args:
    places: files and folders; of other machines, addresses of files, of folders
      or patterns, such as 'gs://films/*.mp4'. In a folder of another machine
      files count by their ending.

  Returns:
    What was found, and what is known of files of other machines.

  Raises:
    FileNotFoundError: there is no such file or folder.
    ValueError: there are no videos, or Beam cannot reach the place.
  """
  places = list(places)
  here = [place for place in places if not is_elsewhere(place)]
  found, listed, below = Found({}, {}), {}, {}
  if here or not places:
    found = find(here)
  skipped = dict(found.skipped)
  for place in map(os.fspath, filter(is_elsewhere, places)):
    for about, name in _matches(place):
      reason = _reason_against(place, name)
      if reason:
        path = pathlib.Path(about.path)
        skipped.setdefault(reason, []).append(path)
      else:
        listed.setdefault(about.path, about)
        below.setdefault(about.path, name)
  if not listed and not found.videos:
    raise ValueError(f'no videos in {", ".join(map(str, places))}')
  paths = [*found.videos.values(), *listed]
  names = [*found.videos, *below.values()]
  pairs = zip(map(pathlib.Path, paths), names, strict=True)
  told = told_apart([(path, pathlib.PurePath(name)) for path, name in pairs])
  return Found(dict(zip(told, paths, strict=True)), skipped), listed


def _matches(place: str) -> Sequence[tuple[FileMetadata, str]]:
  """Files of a place elsewhere, and their names below it."""
  try:
    if _PATTERN & set(place):
      found = _matched(place)
      folder = place[: min(map(place.find, _PATTERN & set(place)))]
      folder = folder.rpartition('/')[0]
    else:
      found, folder = [], place.rstrip('/')
      if folder == place:  # it may be a file
        found = _matched(place)
      if found:
        folder = place.rpartition('/')[0]
      else:
        found = _matched(f'{folder}/**')
  except BeamIOError as error:
    cause = _cause(error)
    if isinstance(cause, AssertionError | ImportError):  # without its library
      raise _not_installed(place) from error
    raise OSError(f'{place} cannot be listed: {cause}') from error
  if not found:
    raise FileNotFoundError(f'{place}: no such file or folder')
  names = [about.path.removeprefix(folder).lstrip('/') for about in found]
  return sorted(zip(found, names, strict=True), key=lambda pair: pair[1])


def _matched(pattern: str) -> list[FileMetadata]:
  try:
    FileSystems.get_filesystem(pattern)
  except ValueError as error:
    raise _not_installed(pattern) from error
  (match,) = FileSystems.match([pattern])
  return match.metadata_list


def _not_installed(place: str) -> DeltaxError:
  scheme = FileSystems.get_scheme(place)
  extra = _EXTRAS.get(scheme)
  advice = f": pip install 'apache-beam[{extra}]'" if extra else ''
  return DeltaxError(
    f'{place}: no file system of Beam for {scheme}:// is installed{advice}'
  )


def _cause(error: Exception) -> Exception:
  """What went wrong first; Beam wraps it by the paths that were asked for."""
  while isinstance(error, BeamIOError) and error.exception_details:
    error = next(iter(error.exception_details.values()))
  return error


def _reason_against(place: str, name: str) -> str | None:
  """Why a file in a folder is not taken for a video."""
  if any(part.startswith('.') for part in pathlib.PurePath(name).parts):
    return _HIDDEN
  if place.endswith(name) or pathlib.PurePath(name).suffix.lower() in ENDINGS:
    return None
  return _OTHER


def _size_and_time(about: FileMetadata) -> tuple[int, int]:
  """Bytes, and nanoseconds since 1970."""
  return about.size_in_bytes, int(about.last_updated_in_seconds * 1e9)
