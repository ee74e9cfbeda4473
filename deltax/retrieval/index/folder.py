"""A folder of encoded videos that survives whatever happens to its writer.

    manifest.json      version, model, shards, what was removed
    segments/000001/   a shard, see `shard.py`
    lock               held by whoever writes

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

import numpy as np

from deltax import files
from deltax.identity import Identity, as_stored, state_of
from deltax.retrieval.index.manifest import (
  create_manifest,
  read_manifest,
  stamp,
  write_manifest,
)
from deltax.retrieval.index.moved import file_of, moved_videos, where
from deltax.retrieval.index.shard import (
  ROW,
  IndexedVideo,
  Shard,
  check,
  describe,
  write_shard,
)

FULL = 4096  # videos; a shard of so many is not merged with others
MERGED = 8  # shards of about one size are merged when there are so many
STALE = 0.25  # a shard is rewritten when this share of it is removed


class Index:
  """The videos of an index as it is on the disk; rows are those not removed.

  `deltax.systems.index_files` and `index_features` make and fill one.

  Args:
    folder: of an index that `create` made.

  Attributes:
    manifest: what the folder says of itself.
    names: N names.
    paths: N places where the files were.
    table: `[N]`, dtype `shard.ROW`: numbers of each video.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: it is damaged, or of another version.
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

  def __len__(self) -> int:
    return len(self.names)

  def __contains__(self, name: str) -> bool:
    return name in self._row_of

  @property
  def fingerprint(self) -> str:
    """Of the model that encoded the videos."""
    return self.manifest['fingerprint']

  @property
  def files(self) -> list[Identity | None]:
    """N identities of the files, None where one is not known."""
    if self._files is None:
      moved = self.manifest['moved']
      pairs = zip(self._shards, self._alive, strict=True)
      self._files = [
        file_of(part, row, moved) for part, alive in pairs for row in alive
      ]
    return self._files

  def row(self, name: str) -> int:
    """The row of a video; ValueError if there is none of this name."""
    if name not in self._row_of:
      raise ValueError(f'{self.folder} has no video {name!r}')
    return self._row_of[name]

  def coarse(self, rows: Sequence[int] | None = None) -> np.ndarray:
    """float32 `[N, E]` of all videos, or of some rows."""
    size = (self.manifest['shape'] or {'coarse': 0})['coarse']
    if rows is None:
      parts = [
        part.vectors()[alive]
        for part, alive in zip(self._shards, self._alive, strict=True)
      ]
      return np.concatenate([np.zeros((0, size), np.float32), *parts])
    places = self._places[np.asarray(rows, int)]
    vectors = np.zeros((len(places), size), np.float32)
    for number in np.unique(places[:, 0]):
      here = places[:, 0] == number
      vectors[here] = self._shards[number].coarse[places[here, 1]]
    return vectors

  def clips(self, row: int) -> np.ndarray:
    """float16 `[M, E]`, coarse vectors of a video's clips; M may be 0."""
    shard, row = self._at(row)
    return shard.clips(row)

  def fine(self, row: int) -> np.ndarray:
    """Codes of a video's frames, `[T, R, D]` float32 or `[T, R, W]` uint32."""
    shard, row = self._at(row)
    return shard.fine(row)

  def times(self, row: int) -> np.ndarray:
    """float64 `[T]`, seconds of a video's frames."""
    shard, row = self._at(row)
    return shard.times(row)

  def pictures(self, row: int) -> dict[int, bytes]:
    """JPEG files of some of a video's frames, by the frame's number."""
    shard, row = self._at(row)
    return shard.pictures(row)

  def written(self, row: int) -> int:
    """When a video was put on the disk, or later; nanoseconds since 1970."""
    shard, _ = self._at(row)
    return shard.folder.stat().st_mtime_ns

  def state(self, name: str) -> str:
    """What became of a video's file: 'missing', 'changed' or ''."""
    row = self.row(name)
    return state_of(self.paths[row], self.files[row])

  def reload(self) -> None:
    """Reads what others have changed meanwhile, if anything."""
    if self.changed():
      self._read()

  def changed(self) -> bool:
    """Whether others have changed the folder since it was read."""
    return stamp(self.folder) != self._stamp

  def holds(self, content: str) -> bool:
    """Whether a video is of a file of this content."""
    if self._contents is None:
      self._contents = {file.content for file in self.files if file}
    return content in self._contents

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
      replaced = self._row_of.keys() & set(replaced)
      there = [n for n in names if n in self and n not in replaced]
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
      ids = {name: str(self.table['id'][self.row(name)]) for name in moved}
      names = [name for name in self.names if name not in moved]
      names += [name for name, _, _ in moved.values()]
      if len(set(names)) < len(names):
        raise ValueError(f'{self.folder}: two videos would have one name')
      for name, (new, path, file) in moved.items():
        manifest['moved'][ids[name]] = [new, path, as_stored(file)]

  def _mark(self, manifest: dict[str, Any], names: Iterable[str]) -> None:
    """Marks videos as removed, by the names that their shards know."""
    for number, row in [self._places[self.row(name)] for name in names]:
      stored = self._shards[number].names[row]
      removed = manifest['segments'][number]['removed']
      manifest['segments'][number]['removed'] = sorted([*removed, stored])
      gone = str(self._shards[number].table['id'][row])
      manifest['moved'].pop(gone, None)

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

  def _at(self, row: int) -> tuple[Shard, int]:
    number, row = self._places[row]
    return self._shards[number], int(row)

  def _read(self) -> None:
    """Opens what the manifest names, again if it was replaced meanwhile."""
    for last in (False, False, True):
      self._stamp = stamp(self.folder)
      self.manifest = read_manifest(self.folder)
      try:
        self._shards = [self._open(r) for r in self.manifest['segments']]
        break
      except FileNotFoundError as error:
        if last:
          raise ValueError(
            f'{self.folder} is damaged: {error.filename} is missing'
          ) from error
    self._opened = {part.folder.name: part for part in self._shards}
    self._alive = [
      np.flatnonzero(~np.isin(part.names, record['removed']))
      if record['removed']
      else np.arange(record['videos'])
      for part, record in zip(
        self._shards, self.manifest['segments'], strict=True
      )
    ]
    pairs = list(zip(self._shards, self._alive, strict=True))
    self._places = np.concatenate(
      [
        np.zeros((0, 2), int),
        *(
          np.stack([np.full(len(alive), number), alive], 1)
          for number, alive in enumerate(self._alive)
        ),
      ]
    )
    self.table = np.concatenate(
      [np.zeros(0, ROW), *(part.table[alive] for part, alive in pairs)]
    )
    moved = self.manifest['moved']
    about = [where(part, row, moved) for part, alive in pairs for row in alive]
    self.names = [name for name, _ in about]
    self.paths = [path for _, path in about]
    self._files = self._contents = None
    self._row_of = {name: row for row, name in enumerate(self.names)}
    if len(self._row_of) != len(self.names):
      raise ValueError(f'{self.folder} is damaged: it has a video twice')

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
    folder = self.folder / 'segments' / record['name']
    return self._opened.get(record['name']) or Shard(folder, record)

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
      (part, alive)
      for part, alive in zip(self._shards, self._alive, strict=True)
      if part.folder.name in names
    ]
    kept = [r for r in manifest['segments'] if r['name'] not in names]
    for part, _ in parts:
      part.vectors()  # the others are compared video by video
    if any(len(alive) for _, alive in parts):
      kept.append(self._write(manifest, moved_videos(parts, manifest['moved'])))
    manifest['segments'] = kept
