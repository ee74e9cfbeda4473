"""Encoded videos on their way into an index: a file each, named by content.

    CONTENT-MODEL.npz      what an index keeps of a file of that content
    CONTENT-MODEL.failed   why it cannot be read, told by which versions
    CONTENT-MODEL.missed   why it could not be reached; that is tried again

They lie where Beam's file systems can write. A file is there whole, or not at
all, and any number of workers may write one.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import pathlib
import uuid
import zipfile
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

import deltax
from deltax import plain
from deltax.errors import DeltaxError
from deltax.identity import is_elsewhere
from deltax.retrieval.index.shard import IndexedVideo
from deltax.systems.beam.videos import Failed
from deltax.systems.reading import Encoded

DONE, FAILED, MISSED = '.npz', '.failed', '.missed'
_NOTE = {'reason': plain.TEXT, 'read_by': plain.TEXT}
_BROKEN = (ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Shards(NamedTuple):
  """A folder of them.

  Attributes:
    place: path or address of the folder, which may not be there yet.
    model: short name of what encodes, a part of names of files.
  """

  place: str
  model: str

  def lacks(self, content: str) -> bool:
    """Whether a file of this content is still to be read; for a worker."""
    names = [f'{content}-{self.model}{ending}' for ending in (DONE, FAILED)]
    there = [n for n in names if FileSystems.exists(self._path(n))]
    return self._is_lacking(content, there)

  def lacking(self, contents: Iterable[str]) -> set[str]:
    """Those of some contents that `lacks`; the folder is listed once."""
    names = self._names()
    return {x for x in contents if self._is_lacking(x, names)}

  def _is_lacking(self, content: str, names: Collection[str]) -> bool:
    done, failed = (f'{content}-{self.model}{x}' for x in (DONE, FAILED))
    if done in names or failed not in names:
      return done not in names
    # What one version could not read, another may.
    return _note(self._path(failed))['read_by'] != _read_by()

  def write(self, content: str, result: Encoded | Failed) -> None:
    """Keeps what became of a file of some content.

    Raises:
      DeltaxError: it cannot be written.
    """
    if isinstance(result, Encoded):
      ending, data = DONE, _packed(result)
    else:
      ending = FAILED if result.lasting else MISSED
      note = {'reason': result.reason, 'read_by': _read_by()}
      data = json.dumps(note).encode()
    path = self._path(f'{content}-{self.model}{ending}')
    beside = f'{path}.{uuid.uuid4().hex}'  # on the same disk
    with self._writing():
      with _create(beside) as file:
        file.write(data)
      FileSystems.rename([beside], [path])

  def check(self) -> None:
    """Tries the folder, before any video is read.

    Raises:
      DeltaxError: nothing can be written there.
    """
    name = uuid.uuid4().hex
    with self._writing():
      _create(self._path(name)).close()
      self._delete([name])

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      reason = error.strerror or error
      raise DeltaxError(
        f'{self.place} cannot be written to: {reason}'
      ) from error

  def read(self, content: str) -> Encoded:
    """What became of a file of some content.

    Raises:
      DeltaxError: it was not encoded; or what is kept of it is damaged.
    """
    path = self._path(f'{content}-{self.model}')
    if FileSystems.exists(path + DONE):
      return _unpacked(path + DONE)
    for ending in (MISSED, FAILED):
      if FileSystems.exists(path + ending):
        raise DeltaxError(_note(path + ending)['reason'])
    raise DeltaxError(f'{path}{DONE} is not there: no worker has written it')

  def drop(self, contents: Iterable[str]) -> None:
    """Deletes what is kept of files, but for why they cannot be read."""
    known = {f'{content}-{self.model}' for content in contents}
    names = self._names()  # some of them begun by killed workers
    gone = [name for name in names if name.partition('.')[0] in known]
    kept = {name for name in gone if name.endswith(FAILED)}
    # Not of what a later version could read.
    kept -= {n.replace(DONE, FAILED) for n in names if n.endswith(DONE)}
    self._delete([name for name in gone if name not in kept])

  # Of paths of this machine, Beam would take some letters for a pattern.

  def _names(self) -> set[str]:
    """Of all files in the folder."""
    if not is_elsewhere(self.place):
      return set(os.listdir(self.place)) if os.path.isdir(self.place) else set()
    (found,) = FileSystems.match([self._path('*')])
    return {about.path.rpartition('/')[2] for about in found.metadata_list}

  def _delete(self, names: Iterable[str]) -> None:
    """Deletes files, and the folder where none is left."""
    paths = list(map(self._path, names))
    if is_elsewhere(self.place):
      FileSystems.delete(paths)
      return
    for path in paths:
      pathlib.Path(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
      os.rmdir(self.place)

  def _path(self, name: str) -> str:
    return FileSystems.join(self.place, name)


def _read_by() -> str:
  av = importlib.metadata.version('av')
  return f'deltax {deltax.__version__}, av {av}'


def _create(path: str):
  # By its ending, a file would be compressed.
  return FileSystems.create(
    path, compression_type=CompressionTypes.UNCOMPRESSED
  )


def _read(path: str) -> bytes:
  with FileSystems.open(
    path, compression_type=CompressionTypes.UNCOMPRESSED
  ) as file:
    return file.read()


def _note(path: str) -> dict[str, str]:
  return plain.check(plain.loads(_read(path).decode()), _NOTE, path)


def _packed(encoded: Encoded) -> bytes:
  video, file = encoded.video, io.BytesIO()
  pictures = list(video.pictures.values())
  np.savez(
    file,
    coarse=video.coarse,
    fine=video.fine,
    times=video.times,
    clips=video.clips,
    numbers=np.array([video.selector, video.own, video.duration]),
    flaws=np.array([encoded.damaged, encoded.resized]),
    pictured=np.array(list(video.pictures), np.int64),
    sizes=np.array([len(jpeg) for jpeg in pictures], np.int64),
    pictures=np.frombuffer(b''.join(pictures), np.uint8),
  )
  return file.getvalue()


def _unpacked(path: str) -> Encoded:
  try:
    with np.load(io.BytesIO(_read(path))) as arrays:
      arrays = dict(arrays)
    selector, own, duration = arrays['numbers'].tolist()
    damaged, resized = arrays['flaws'].tolist()
    ends = np.cumsum(arrays['sizes'])
    starts, data = ends - arrays['sizes'], arrays['pictures'].tobytes()
    pictured = zip(arrays['pictured'].tolist(), starts, ends, strict=True)
    video = IndexedVideo(
      name='',
      path='',
      coarse=arrays['coarse'],
      fine=arrays['fine'],
      times=arrays['times'],
      selector=selector,
      own=own,
      duration=duration,
      pictures={n: data[start:end] for n, start, end in pictured},
      clips=arrays['clips'],
    )
  except _BROKEN as error:
    raise DeltaxError(f'{path} is damaged: delete it, and run again') from error
  return Encoded(video, damaged, resized)
