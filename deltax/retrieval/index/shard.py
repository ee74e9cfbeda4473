"""A shard of an index: some videos, written once and never changed.

A folder of plain files, each the videos one after the other:

    videos.npy    a row of numbers for each video, `ROW`
    names.json    [name, path, [[frame, bytes of its picture], ...]]
    coarse.npy    float32 [N, E]
    clips.npy     float16 [M, E], coarse vectors of the videos' clips; since
    clip_counts.npy   int32 [N], how many each video has; both may be missing
    fine.bin      codes of all frames, [frames, R, D] or [frames, R, W]
    times.bin     float64, seconds of all frames
    pictures.bin  JPEG files
    files.json    what each file was, see `identity.py`; older shards lack it
"""

import functools
import json
import math
import pathlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from deltax import plain
from deltax.files import sync
from deltax.identity import Identity, as_stored, read_stored
from deltax.plain import COUNT, TEXT
from deltax.retrieval.index.manifest import CLIPS, FILES, KNOWN

ROW = np.dtype(
  [
    ('id', 'i8'),  # kept when the video moves to another shard
    ('frames', 'i4'),
    ('checksum', 'u4'),  # CRC-32 of the fine codes
    ('selector', 'f4'),
    ('own', 'f4'),
    ('duration', 'f8'),
    ('background', '?'),
  ]
)
_ITEM = 4  # bytes of a number of the codes
_NAMES = [(TEXT, TEXT, [(COUNT, COUNT)])]
CHECKED = ('videos.npy', 'names.json', 'times.bin')  # when opened


class IndexedVideo(NamedTuple):
  """What an index keeps of a video.

  Attributes:
    name: what results call it; once in an index.
    path: where its file was.
    coarse: float32 `[E]`.
    fine: float32 `[T, R, D]`, or binary codes uint32 `[T, R, W]`.
    times: float64 `[T]`, seconds of each frame.
    selector: the selector's number; 0 without one.
    own: the fine student's raw score of the video against itself.
    duration: seconds.
    pictures: JPEG files of some frames, by the frame's number.
    background: whether it only serves to normalise scores, and is never found.
    id: kept for good; given by the index.
    file: what the file at `path` was; None where that is not known.
    clips: `[M, E]`, coarse vectors of its clips, kept in half precision.
  """

  name: str
  path: str
  coarse: np.ndarray
  fine: np.ndarray
  times: np.ndarray
  selector: float = 0.0
  own: float = 1.0
  duration: float = 0.0
  pictures: Mapping[int, bytes] = {}
  background: bool = False
  id: int = -1
  file: Identity | None = None
  clips: np.ndarray | None = None


def write_shard(
  folder: pathlib.Path, videos: Iterable[IndexedVideo]
) -> dict[str, Any]:
  """Fills a folder; the videos pass through memory one by one.

  Args:
    folder: an empty one.
    videos: at least one; all codes of one dtype and shape.

  Returns:
    What `Shard` needs to read it, as plain values.

  Raises:
    ValueError: a video has other shapes than the first.
  """
  rows, names, known, coarse, clips, shape = [], [], [], [], [], None
  with (
    open(folder / 'fine.bin', 'wb') as fine_file,
    open(folder / 'times.bin', 'wb') as times_file,
    open(folder / 'pictures.bin', 'wb') as pictures_file,
  ):
    for video in videos:
      shape = shape or describe(video)
      check(video, shape)
      codes = np.ascontiguousarray(video.fine)
      fine_file.write(codes.data)
      times_file.write(np.asarray(video.times, np.float64).tobytes())
      pictures_file.writelines(video.pictures.values())
      sizes = [[int(t), len(jpeg)] for t, jpeg in video.pictures.items()]
      rows.append(_row(video, codes))
      names.append([video.name, video.path, sizes])
      known.append(as_stored(video.file))
      coarse.append(np.asarray(video.coarse, np.float32))
      clips.append(_clips(video))
  np.save(folder / 'videos.npy', np.array(rows, ROW))
  vectors = np.stack(coarse)
  np.save(folder / 'coarse.npy', vectors)
  of_clips = np.concatenate(clips)
  np.save(folder / 'clips.npy', of_clips)
  np.save(folder / 'clip_counts.npy', np.array([len(x) for x in clips], 'i4'))
  (folder / 'names.json').write_text(json.dumps(names), encoding='utf-8')
  (folder / KNOWN).write_text(json.dumps(known), encoding='utf-8')
  files = {}
  for path in sorted(folder.iterdir()):
    sync(path)
    files[path.name] = {'bytes': path.stat().st_size}
    if path.name in (*CHECKED, KNOWN, 'clip_counts.npy'):
      files[path.name]['checksum'] = zlib.crc32(path.read_bytes())
  sync(folder)
  files['coarse.npy']['checksum'] = zlib.crc32(vectors.data)
  files['clips.npy']['checksum'] = zlib.crc32(of_clips.data)
  return {
    'name': folder.name,
    'videos': len(rows),
    'shape': shape,
    'files': files,
    'removed': [],
  }


def describe(video: IndexedVideo) -> dict[str, Any]:
  """What all videos of an index have in common, as plain values."""
  return {
    'coarse': int(video.coarse.shape[0]),
    'fine': [int(n) for n in video.fine.shape[1:]],
    'dtype': str(video.fine.dtype),
  }


def check(video: IndexedVideo, shape: Mapping[str, Any]) -> None:
  """Raises ValueError for a video that does not fit the others."""
  if video.coarse.ndim != 1 or video.fine.ndim != 3 or not len(video.fine):
    raise ValueError(
      f'{video.name}: coarse {video.coarse.shape} and fine '
      f'{video.fine.shape}, expected [E] and [T, R, D], T at least 1'
    )
  if describe(video) != shape:
    raise ValueError(
      f'{video.name} has codes {describe(video)}, those of the index are '
      f'{dict(shape)}'
    )
  if len(video.times) != len(video.fine):
    raise ValueError(
      f'{video.name} has {len(video.times)} times for {len(video.fine)} frames'
    )
  if not np.isfinite(video.coarse).all():
    raise ValueError(f'{video.name} has NaN or infinite codes')
  clips = _clips(video)
  if clips.ndim != 2 or clips.shape[1] != len(video.coarse):
    raise ValueError(
      f'{video.name}: vectors of clips {clips.shape}, expected [M, '
      f'{len(video.coarse)}]'
    )


def _clips(video: IndexedVideo) -> np.ndarray:
  """float16 `[M, E]`; none where the video has none."""
  if video.clips is None:
    return np.zeros((0, len(video.coarse)), np.float16)
  return np.asarray(video.clips, np.float16)


def _row(video: IndexedVideo, codes: np.ndarray) -> tuple:
  return (
    video.id,
    len(codes),
    zlib.crc32(codes.data),
    video.selector,
    video.own,
    video.duration,
    video.background,
  )


class Shard:
  """Reads a shard; codes are mapped from the disk, not loaded.

  Attributes:
    table: `[N]`, dtype `ROW`.
    names: N names; `paths`: where their files were.
    coarse: float32 `[N, E]`, mapped.

  Raises:
    FileNotFoundError: the folder is gone.
    ValueError: a file is cut or has been changed.
  """

  def __init__(self, folder: pathlib.Path, record: Mapping[str, Any]):
    self.folder = folder
    for name in FILES:
      _check_size(folder / name, record['files'][name])
    for name in CHECKED:
      _check_content(folder / name, record['files'][name])
    self.table = plain.read_array(folder / 'videos.npy')
    listed = plain.read_json(folder / 'names.json', _NAMES)
    self.coarse = plain.read_array(folder / 'coarse.npy', mapped=True)
    _check_fit(folder, record, self.table, listed, self.coarse)
    self.names = [name for name, _, _ in listed]
    self.paths = [path for _, path, _ in listed]
    self._known = _read_known(folder, record)
    self._checksums = {
      name: record['files'][name]['checksum']
      for name in ('coarse.npy', CLIPS[0])
      if name in record['files']
    }
    frames, shape = self.table['frames'], record['shape']
    self._offsets = np.concatenate([[0], np.cumsum(frames, dtype=np.int64)])
    total = int(self._offsets[-1])
    self._fine = np.memmap(
      folder / 'fine.bin', shape['dtype'], 'r', shape=(total, *shape['fine'])
    )
    self._times = np.memmap(folder / 'times.bin', np.float64, 'r')
    self._pictures = [sizes for _, _, sizes in listed]
    sizes = [sum(size for _, size in sizes) for sizes in self._pictures]
    self._picture_offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    self._picture_bytes = np.zeros(0, np.uint8)
    if self._picture_offsets[-1]:  # an empty file cannot be mapped
      self._picture_bytes = np.memmap(folder / 'pictures.bin', np.uint8, 'r')
    self._sound = np.zeros(len(self.table), bool)
    self._clips, counts = _open_clips(folder, record)
    self._clip_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(int)

  @functools.cached_property
  def files(self) -> list[Identity | None]:
    """What the files were; unpacked when asked, as a search does without."""
    if self._known is None:
      return [None] * len(self.table)
    path = self.folder / KNOWN
    known = plain.check(plain.loads(self._known), [plain.ANY], path)
    if len(known) != len(self.table):
      raise ValueError(f'{path} is damaged: it has not {len(self.table)} files')
    return [read_stored(value, path) for value in known]

  def vectors(self) -> np.ndarray:
    """`coarse` after the checksums of all coarse vectors were compared."""
    for name, checksum in self._checksums.items():
      held = self.coarse if name == 'coarse.npy' else self._clips
      if zlib.crc32(held.data) != checksum:
        raise ValueError(
          f'{self.folder / name} is damaged: its checksum is another'
        )
    return self.coarse

  def fine(self, row: int) -> np.ndarray:
    """Codes of one video, checked the first time they are read."""
    codes = self._fine[self._offsets[row] : self._offsets[row + 1]]
    if not self._sound[row]:
      if zlib.crc32(codes.data) != self.table['checksum'][row]:
        raise ValueError(
          f'{self.folder / "fine.bin"}: the codes of {self.names[row]} are '
          'damaged; remove the video and add it again'
        )
      self._sound[row] = True
    return codes

  def clips(self, row: int) -> np.ndarray:
    """float16 `[M, E]`, coarse vectors of a video's clips; M may be 0."""
    first, last = self._clip_offsets[row : row + 2]
    return self._clips[first:last]

  def times(self, row: int) -> np.ndarray:
    """float64 `[T]`, seconds of each frame."""
    return np.array(self._times[self._offsets[row] : self._offsets[row + 1]])

  def pictures(self, row: int) -> dict[int, bytes]:
    """JPEG files by the number of their frame."""
    pictures, place = {}, self._picture_offsets[row]
    for frame, size in self._pictures[row]:
      pictures[frame] = self._picture_bytes[place : place + size].tobytes()
      place += size
    return pictures

  def video(self, row: int) -> IndexedVideo:
    """All that is kept of one video."""
    numbers = self.table[row]
    return IndexedVideo(
      self.names[row],
      self.paths[row],
      np.array(self.coarse[row]),
      self.fine(row),
      self.times(row),
      float(numbers['selector']),
      float(numbers['own']),
      float(numbers['duration']),
      self.pictures(row),
      bool(numbers['background']),
      int(numbers['id']),
      self.files[row],
      self.clips(row),
    )


def _read_known(folder, record) -> str | None:
  """What the files were, packed; the folder may go when others rewrite it."""
  if KNOWN not in record['files']:
    return None
  _check_size(folder / KNOWN, record['files'][KNOWN])
  _check_content(folder / KNOWN, record['files'][KNOWN])
  return (folder / KNOWN).read_text('utf-8')


def _check_fit(folder, record, table, listed, coarse) -> None:
  """Raises a ValueError where the files do not speak of the same videos."""
  count, shape = record['videos'], record['shape']
  if (table.dtype, table.shape) != (ROW, (count,)) or len(listed) != count:
    raise ValueError(f'{folder} is damaged: it has not {count} videos')
  if (coarse.dtype, coarse.shape) != (np.float32, (count, shape['coarse'])):
    raise ValueError(f'{folder / "coarse.npy"} is damaged: it has other codes')
  frames = table['frames'].astype(np.int64)
  total = int(frames.sum())
  expected = {
    'fine.bin': total * math.prod(shape['fine']) * _ITEM,
    'times.bin': total * 8,
    'pictures.bin': sum(size for _, _, sizes in listed for _, size in sizes),
  }
  for name, size in expected.items():
    if record['files'][name]['bytes'] != size or (frames < 1).any():
      raise ValueError(
        f'{folder / name} is damaged: it has {record["files"][name]["bytes"]} '
        f'bytes, the videos have {size} there'
      )


def _open_clips(folder, record) -> tuple[np.ndarray, np.ndarray]:
  """Vectors of all clips, and how many are each video's."""
  size, videos = record['shape']['coarse'], record['videos']
  if CLIPS[0] not in record['files']:
    return np.zeros((0, size), np.float16), np.zeros(videos, np.int32)
  for name in CLIPS:
    plain.check(
      record['files'].get(name), {'bytes': COUNT, 'checksum': COUNT}, folder
    )
    _check_size(folder / name, record['files'][name])
  _check_content(folder / CLIPS[1], record['files'][CLIPS[1]])
  clips = plain.read_array(folder / CLIPS[0], mapped=True)
  counts = plain.read_array(folder / CLIPS[1])
  fits = (
    (counts.dtype, counts.shape) == (np.int32, (videos,))
    and (clips.dtype, clips.shape) == (np.float16, (int(counts.sum()), size))
    and (counts >= 0).all()
  )
  if not fits:
    raise ValueError(f'{folder / CLIPS[0]} is damaged: it has other vectors')
  return clips, counts


def _check_size(path: pathlib.Path, file: Mapping[str, int]) -> None:
  size = path.stat().st_size
  if size != file['bytes']:
    raise ValueError(f'{path} has {size} bytes, expected {file["bytes"]}')


def _check_content(path: pathlib.Path, file: Mapping[str, int]) -> None:
  if zlib.crc32(path.read_bytes()) != file['checksum']:
    raise ValueError(f'{path} is damaged: its checksum is another')
