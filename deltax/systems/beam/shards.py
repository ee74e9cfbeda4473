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
import uuid
import zipfile
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

import deltax
from deltax import plain
from deltax.errors import DeltaxError
from deltax.retrieval.index.shard import IndexedVideo
from deltax.systems.beam.videos import Failed
from deltax.systems.reading import Encoded

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
    """Whether a file of this content is still to be read."""
    if FileSystems.exists(self._path(content, 'npz')):
      return False
    path = self._path(content, 'failed')
    # What one version could not read, another may.
    return not FileSystems.exists(path) or _note(path)['read_by'] != _read_by()

  def write(self, content: str, result: Encoded | Failed) -> None:
    """Keeps what became of a file of some content."""
    if isinstance(result, Encoded):
      ending, data = 'npz', _packed(result)
    else:
      ending = 'failed' if result.lasting else 'missed'
      note = {'reason': result.reason, 'read_by': _read_by()}
      data = json.dumps(note).encode()
    path = self._path(content, ending)
    beside = f'{path}.{uuid.uuid4().hex}'  # on the same disk
    with _create(beside) as file:
      file.write(data)
    FileSystems.rename([beside], [path])

  def read(self, content: str) -> Encoded:
    """What became of a file of some content.

    Raises:
      DeltaxError: it was not encoded; or what is kept of it is damaged.
    """
    path = self._path(content, 'npz')
    if FileSystems.exists(path):
      return _unpacked(path)
    for ending in ('missed', 'failed'):
      note = self._path(content, ending)
      if FileSystems.exists(note):
        raise DeltaxError(_note(note)['reason'])
    raise DeltaxError(f'{path} is not there: no worker has written it')

  def drop(self, contents: Iterable[str]) -> None:
    """Deletes what is kept of files, but for why they cannot be read."""
    for content in contents:
      paths = [self._path(content, ending) for ending in ('npz', 'missed')]
      # What a killed worker has begun; a path with brackets is no pattern.
      for found in FileSystems.match([f'{path}.*' for path in paths]):
        paths += [about.path for about in found.metadata_list]
      FileSystems.delete(list(filter(FileSystems.exists, paths)))
    if '://' not in self.place:
      with contextlib.suppress(OSError):  # where files are left
        os.rmdir(self.place)

  def _path(self, content: str, ending: str) -> str:
    return FileSystems.join(self.place, f'{content}-{self.model}.{ending}')


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
