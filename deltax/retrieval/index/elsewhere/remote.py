"""An index at an address, such as s3://films/my.index, read where it lies.

Only what a search needs is fetched, and kept in the user's cache by what it is:
segments never change, so nothing is fetched twice, also of two indexes that
have a segment in common. Nothing is ever written there.
"""

import hashlib
import importlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from deltax import compilation, files, plain
from deltax.retrieval.index.manifest import MANIFEST, check_manifest
from deltax.retrieval.index.open_shard import Shard
from deltax.retrieval.index.opened import OpenIndex
from deltax.retrieval.index.parts import read_part

BLOCK = 1 << 20  # bytes that are fetched at once, of a file that is longer
_SIGN = '://'


def is_address(place: Any) -> bool:
  """Whether a place is an address, and no folder."""
  return isinstance(place, str) and _SIGN in place


class RemoteIndex(OpenIndex):
  """An index at an address: to search, not to change.

  Args:
    address: of the index, as fsspec takes it.
    cache: the folder to keep in what was fetched; None: the user's.

  Raises:
    ImportError: fsspec is not installed, or what it needs for such addresses.
    FileNotFoundError: there is no index.
    OSError: it cannot be reached.
    ValueError: it is damaged, or of another version.
  """

  def __init__(self, address: str, cache: pathlib.Path | None = None):
    self.folder = address.rstrip('/')
    source = _Source(self.folder)
    self._cache = cache or compilation.cache_folder() / 'fetched'
    path = f'{self.folder}/{MANIFEST}'
    try:
      text = source.fetch(MANIFEST)
    except FileNotFoundError as error:
      raise FileNotFoundError(
        f'{address} is no index: it has no {MANIFEST}'
      ) from error
    try:
      manifest = plain.loads(text.decode('utf-8'))
    except ValueError as error:
      raise ValueError(f'{path} is damaged: {error}') from error
    check_manifest(manifest, self.folder, path)
    self._set(manifest, [self._open(source, r) for r in manifest['segments']])
    self._source = source

  @property
  def engine_folder(self) -> pathlib.Path:
    """A folder here with the file of the engine, if there is one."""
    here = self._cache / 'engines' / self.videos_digest
    here.mkdir(parents=True, exist_ok=True)
    kind = self.manifest['coarse_search']
    for name in (f'{kind}.faiss', f'{kind}.json'):
      if not (here / name).exists():
        try:
          content = self._source.fetch(name)
        except FileNotFoundError:
          break
        with files.replacing(here / name) as beside:
          beside.write_bytes(content)
    return here

  def changed(self) -> bool:
    """Never: it is searched as it was when it was opened."""
    return False

  def state_at(self, row: int) -> str:
    """'': where the files of its videos lie is not this machine's business."""
    return ''

  def _open(self, source: '_Source', record: Mapping[str, Any]) -> Shard:
    known = json.dumps(record['files'], sort_keys=True).encode()
    cache = self._cache / hashlib.blake2b(known, digest_size=16).hexdigest()
    return Shard(
      RemoteParts(source, f'segments/{record["name"]}', record['files'], cache),
      record,
    )


class RemoteParts:
  """See `deltax.retrieval.index.parts.Parts`.

  Args:
    source: of the index.
    folder: of the shard in it.
    sizes: as the manifest has them: bytes by the name of each file.
    cache: a folder for what was fetched of this shard.
  """

  def __init__(
    self,
    source: '_Source',
    folder: str,
    sizes: Mapping[str, Mapping[str, int]],
    cache: pathlib.Path,
  ):
    self.place = f'{source.address}/{folder}'
    self._source, self._folder = source, folder
    self._sizes, self._cache = sizes, cache

  def read(self, name: str, first: int, last: int) -> np.ndarray:
    """See `Parts`; all of a file is mapped, as if it were here."""
    size = self._sizes[name]['bytes']
    if last > size:
      raise ValueError(f'{self.place}/{name} is damaged: it ends before {last}')
    whole = self._cache / name
    if whole.exists() or size <= BLOCK or last - first > size // 2:
      self._keep(whole, name, 0, size)
      return read_part(whole, first, last)
    parts = []
    for start in range(first // BLOCK * BLOCK, last, BLOCK):
      end = min(start + BLOCK, size)
      block = self._cache / f'{name}.{start // BLOCK}'
      self._keep(block, name, start, end)
      inside = max(first, start) - start, min(last, end) - start
      parts.append(read_part(block, *inside))
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

  def _keep(self, path: pathlib.Path, name: str, first: int, last: int) -> None:
    """Fetches a part of a file, unless it is there."""
    if path.exists():
      return
    content = self._source.fetch(f'{self._folder}/{name}', first, last)
    if len(content) != last - first:
      raise ValueError(
        f'{self.place}/{name} is damaged: it has other than '
        f'{self._sizes[name]["bytes"]} bytes'
      )
    with files.replacing(path) as beside:
      beside.write_bytes(content)


class _Source:
  """Files below an address."""

  def __init__(self, address: str):
    try:
      fsspec = importlib.import_module('fsspec')
    except ImportError as error:
      raise ImportError(
        f'{address} is read by fsspec: pip install fsspec'
      ) from error
    self.address = address
    self._system, self._root = fsspec.core.url_to_fs(address)

  def fetch(
    self, name: str, first: int | None = None, last: int | None = None
  ) -> bytes:
    """Bytes of a file.

    Raises:
      FileNotFoundError: there is none.
      OSError: it cannot be reached.
    """
    if first is not None and first == last:
      return b''
    try:
      return self._system.cat_file(f'{self._root}/{name}', first, last)
    except FileNotFoundError as error:
      raise FileNotFoundError(f'{self.address}/{name} is not there') from error
    except Exception as error:  # each file system has errors of its own
      raise OSError(
        f'{self.address}/{name} cannot be reached: {error}'
      ) from error
