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
    places.npy    `PLACE` of each video, and one more where the last one ends
    lookup.npy    rows by name, path and content, see `lookup.py`; older shards
                  lack both: all texts are read there to find one

`open_shard.py` reads it.
"""

import json
import pathlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from deltax.files import sync
from deltax.identity import Identity, as_stored
from deltax.retrieval.index.lookup import make_lookup
from deltax.retrieval.index.manifest import CLIPS, KNOWN, LOOKUP, PLACES

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
PLACE = np.dtype(
  [
    ('name', 'i8'),  # byte of names.json where its entry begins
    ('file', 'i8'),  # of files.json
    ('picture', 'i8'),  # of pictures.bin, where its first begins
    ('checksum', 'u4'),  # see `video_checksum`
  ]
)
ITEM = 4  # bytes of a number of the codes
_CHECKED = (
  *('videos.npy', 'names.json', 'times.bin', KNOWN, CLIPS[1]),
  *(PLACES, LOOKUP),
)


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
  """Fills a folder; codes and pictures pass through memory one by one.

  Args:
    folder: an empty one.
    videos: at least one; all codes of one dtype and shape.

  Returns:
    What `Shard` needs to read it, as plain values.

  Raises:
    ValueError: a video has other shapes than the first.
  """
  rows, names, known, coarse, clips, shape = [], [], [], [], [], None
  checksums, ends = [], [0]
  with (
    open(folder / 'fine.bin', 'wb') as fine_file,
    open(folder / 'times.bin', 'wb') as times_file,
    open(folder / 'pictures.bin', 'wb') as pictures_file,
  ):
    for video in videos:
      shape = shape or describe(video)
      check(video, shape)
      codes = np.ascontiguousarray(video.fine)
      times = np.asarray(video.times, np.float64)
      fine_file.write(codes.data)
      times_file.write(times.tobytes())
      pictures_file.writelines(video.pictures.values())
      sizes = [[int(t), len(jpeg)] for t, jpeg in video.pictures.items()]
      rows.append(_row(video, codes))
      names.append([video.name, video.path, sizes])
      known.append(video.file)
      coarse.append(np.asarray(video.coarse, np.float32))
      clips.append(_clips(video))
      checksums.append(video_checksum(coarse[-1], clips[-1], times))
      ends.append(pictures_file.tell())
  table, vectors, of_clips = (
    np.array(rows, ROW),
    np.stack(coarse),
    np.concatenate(clips),
  )
  places = np.zeros(len(rows) + 1, PLACE)
  places['picture'], places['checksum'][:-1] = ends, checksums
  places['name'] = _write_list(folder / 'names.json', names)
  places['file'] = _write_list(folder / KNOWN, map(as_stored, known))
  contents = [file.content if file else '' for file in known]
  texts = [name for name, *_ in names], [path for _, path, _ in names], contents
  for name, array in {
    'videos.npy': table,
    'coarse.npy': vectors,
    CLIPS[0]: of_clips,
    CLIPS[1]: np.array([len(own) for own in clips], np.int32),
    PLACES: places,
    LOOKUP: make_lookup(texts),
  }.items():
    np.save(folder / name, array)
  sums = {'coarse.npy': vectors, CLIPS[0]: of_clips}
  return {
    'name': folder.name,
    'videos': len(rows),
    'background': int(table['background'].sum()),
    'ids': [int(table['id'].min()), int(table['id'].max())],
    'shape': shape,
    'files': _sealed(folder, {n: zlib.crc32(x) for n, x in sums.items()}),
    'removed': [],
  }


def _write_list(path: pathlib.Path, values: Iterable[Any]) -> list[int]:
  """Bytes of a list in JSON where its entries begin, and where one more would.

  The text is that of `json.dumps`, which is ASCII.
  """
  entries, places = [json.dumps(value) for value in values], [1]
  for entry in entries:
    places.append(places[-1] + len(entry) + len(', '))
  path.write_text(f'[{", ".join(entries)}]', encoding='utf-8')
  return places


def _sealed(
  folder: pathlib.Path, checksums: Mapping[str, int]
) -> dict[str, dict[str, int]]:
  """Sizes and checksums of the files of a folder, which are on the disk."""
  files = {}
  for path in sorted(folder.iterdir()):
    sync(path)
    files[path.name] = {'bytes': path.stat().st_size}
    if path.name in _CHECKED:
      files[path.name]['checksum'] = zlib.crc32(path.read_bytes())
    elif path.name in checksums:
      files[path.name]['checksum'] = checksums[path.name]
  sync(folder)
  return files


def video_checksum(
  whole: np.ndarray, clips: np.ndarray, times: np.ndarray
) -> int:
  """CRC-32 of what is small of a video: its vectors and times, as stored."""
  checksum = 0
  for values in (whole, clips, times):
    checksum = zlib.crc32(np.ascontiguousarray(values), checksum)
  return checksum


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
