"""A folder of encoded videos that survives whatever happens to its writer.

    manifest.json      version, model, shards, what was removed
    segments/000001/   a shard, see `shard.py`
    lock               held by whoever writes

Opening it reads the manifest: what a search needs is read when it is needed. A
segment that a new manifest no longer names is deleted when nobody has it open.

Everything new is written beside its place, flushed to the disk, renamed, and
only then named in a new manifest that replaces the old one. A writer that is
killed leaves the index as it was after the last `add` or `remove` that
returned.
"""

import collections
import contextlib
import copy
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from deltax import files
from deltax.identity import Identity, as_stored
from deltax.retrieval.index.manifest import (
  create_manifest,
  read_manifest,
  stamp,
  write_manifest,
)
from deltax.retrieval.index.moved import moved_videos
from deltax.retrieval.index.open_shard import Shard
from deltax.retrieval.index.opened import OpenIndex
from deltax.retrieval.index.parts import LocalParts, claimed
from deltax.retrieval.index.shard import (
  IndexedVideo,
  check,
  describe,
  write_shard,
)

FULL = 4096  # videos; a shard of so many is not merged with others
MERGED = 8  # shards of about one size are merged when there are so many
STALE = 0.25  # a shard is rewritten when this share of it is removed


class Index(OpenIndex):
  """The videos of an index as it is on the disk; rows are those not removed.

  `deltax.systems.index_files` and `index_features` make and fill one.

  Args:
    folder: of an index that `create` made.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: it is damaged, or of another version; damaged files of a segment
      are told when they are first read.
  """

  def __init__(self, folder: str | os.PathLike):
    self.folder = pathlib.Path(folder)
    self._opened = {}
    self._read()

  @classmethod
  def create(
    cls,
    folder: str | os.PathLike,
    *,
    fingerprint: str,
    description: Mapping[str, Any],
    model: str | None = None,
    coarse_search: str = 'exact',
    coarse_address: str | None = None,
  ) -> Self:
    """Makes an empty index.

    Args:
      folder: to make.
      fingerprint: of the model that will encode the videos.
      description: of the model, plain values.
      model: where the model is; None for the one that needs no file.
      coarse_search: one of `coarse_search.KINDS`.
      coarse_address: of the server that does it; None where none does.

    Raises:
      ValueError: there is something in the folder already.
    """
    create_manifest(
      pathlib.Path(folder),
      fingerprint=fingerprint,
      description=dict(description),
      model=model,
      coarse_search=coarse_search,
      coarse_address=coarse_address,
    )
    return cls(folder)

  @property
  def engine_folder(self) -> pathlib.Path:
    """Where the file of an engine is kept."""
    return self.folder

  def written(self, row: int) -> int:
    """When a video was put on the disk, or later; nanoseconds since 1970."""
    shard, _ = self._at(row)
    return shard.parts.written()

  def reload(self) -> None:
    """Reads what others have changed meanwhile, if anything."""
    if self.changed():
      self._read()

  def changed(self) -> bool:
    """Whether others have changed the folder since it was read."""
    return stamp(self.folder) != self._stamp

  def holds(self, content: str) -> bool:
    """Whether a video is of a file of this content."""
    return bool(self.find('content', [content]))

  def add(
    self, videos: Iterable[IndexedVideo], *, replaced: Iterable[str] = ()
  ) -> None:
    """Adds videos, all or none; on the disk when it returns.

    Args:
      videos: to add.
      replaced: names of videos that they take the place of.

    Raises:
      ValueError: a name is there already or given twice, or codes of another
        shape; nothing is added.
    """
    videos = list(videos)
    if not videos:
      return
    with self._writing() as manifest:
      names = [video.name for video in videos]
      twice = [
        n for n, times in collections.Counter(names).items() if times > 1
      ]
      replaced = self.find('name', list(replaced)).keys()
      known = self.find('name', names)
      there = [n for n in names if n in known and n not in replaced]
      if twice or there:
        raise ValueError(
          f'{self.folder} has {there[0]!r} already; remove it first'
          if there
          else f'two videos are named {twice[0]!r}'
        )
      shape = manifest['shape'] or describe(videos[0])
      for video in videos:
        check(video, shape)
      first = manifest['next_id']
      record = self._write(
        manifest,
        (video._replace(id=first + i) for i, video in enumerate(videos)),
      )
      manifest['next_id'] = first + len(videos)
      manifest['shape'] = shape
      self._mark(manifest, replaced)
      manifest['segments'].append(record)
    for records in self._alike():
      with self._writing() as manifest:
        self._rewrite(manifest, records)

  def remove(self, names: Iterable[str]) -> None:
    """Marks videos as removed; rewrites a shard that has lost many.

    Raises:
      ValueError: a name is not there; nothing is removed.
    """
    names = set(names)
    with self._writing() as manifest:
      self._mark(manifest, names)
    self.compact(STALE)

  def follow(
    self, moved: Mapping[str, tuple[str, str, Identity | None]]
  ) -> None:
    """Notes where files are now; their videos stay as they were encoded.

    Args:
      moved: by the name of a video its new name, path and file.

    Raises:
      ValueError: a name is not there, or a new one is another video's; nothing
        is changed.
    """
    with self._writing() as manifest:
      rows = self._found(moved)
      ids = self.numbers(list(rows.values()))['id'].tolist()
      ids = dict(zip(rows, ids, strict=True))
      names = [name for name, _, _ in moved.values()]
      others = self.find('name', names).keys() - moved.keys()
      if others or len(set(names)) < len(names):
        raise ValueError(f'{self.folder}: two videos would have one name')
      for name, (new, path, file) in moved.items():
        manifest['moved'][str(ids[name])] = [new, path, as_stored(file)]

  def _mark(self, manifest: dict[str, Any], names: Iterable[str]) -> None:
    """Marks videos as removed, by the names that their shards know."""
    removed: dict[int, list[str]] = collections.defaultdict(list)
    for row in self._found(names).values():
      number, within = self._rows.place(row)
      shard = self._shards[number]
      removed[number].append(shard.entry(within)[0])
      manifest['moved'].pop(str(shard.table['id'][within]), None)
    for number, stored in removed.items():
      segment = manifest['segments'][number]
      segment['removed'] = sorted([*segment['removed'], *stored])

  def _found(self, names: Iterable[str]) -> dict[str, int]:
    """Rows by name; raises ValueError if there is none of a name."""
    names = list(names)
    found = self.find('name', names)
    for name in names:
      if name not in found:
        raise ValueError(f'{self.folder} has no video {name!r}')
    return found

  def compact(self, share: float = 0) -> None:
    """Rewrites the shards that have lost at least this share of videos."""
    stale = [
      record['name']
      for record in self.manifest['segments']
      if record['removed']
      and len(record['removed']) >= share * record['videos']
    ]
    if stale:
      with self._writing() as manifest:
        self._rewrite(manifest, stale)

  def _read(self) -> None:
    """Opens what the manifest names, again if it was replaced meanwhile."""
    for last in (False, False, True):
      self._stamp = stamp(self.folder)
      manifest = read_manifest(self.folder)
      try:
        shards = [self._open(record) for record in manifest['segments']]
        break
      except FileNotFoundError as error:
        if last:
          raise ValueError(
            f'{self.folder} is damaged: {error.filename} is missing'
          ) from error
    self._opened = {shard.name: shard for shard in shards}
    self._set(manifest, shards)

  @contextlib.contextmanager
  def _writing(self) -> Iterator[dict[str, Any]]:
    """The manifest to change, alone; what it then says is put in its place."""
    with files.locked(self.folder / 'lock'):
      self._read()
      manifest = copy.deepcopy(self.manifest)
      self._sweep()
      yield manifest
      write_manifest(self.folder, manifest)
      self._read()
      self._sweep()

  def _sweep(self) -> None:
    """Deletes what no manifest names: replaced, or left by a killed writer."""
    named = {record['name'] for record in self.manifest['segments']}
    for path in (self.folder / 'segments').iterdir():
      if path.name not in named:
        with claimed(path) as unread:
          if unread:
            shutil.rmtree(path)

  def _write(
    self, manifest: dict[str, Any], videos: Iterable[IndexedVideo]
  ) -> dict[str, Any]:
    """A new shard, whole; the manifest does not name it yet."""
    manifest['next_segment'] += 1
    path = self.folder / 'segments' / f'{manifest["next_segment"]:06d}'
    with files.filling(path) as beside:
      record = write_shard(beside, videos)
    files.sync(path.parent)
    return {**record, 'name': path.name}

  def _open(self, record: Mapping[str, Any]) -> Shard:
    """A shard; it never changes, so it is opened once."""
    if record['name'] in self._opened:
      return self._opened[record['name']]
    folder = self.folder / 'segments' / record['name']
    return Shard(LocalParts(folder, record['files']), record)

  def _alike(self) -> list[list[str]]:
    """Names of shards to merge: a video is rewritten about four times."""
    sizes = collections.defaultdict(list)
    for record in self.manifest['segments']:
      if record['videos'] < FULL:
        sizes[record['videos'].bit_length() // 3].append(record['name'])
    return [names for names in sizes.values() if len(names) >= MERGED]

  def _rewrite(self, manifest: dict[str, Any], names: Sequence[str]) -> None:
    """Puts what is left of some shards into one new one."""
    parts = [
      (shard, self._rows.alive(number).tolist())
      for number, shard in enumerate(self._shards)
      if shard.name in names
    ]
    kept = [r for r in manifest['segments'] if r['name'] not in names]
    if any(alive for _, alive in parts):
      kept.append(self._write(manifest, moved_videos(parts, manifest['moved'])))
    manifest['segments'] = kept
