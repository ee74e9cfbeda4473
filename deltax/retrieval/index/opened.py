"""Reads an index: it costs what is asked for, however many videos there are."""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltax.identity import Identity, state_of
from deltax.retrieval.index.moved import Moved
from deltax.retrieval.index.open_shard import Shard
from deltax.retrieval.index.rows import Rows
from deltax.retrieval.index.shard import ROW


class Block(NamedTuple):
  """The coarse vectors of a shard.

  Attributes:
    rows: int64 `[N]`, of the index; -1 for what is removed.
    ids: int64 `[N]`.
    wholes: float32 `[N, E]`, mapped.
    counts: int64 `[N]`, how many clips each video has.
    clips: float16 `[M, E]`, of all videos one after the other, mapped.
  """

  rows: np.ndarray
  ids: np.ndarray
  wholes: np.ndarray
  counts: np.ndarray
  clips: np.ndarray


class Column(Sequence):
  """What all videos have one of: read row by row, or all one after the other.

  Args:
    count: how many there are.
    one: gives that of a row.
    every: gives all, in the order of rows.
  """

  def __init__(
    self,
    count: int,
    one: Callable[[int], Any],
    every: Callable[[], Iterator[Any]],
  ):
    self._count, self._one, self._every = count, one, every

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, row):
    if isinstance(row, slice):
      return [self._one(n) for n in range(*row.indices(self._count))]
    return self._one(row + self._count if row < 0 else row)

  def __iter__(self) -> Iterator[Any]:
    return self._every()


class OpenIndex:
  """Videos of shards that are open; rows are those not removed.

  Attributes:
    folder: where it lies.
    manifest: what the folder says of itself.
  """

  folder: Any
  manifest: dict[str, Any]

  def _set(self, manifest: dict[str, Any], shards: Sequence[Shard]) -> None:
    """Begins to read shards that a manifest names."""
    self.manifest, self._shards = manifest, list(shards)
    self._rows = Rows(self._shards, manifest['segments'])
    self._moved = Moved(manifest['moved'])
    self.__dict__.pop('table', None)

  def __len__(self) -> int:
    return len(self._rows)

  def __contains__(self, name: str) -> bool:
    return bool(self.find('name', [name]))

  @property
  def fingerprint(self) -> str:
    """Of the model that encoded the videos."""
    return self.manifest['fingerprint']

  @property
  def videos_digest(self) -> str:
    """Another of any other videos, whatever their segments are called."""
    records = self.manifest['segments']
    files = [record['files'] for record in records]
    held = [
      [record['name'], record['removed'], own['videos.npy'], own['coarse.npy']]
      for record, own in zip(records, files, strict=True)
    ]
    return hashlib.blake2b(json.dumps(held).encode()).hexdigest()

  @property
  def names(self) -> Sequence[str]:
    """N names."""
    return self._places(0)

  @property
  def paths(self) -> Sequence[str]:
    """N places where the files were."""
    return self._places(1)

  @property
  def files(self) -> Sequence[Identity | None]:
    """N identities of the files, None where one is not known."""
    return Column(
      len(self), lambda row: self._file(*self._at(row)), self._all_files
    )

  @functools.cached_property
  def table(self) -> np.ndarray:
    """`[N]`, dtype `shard.ROW`: numbers of all videos; `numbers` has some."""
    parts = [
      shard.table[self._rows.alive(number)]
      for number, shard in enumerate(self._shards)
    ]
    return np.concatenate([np.zeros(0, ROW), *parts])

  def numbers(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """`[M]`, dtype `shard.ROW`: numbers of some videos."""
    numbers = np.zeros(len(rows), ROW)
    for number, which, within in self._rows.groups(rows):
      numbers[which] = self._shards[number].table[within]
    return numbers

  @property
  def background(self) -> np.ndarray:
    """int64, ascending: rows of videos that only normalise scores."""
    rows = [np.zeros(0, np.int64)]
    records = self.manifest['segments']
    for number, (shard, record) in enumerate(
      zip(self._shards, records, strict=True)
    ):
      if record['background'] != 0:
        among = shard.table['background'][self._rows.alive(number)]
        rows.append(self._rows.first(number) + np.flatnonzero(among))
    return np.concatenate(rows)

  def row(self, name: str) -> int:
    """The row of a video; ValueError if there is none of this name."""
    if name not in (found := self.find('name', [name])):
      raise ValueError(f'{self.folder} has no video {name!r}')
    return found[name]

  def find(self, kind: str, texts: Sequence[str]) -> dict[str, int]:
    """Rows of videos by what they have; of several the last one.

    Args:
      kind: 'name', 'path' or 'content', which is that of `Identity`.
      texts: what to look for; '' is never found.

    Returns:
      Rows, by those of the texts that a video has.

    Raises:
      ValueError: two videos have one name.
    """
    texts = [text for text in dict.fromkeys(texts) if text]
    found: dict[str, int] = {}
    pairs = self._stored(kind, texts) if texts else ()
    for text, row in itertools.chain(pairs, self._moved_to(kind, texts)):
      if kind == 'name' and text in found:
        raise ValueError(f'{self.folder} is damaged: it has a video twice')
      found[text] = row
    return found

  def rows_of(self, ids: np.ndarray) -> np.ndarray:
    """int64 `[M]`, rows of videos by their ids; -1 where there is none."""
    ids, rows = np.asarray(ids, np.int64), np.full(len(ids), -1)
    for number, shard in enumerate(self._shards):
      first, last = self.manifest['segments'][number]['ids']
      which = np.flatnonzero((ids >= first) & (ids <= last))
      if len(which):
        for place, within in zip(which, shard.rows_of(ids[which]), strict=True):
          if within >= 0:
            rows[place] = self._rows.row(number, int(within))
    return rows

  def coarse(self, rows: Sequence[int] | None = None) -> np.ndarray:
    """float32 `[N, E]` of all videos, or of some rows."""
    if rows is None:
      parts = [block.wholes[block.rows >= 0] for block in self.blocks()]
      return np.concatenate([np.zeros((0, self.size), np.float32), *parts])
    counts, vectors = self.vectors(rows)
    return vectors[np.cumsum(counts) - counts]

  def vectors(
    self, rows: Sequence[int] | np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Coarse vectors of some videos, each as a whole and then of its clips.

    Returns:
      int64 `[M]`, how many each video has, and float32 `[L, E]`.
    """
    counts, parts = np.zeros(len(rows), np.int64), []
    for number, which, within in self._rows.groups(rows):
      counts[which], vectors = self._shards[number].vectors(within)
      parts.append((which, vectors))
    places = np.cumsum(counts) - counts
    joined = np.empty((counts.sum(), self.size), np.float32)
    for which, vectors in parts:
      own = counts[which]
      within = np.arange(len(vectors)) - np.repeat(np.cumsum(own) - own, own)
      joined[np.repeat(places[which], own) + within] = vectors
    return counts, joined

  def blocks(self) -> Iterator[Block]:
    """Coarse vectors of all videos, shard by shard, compared and mapped."""
    for number, shard in enumerate(self._shards):
      rows = np.full(len(shard), -1)
      alive = self._rows.alive(number)
      rows[alive] = self._rows.first(number) + np.arange(len(alive))
      yield Block(
        rows,
        shard.table['id'],
        shard.wholes(),
        np.diff(shard.clip_places),
        shard.clip_vectors(),
      )

  @property
  def size(self) -> int:
    """E, numbers of a coarse vector; 0 of an index that never had a video."""
    return (self.manifest['shape'] or {'coarse': 0})['coarse']

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

  def state(self, name: str) -> str:
    """What became of a video's file: 'missing', 'changed' or ''."""
    return self.state_at(self.row(name))

  def state_at(self, row: int) -> str:
    """The same of a row."""
    shard, row = self._at(row)
    return state_of(self._where(shard, row)[1], self._file(shard, row))

  def check(self) -> None:
    """Reads all there is, and compares all that has a checksum.

    Raises:
      ValueError: something is damaged.
    """
    for shard in self._shards:
      shard.check()
    names = list(self.names)
    if len(set(names)) < len(names):
      raise ValueError(f'{self.folder} is damaged: it has a video twice')

  def _at(self, row: int) -> tuple[Shard, int]:
    number, row = self._rows.place(row)
    return self._shards[number], row

  def _stored(self, kind: str, texts) -> Iterator[tuple[str, int]]:
    """Texts that shards have of videos of which nothing else is noted."""
    for number, shard in enumerate(self._shards):
      for which, within in shard.find(kind, texts):
        row = self._rows.row(number, within)
        if row >= 0 and not self._moved.has(shard, within):
          yield texts[which], row

  def _moved_to(self, kind: str, texts) -> Iterator[tuple[str, int]]:
    if self.manifest['moved']:
      for text in texts:
        for row in self.rows_of(self._moved.ids(kind, text)).tolist():
          if row >= 0:
            yield text, row

  def _places(self, part: int) -> Column:
    """Names or paths."""

    def every():
      for number, shard in enumerate(self._shards):
        entries = shard.entries()
        for row in self._rows.alive(number).tolist():
          yield self._moved.where(shard, row, entries[row])[part]

    return Column(
      len(self), lambda row: self._where(*self._at(row))[part], every
    )

  def _all_files(self) -> Iterator[Identity | None]:
    for number, shard in enumerate(self._shards):
      listed = shard.files()
      for row in self._rows.alive(number).tolist():
        yield self._moved.file(shard, row, listed[row])

  def _where(self, shard: Shard, row: int) -> tuple[str, str]:
    return self._moved.where(shard, row, shard.entry(row))

  def _file(self, shard: Shard, row: int) -> Identity | None:
    return self._moved.file(shard, row, shard.file(row))
