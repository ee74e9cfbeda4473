"""What the commands around an index share: encoding videos, adding them."""

import argparse
import io
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tqdm
from PIL import Image

from deltax.data.video.files import Video, read_chunks
from deltax.progress import wants_bar
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.segment import IndexedVideo
from deltax.retrieval.search.fine import FineSearch
from deltax.retrieval.search.searcher import check_model
from deltax.retrieval.system import System, encode
from deltax.systems import folder as retrieval_system

CHUNK = 64  # frames read at once
COMMIT = 8  # videos that are put on the disk together
PICTURE, QUALITY = 96, 70  # pixels of the shorter side; of JPEG
EVERY, FEWEST = 5, 4  # frames for one picture that is kept; of them a video


class Read(NamedTuple):
  """A video, read and put into regions.

  Attributes:
    regions: float32 `[T, R, D]`.
    pictures: T small JPEG files.
    times: float64 `[T]`, seconds.
    duration: seconds.
    damaged: frames that the decoder calls corrupt.
  """

  regions: np.ndarray
  pictures: list[bytes]
  times: np.ndarray
  duration: float
  damaged: int


class Added(NamedTuple):
  """What became of videos that were to be added.

  Attributes:
    done: how many are in the index now and were not.
    there: how many were there already.
    failed: why the others are not, by name.
    damaged: corrupt frames of those done, by name.
  """

  done: int
  there: int
  failed: dict[str, str]
  damaged: dict[str, int]


def add_videos_argument(parser: argparse.ArgumentParser) -> None:
  """Adds the argument of the videos."""
  parser.add_argument(
    'videos',
    nargs='+',
    type=pathlib.Path,
    help='files, or folders of them; their names are those below the folder',
  )


def add_model(parser: argparse.ArgumentParser, default: str) -> None:
  """Adds the argument that says which model to use."""
  parser.add_argument(
    '--model',
    type=pathlib.Path,
    help=f'folder that `deltax bundle` wrote; default: {default}',
  )


def open_index(
  folder: pathlib.Path, model: pathlib.Path | None
) -> tuple[Index, System]:
  """An index and its model, or the one that is given instead.

  Raises:
    FileNotFoundError: there is no index, or the model is no longer there.
    ValueError: the model is not the one that the index was built with.
  """
  index = Index(folder)
  system = retrieval_system.load_system(model or index.manifest['model'])
  check_model(index, system)
  return index, system


def read(system: System, path: pathlib.Path) -> Read:
  """Reads a video in bounded memory.

  Raises:
    ValueError: it cannot be read.
    FileNotFoundError: it is not there.
  """
  regions, pictures, times = [], [], []
  last: Video | None = None
  for last in read_chunks(path, CHUNK):
    regions.append(np.asarray(system.extract(last.frames), np.float32))
    pictures += map(picture, last.frames)
    times.append(last.times)
  return Read(
    np.concatenate(regions),
    pictures,
    np.concatenate(times),
    last.duration,
    last.damaged,
  )


def picture(frame: np.ndarray) -> bytes:
  """A small JPEG file of a uint8 `[H, W, 3]` RGB frame."""
  height, width = frame.shape[:2]
  scale = PICTURE / min(height, width)
  size = max(1, round(scale * width)), max(1, round(scale * height))
  file = io.BytesIO()
  Image.fromarray(frame).resize(size, Image.Resampling.BOX).save(
    file, 'jpeg', quality=QUALITY
  )
  return file.getvalue()


def key_frames(count: int) -> list[int]:
  """Numbers of the frames, of `count`, whose pictures are kept.

  >>> key_frames(3), key_frames(12), key_frames(60)[:4]
  ([0, 1, 2], [0, 3, 6, 9], [0, 5, 10, 15])
  """
  kept = min(count, max(FEWEST, math.ceil(count / EVERY)))
  return [n * count // kept for n in range(kept)]


def encoded(
  system: System,
  fine: FineSearch,
  name: str,
  path: pathlib.Path,
  *,
  background: bool,
) -> tuple[IndexedVideo, int]:
  """What an index keeps of a file, and how many frames of it are damaged."""
  video = read(system, path)
  codes = encode(system, video.regions)
  return IndexedVideo(
    name,
    str(path.resolve()),
    codes.coarse,
    codes.fine,
    video.times,
    float(codes.selector),
    fine.own(codes.fine).back,
    video.duration,
    {n: video.pictures[n] for n in key_frames(len(video.pictures))},
    background,
  ), video.damaged


def add_videos(
  index: Index,
  system: System,
  videos: Mapping[str, pathlib.Path],
  *,
  background: bool = False,
) -> Added:
  """Adds videos; those that are done stay, whatever happens to the others.

  Args:
    index: to add to.
    system: its model.
    videos: files by name. One that is there already is left as it is; one that
      cannot be read, or whose name another file has, is told and left out.
    background: whether they only serve to normalise scores.
  """
  fine = FineSearch(system.fine)
  there, failed, damaged, waiting, done = 0, {}, {}, [], 0
  bar = tqdm.tqdm(videos.items(), disable=not wants_bar())
  try:
    for name, path in bar:
      if name in index:
        if index.paths[index.row(name)] == str(path.resolve()):
          there += 1
        else:
          failed[name] = f'{path}: there is another video of this name'
        continue
      try:
        video, corrupt = encoded(
          system, fine, name, path, background=background
        )
      except (ValueError, OSError) as error:
        failed[name] = str(error)
        continue
      if corrupt:
        damaged[name] = corrupt
      waiting.append(video)
      done += 1
      if len(waiting) == COMMIT:
        batch, waiting = waiting, []
        index.add(batch)
  finally:
    index.add(waiting)
  return Added(done, there, failed, damaged)


def tell(index: Index, added: Added) -> Iterable[str]:
  """Lines that say what became of videos."""
  yield (
    f'{index.folder}: {len(index):,} videos, {added.done:,} of them new; '
    f'{added.there:,} were there already'
  )
  for name, frames in added.damaged.items():
    yield f'{name}: {frames} damaged frames'
  for name, reason in added.failed.items():
    yield f'left out: {name}: {reason}'
  if added.failed:
    yield f'{len(added.failed):,} left out'
