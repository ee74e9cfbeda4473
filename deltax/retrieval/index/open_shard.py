"""Reads a shard: what is asked for, compared with its checksum the first time.

Opening one reads nothing. Tables of numbers are read, and compared, when the
first video of the shard is asked for; texts, vectors and codes when they are.
A shard of an older library has no checksum of a single video's vectors and
times, and no table of places: there, all of a file is compared at its first
use, and all texts are read.
"""

import functools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltax import plain
from deltax.identity import Identity, read_stored
from deltax.plain import COUNT, TEXT
from deltax.retrieval.index import lookup
from deltax.retrieval.index.checked import CheckedFiles
from deltax.retrieval.index.manifest import CLIPS, KNOWN, LOOKUP, PLACES
from deltax.retrieval.index.parts import Parts
from deltax.retrieval.index.shard import (
  ITEM,
  PLACE,
  ROW,
  IndexedVideo,
  video_checksum,
)

_ENTRY = (TEXT, TEXT, [(COUNT, COUNT)])


class Shard:
  """A shard of an index.

  Args:
    parts: its bytes.
    record: what `write_shard` returned, or an older library.

  Attributes:
    name: of the segment.
    parts: as given.

  Raises:
    ValueError: here or later, of a file that is cut or has been changed.
  """

  def __init__(self, parts: Parts, record: Mapping[str, Any]):
    self.parts, self.name, self._record = parts, record['name'], record
    self._files = CheckedFiles(parts, record['files'])
    self._sound: tuple[set[int], set[int]] = set(), set()  # vectors, codes
    # Before any memory is made for so many.
    stored = record['files']['videos.npy']['bytes']
    if not 0 < len(self) <= stored // ROW.itemsize:
      raise self._of_others()

  def __len__(self) -> int:
    return self._record['videos']

  @property
  def has_places(self) -> bool:
    """Whether its texts are found without reading all of them."""
    return PLACES in self._files.sizes

  @functools.cached_property
  def table(self) -> np.ndarray:
    """`[N]`, dtype `ROW`: numbers of each video."""
    table = self._files.array('videos.npy')
    if (table.dtype, table.shape) != (ROW, (len(self),)):
      raise self._of_others()
    self._check_total('fine.bin', table['frames'], self._frame_size)
    self._check_total('times.bin', table['frames'], 8)
    return table

  @functools.cached_property
  def places(self) -> np.ndarray:
    """`[N + 1]`, dtype `PLACE`: where each video's texts and pictures begin."""
    if self.has_places:
      places = self._files.array(PLACES)
      if (places.dtype, places.shape) != (PLACE, (len(self) + 1,)):
        raise ValueError(
          f'{self._files.path(PLACES)} is damaged: it has other places'
        )
    else:
      places = np.zeros(len(self) + 1, PLACE)
      sizes = [sum(n for _, n in pictures) for *_, pictures in self.entries()]
      places['picture'][1:] = np.cumsum(sizes, dtype=np.int64)
    self._check_total('pictures.bin', np.diff(places['picture']), 1, least=0)
    return places

  @functools.cached_property
  def clip_places(self) -> np.ndarray:
    """int64 `[N + 1]`, which clip is the first of each video."""
    places = np.zeros(len(self) + 1, np.int64)
    if CLIPS[0] in self._files.sizes:
      counts = self._files.array(CLIPS[1])
      if (counts.dtype, counts.shape) != (np.int32, (len(self),)):
        raise ValueError(
          f'{self._files.path(CLIPS[1])} is damaged: of other videos'
        )
      if (counts < 0).any():
        raise ValueError(f'{self._files.path(CLIPS[1])} is damaged: below 0')
      places[1:] = np.cumsum(counts, dtype=np.int64)
    return places

  def entries(self) -> list[Any]:
    """Of all videos name, path and `[frame, bytes]` of each picture."""
    if self.has_places:
      return self._entries()
    return self._old_entries

  def entry(self, row: int) -> Sequence[Any]:
    """Of one video name, path and `[frame, bytes]` of each picture."""
    if not self.has_places:
      return self._old_entries[row]
    place = self.places['name'][row : row + 2].tolist()
    return self._files.entry('names.json', place, _ENTRY)

  def file(self, row: int) -> Identity | None:
    """What the file of a video was; None where that is not known."""
    if KNOWN not in self._files.sizes:
      return None
    if not self.has_places:
      return self._old_known[row]
    place = self.places['file'][row : row + 2].tolist()
    value = self._files.entry(KNOWN, place, plain.ANY)
    return read_stored(value, self._files.path(KNOWN))

  def files(self) -> list[Identity | None]:
    """What the files of all videos were."""
    if KNOWN not in self._files.sizes:
      return [None] * len(self)
    return self._known() if self.has_places else self._old_known

  def find(self, kind: str, texts: Sequence[str]) -> list[tuple[int, int]]:
    """Videos by a text that was noted when the shard was written.

    Args:
      kind: one of `lookup.KINDS`.
      texts: what to look for, none of them ''.

    Returns:
      Which of the texts, and the row of a video that has it.
    """
    table = self._lookup[lookup.KINDS.index(kind)]
    found = zip(*lookup.find(table, lookup.digests(texts)), strict=True)
    pairs = [(int(which), int(row)) for which, row in found]
    return [(n, row) for n, row in pairs if self._text(kind, row) == texts[n]]

  def rows_of(self, ids: np.ndarray) -> np.ndarray:
    """int64 `[M]`, rows of videos by their ids; -1 where there is none."""
    order, known = self._ids
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[places] == ids, order[places], -1)

  def wholes(self) -> np.ndarray:
    """float32 `[N, E]`, coarse vectors of the videos, mapped and compared."""
    vectors, _ = self._mapped()
    self._files.compare('coarse.npy', vectors)
    return vectors

  def clip_vectors(self) -> np.ndarray:
    """float16 `[M, E]`, of the clips of all videos, mapped and compared."""
    _, vectors = self._mapped()
    if CLIPS[0] in self._files.sizes:
      self._files.compare(CLIPS[0], vectors)
    return vectors

  def vectors(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coarse vectors of some videos, each as a whole and then of its clips.

    Returns:
      int64 `[M]`, how many each video has, and float32 `[L, E]`.
    """
    wholes, clips = self._mapped()
    if not self._files.compared >= {'coarse.npy', CLIPS[0]}:
      self._check_rows(rows, wholes, clips)
    first, counts = self.clip_places[rows], np.diff(self.clip_places)[rows]
    ends = np.cumsum(counts)
    places = np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)
    vectors = np.empty((len(rows) + len(places), clips.shape[1]), np.float32)
    is_clip = np.ones(len(vectors), bool)
    is_clip[ends - counts + np.arange(len(rows))] = False
    vectors[~is_clip], vectors[is_clip] = wholes[rows], clips[places]
    return 1 + counts, vectors

  def clips(self, row: int) -> np.ndarray:
    """float16 `[M, E]`, coarse vectors of a video's clips; M may be 0."""
    wholes, clips = self._mapped()
    self._check_rows([row], wholes, clips)
    first, last = self.clip_places[row : row + 2]
    return clips[first:last]

  def times(self, row: int) -> np.ndarray:
    """float64 `[T]`, seconds of each frame."""
    self._check_rows([row], *self._mapped())
    return self._read_times(row)

  def fine(self, row: int) -> np.ndarray:
    """Codes of one video."""
    shape = self._record['shape']
    first, last = self._frames[row : row + 2].tolist()
    size = self._frame_size
    codes = self.parts.read('fine.bin', first * size, last * size)
    if row not in self._sound[1]:
      if zlib.crc32(codes) != self.table['checksum'][row]:
        raise ValueError(
          f'{self._files.path("fine.bin")}: the codes of '
          f'{self.entry(row)[0]} are damaged; remove the video and add it again'
        )
      self._sound[1].add(row)
    return codes.view(shape['dtype']).reshape(last - first, *shape['fine'])

  def pictures(self, row: int) -> dict[int, bytes]:
    """JPEG files by the number of their frame."""
    place, end = self.places['picture'][row : row + 2].tolist()
    pictures, sizes = {}, self.entry(row)[2]
    if sum(size for _, size in sizes) != end - place:
      raise ValueError(
        f'{self._files.path("pictures.bin")} is damaged: it has other pictures'
      )
    for frame, size in sizes:
      part = self.parts.read('pictures.bin', place, place + size)
      pictures[frame] = part.tobytes()
      place += size
    return pictures

  def video(self, row: int) -> IndexedVideo:
    """All that is kept of one video."""
    name, path, _ = self.entry(row)
    numbers = self.table[row]
    return IndexedVideo(
      name,
      path,
      self._mapped()[0][row],  # compared with its times
      self.fine(row),
      self.times(row),
      float(numbers['selector']),
      float(numbers['own']),
      float(numbers['duration']),
      self.pictures(row),
      bool(numbers['background']),
      int(numbers['id']),
      self.file(row),
      self.clips(row),
    )

  def check(self) -> None:
    """Compares every byte that has a checksum."""
    self.wholes(), self.clip_vectors(), self.entries(), self.files()
    self._files.content('times.bin')
    _ = self._lookup
    for row in range(len(self)):
      self.fine(row), self.times(row), self.pictures(row)

  @functools.cached_property
  def _lookup(self) -> np.ndarray:
    if LOOKUP in self._files.sizes:
      table = self._files.array(LOOKUP)
      shape = len(lookup.KINDS), 2, len(self)
      if (table.dtype, table.shape) != (np.uint64, shape) or (
        table[:, 1] >= len(self)
      ).any():
        raise ValueError(
          f'{self._files.path(LOOKUP)} is damaged: of other videos'
        )
      return table
    contents = [file.content if file else '' for file in self.files()]
    names, paths = zip(*(entry[:2] for entry in self.entries()), strict=True)
    return lookup.make_lookup((names, paths, contents))

  @functools.cached_property
  def _ids(self) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of ids, and these."""
    order = np.argsort(self.table['id'], kind='stable')
    return order, self.table['id'][order]

  @functools.cached_property
  def _frames(self) -> np.ndarray:
    """int64 `[N + 1]`, which frame is the first of each video."""
    frames = np.cumsum(self.table['frames'], dtype=np.int64)
    return np.concatenate([[0], frames])

  @functools.cached_property
  def _old_entries(self) -> list[Any]:
    return self._entries()

  @functools.cached_property
  def _old_known(self) -> list[Identity | None]:
    return self._known()

  @property
  def _frame_size(self) -> int:
    return math.prod(self._record['shape']['fine']) * ITEM

  def _of_others(self) -> ValueError:
    return ValueError(
      f'{self._files.path("videos.npy")} is damaged: it has not {len(self)} '
      'videos'
    )

  def _text(self, kind: str, row: int) -> str:
    if kind == 'content':
      file = self.file(row)
      return file.content if file else ''
    return self.entry(row)[lookup.KINDS.index(kind)]

  def _entries(self) -> list[Any]:
    return self._files.listed('names.json', _ENTRY, len(self))

  def _known(self) -> list[Identity | None]:
    known = self._files.listed(KNOWN, plain.ANY, len(self))
    return [read_stored(value, self._files.path(KNOWN)) for value in known]

  def _mapped(self) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of all videos and of all clips, not compared."""
    size = self._record['shape']['coarse']
    wholes = self._files.vectors('coarse.npy', np.float32, (len(self), size))
    shape = int(self.clip_places[-1]), size
    if CLIPS[0] not in self._files.sizes:
      return wholes, np.zeros(shape, np.float16)
    return wholes, self._files.vectors(CLIPS[0], np.float16, shape)

  def _check_rows(self, rows, wholes, clips) -> None:
    """Compares vectors and times of videos, of each once."""
    for row in {*map(int, rows)} - self._sound[0]:
      if not self._is_sound(row, wholes, clips):
        # All of each file tells, and which one it is.
        self.wholes(), self.clip_vectors(), self._files.content('times.bin')
        if self.has_places:
          raise ValueError(
            f'{self._files.path(PLACES)} is damaged: a checksum of '
            f'{self.entry(row)[0]} is another'
          )
      self._sound[0].add(row)

  def _is_sound(self, row: int, wholes, clips) -> bool:
    if not self.has_places:
      return self._files.compared >= {'coarse.npy', CLIPS[0], 'times.bin'}
    first, last = self.clip_places[row : row + 2]
    times = self._read_times(row)
    checksum = video_checksum(wholes[row], clips[first:last], times)
    return checksum == self.places['checksum'][row]

  def _read_times(self, row: int) -> np.ndarray:
    first, last = self._frames[row : row + 2].tolist()
    part = self.parts.read('times.bin', first * 8, last * 8)
    return part.view(np.float64)

  def _check_total(self, name, counts, size, *, least=1) -> None:
    """Raises a ValueError where a file has not what the videos have there."""
    stored = self._files.sizes[name]['bytes']
    total = int(counts.sum(dtype=np.int64)) * size
    if stored != total or (counts < least).any():
      raise ValueError(
        f'{self._files.path(name)} is damaged: it has {stored} bytes, the '
        f'videos have {total} there'
      )
