"""A small system, a file system in memory, and films for both."""

import functools
import io
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from apache_beam.io.filesystem import FileMetadata, FileSystem

from deltax import systems
from deltax.data.video.files import write_video
from deltax.systems import folder as system_folder

SIDE = 4  # cells of a picture, each way


@jax.jit
def run(scale, frames):
  """One region a frame: a picture of 4 x 4 pixels."""
  count, height, width = (*frames.shape[:1], *frames.shape[1:3])
  cells = frames.astype(jnp.float32).reshape(
    count, SIDE, height // SIDE, SIDE, width // SIDE, 3
  )
  x = cells.mean((2, 4)).reshape(count, 1, 3 * SIDE**2) * scale - 127
  return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def make_system():
  """A system without a network."""
  extractor = systems.Extractor(
    run=functools.partial(run, jnp.float32(1.001)),  # 1 in bfloat16
    description={'name': 'small'},
    arrays={},
    fingerprint='small',
  )
  return systems.make_system(extractor)


@pytest.fixture(autouse=True)
def small_system(monkeypatch):
  """Every name of a system is that of the small one."""
  system = make_system()
  monkeypatch.setattr(system_folder, 'open_system', lambda place: system)
  return system


@pytest.fixture(scope='session')
def films(tmp_path_factory):
  """A folder of five films; one is twice there, one cut, one empty."""
  folder = tmp_path_factory.mktemp('films')
  for seed, seconds in enumerate((3, 21, 5, 17, 8)):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (seconds, 4, 4, 3), np.uint8)
    frames = noise.repeat(16, 1).repeat(16, 2)
    write_video(folder / f'{seed}.mp4', frames, 1)
  (folder / 'again.mp4').write_bytes((folder / '1.mp4').read_bytes())
  (folder / 'cut.mp4').write_bytes((folder / '3.mp4').read_bytes()[:-1000])
  (folder / 'empty.mp4').touch()
  return folder


class Written(io.BytesIO):
  """A file that is there when it is closed."""

  def __init__(self, files, path):
    super().__init__()
    self._files, self._path = files, path

  def close(self):
    if not self.closed:
      self._files[self._path] = self.getvalue()
    super().close()


class Bucket(FileSystem):
  """Files in memory, as `bucket://name`; counts how often each is opened."""

  files: ClassVar[dict[str, bytes]] = {}
  opened: ClassVar[list[str]] = []

  @classmethod
  def scheme(cls):
    return 'bucket'

  def join(self, basepath, *paths):
    return '/'.join([basepath.rstrip('/'), *paths])

  def split(self, path):
    folder, _, name = path.rpartition('/')
    return folder, name

  def mkdirs(self, path):
    pass

  def has_dirs(self):
    return False

  def _list(self, prefix):
    for path in sorted(self.files):
      if path.startswith(prefix):
        yield self.metadata(path)

  def create(self, path, mime_type='', compression_type=None):
    return Written(self.files, path)

  def open(self, path, mime_type='', compression_type=None):
    self.opened.append(path)
    if path not in self.files:
      raise FileNotFoundError(f'{path}: not in the bucket')
    return io.BytesIO(self.files[path])

  def copy(self, sources, targets):
    for source, target in zip(sources, targets, strict=True):
      self.files[target] = self.files[source]

  def rename(self, sources, targets):
    self.copy(sources, targets)
    self.delete(sources)

  def exists(self, path):
    return path in self.files

  def size(self, path):
    return len(self.files[path])

  def last_updated(self, path):
    return 1e9

  def checksum(self, path):
    return str(hash(self.files[path]))

  def metadata(self, path):
    return FileMetadata(path, self.size(path), self.last_updated(path))

  def delete(self, paths):
    for path in paths:
      del self.files[path]


@pytest.fixture
def bucket():
  """The file system in memory, with nothing in it."""
  Bucket.files.clear()
  Bucket.opened.clear()
  return Bucket
