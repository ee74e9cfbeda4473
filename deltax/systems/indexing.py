"""Puts videos into an index: files, or features that are there already."""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Self

import numpy as np
import tqdm

from deltax.data.video.find import find_videos
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import check_free, is_index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search.coarse_search import KINDS
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.search.searcher import check_model
from deltax.retrieval.system import System, encode
from deltax.systems import folder as system_folder
from deltax.systems.reading import ReadVideo, pictured_frames, read_video

COMMIT = 8  # videos that are put on the disk together
NAMED = 3  # videos whose failure is told where all have failed


class Added(NamedTuple):
  """What became of videos that were to be added.

  Attributes:
    done: how many are in the index now and were not.
    there: how many were there already.
    failed: why the others are not, by name.
    damaged: corrupt or lost frames of those done, by name.
    resized: how often the size of pictures changes in those done, by name.
    videos: how many are in the index now.
  """

  done: int
  there: int
  failed: dict[str, str]
  damaged: dict[str, int]
  resized: dict[str, int]
  videos: int


def index_files(
  folder: str | os.PathLike,
  files: Iterable[str | os.PathLike],
  *,
  model: System | str | os.PathLike | None = None,
  coarse_search: str = 'exact',
  background: bool = False,
  progress: bool = False,
) -> Added:
  """Indexes video files, as `deltax index` does: makes an index, or goes on.

  Every few videos are on the disk for good: if this is stopped, call it again.

  Args:
    folder: of the index, new or begun.
    files: video files, or folders of them; a video's name is the path below the
      folder that was given, or the file's own name.
    model: what encodes the videos, a system or the folder of one. None: that of
      an index that is begun; for a new one, the one that needs no training.
    coarse_search: how coarse vectors of a new index are searched, one of
      `deltax.retrieval.search.coarse_search.KINDS`.
    background: whether the videos only serve to normalise scores, and are never
      found.
    progress: whether to draw a bar.

  Returns:
    What became of the files. Those that cannot be read, or whose name another
    video has, are left out, and told.

  Raises:
    FileNotFoundError: there is no such file, or no model.
    ValueError: none of the files could be indexed, and none was there already;
      a new index is then not made. There are no videos, or two of one name.
      `folder` is something else, or an index of another model. No coarse search
      has that name.
  """
  if coarse_search not in KINDS:
    raise ValueError(
      f'no coarse search {coarse_search!r}; known: {", ".join(KINDS)}'
    )
  folder, videos = pathlib.Path(folder), find_videos(files)
  options = {'background': background, 'progress': progress}
  if is_index(folder):
    index, system = open_index(folder, model)
    return add_videos(index, system, videos, **options)
  check_free(folder)
  system, place = _open_model(model)

  def create():
    return _create(folder, system, place, coarse_search)

  return _add(None, create, system, videos, **options)


def index_features(
  folder: str | os.PathLike,
  features: Mapping[str, np.ndarray],
  system: System,
) -> Index:
  """Makes an index of videos whose features are there already.

  All their codes are in memory before the first is on the disk.

  Args:
    folder: of the index, new.
    features: float32 `[T, R, D]` regions of each video by its name, of one
      frame a second, vectors of length 1.
    system: what encodes them; its extractor is not asked.

  Returns:
    The index.

  Raises:
    ValueError: `folder` is there already, regions of another shape or with NaN,
      or no videos; nothing is made.
  """
  if not features:
    raise ValueError('no features to index: expected regions by name')
  check_free(pathlib.Path(folder))
  fine, encoded = FineSearch(system.fine), []
  for name, regions in features.items():
    regions = np.asarray(regions, np.float32)
    times = np.arange(len(regions), dtype=float)
    video = ReadVideo(regions, [], times, float(len(regions)), 0)
    encoded.append(_encoded(system, fine, video)._replace(name=name))
  index = _create(folder, system, None, 'exact')
  index.add(encoded)
  return index


def open_index(
  folder: str | os.PathLike,
  model: System | str | os.PathLike | None = None,
) -> tuple[Index, System]:
  """Opens an index and the model that it was built with.

  Args:
    folder: of the index.
    model: a system, or the folder of one, where it is not where it was.

  Raises:
    FileNotFoundError: there is no index, or the model is no longer there.
    ValueError: the model is not the one that the index was built with.
  """
  index = Index(folder)
  system, _ = _open_model(model or index.manifest['model'])
  check_model(index, system)
  return index, system


def add_videos(
  index: Index,
  system: System,
  videos: Mapping[str, pathlib.Path],
  *,
  background: bool = False,
  progress: bool = False,
) -> Added:
  """Adds videos; those that are done stay, whatever happens to the others.

  Args:
    index: to add to.
    system: its model.
    videos: files by name. One that is there already is left as it is; one that
      cannot be read, or whose name another file has, is told and left out.
    background: whether they only serve to normalise scores.
    progress: whether to draw a bar.

  Returns:
    What became of them.

  Raises:
    ValueError: none could be added, and none was there already.
  """
  return _add(
    index,
    lambda: index,
    system,
    videos,
    background=background,
    progress=progress,
  )


class _Batches:
  """Puts encoded videos on the disk, a few at a time.

  The last ones too when it is left by an error, so that work that is done is
  never lost. The index is opened with the first videos: where there are none, a
  new one is not made.
  """

  def __init__(self, open_index: Callable[[], Index]):
    self._open_index = open_index
    self._waiting: list[IndexedVideo] = []
    self.index: Index | None = None

  def __enter__(self) -> Self:
    return self

  def add(self, video: IndexedVideo) -> None:
    self._waiting.append(video)
    if len(self._waiting) == COMMIT:
      self._write()

  def __exit__(self, *error) -> None:
    if self._waiting:
      self._write()

  def _write(self) -> None:
    # Forgotten first: videos that were refused would be so again on leaving.
    batch, self._waiting = self._waiting, []
    self.index = self.index or self._open_index()
    self.index.add(batch)


def _add(
  known: Index | None,
  open_index: Callable[[], Index],
  system: System,
  videos: Mapping[str, pathlib.Path],
  *,
  background: bool,
  progress: bool,
) -> Added:
  """As `add_videos`; `known` is the index as it is, None for a new one."""
  fine = FineSearch(system.fine)
  done, there, failed, damaged, resized = 0, 0, {}, {}, {}
  with _Batches(open_index) as batches:
    for name, path in tqdm.tqdm(videos.items(), disable=not progress):
      if known is not None and name in known:
        if known.paths[known.row(name)] == str(path.resolve()):
          there += 1
        else:
          failed[name] = f'{path}: there is another video of this name'
        continue
      try:
        video = read_video(system, path)
        encoded = _encoded(system, fine, video)
      except (ValueError, OSError) as error:
        failed[name] = str(error)
        continue
      if video.damaged:
        damaged[name] = video.damaged
      if video.resized:
        resized[name] = video.resized
      batches.add(
        encoded._replace(
          name=name, path=str(path.resolve()), background=background
        )
      )
      done += 1
  if failed and not done and not there:
    raise ValueError(_all_failed(failed))
  index = batches.index or known
  return Added(done, there, failed, damaged, resized, len(index))


def _all_failed(failed: Mapping[str, str]) -> str:
  told = [f'{name}: {reason}' for name, reason in failed.items()]
  more = [f'and {len(told) - NAMED:,} more'] if len(told) > NAMED else []
  return f'no video could be added: {"; ".join([*told[:NAMED], *more])}'


def _encoded(
  system: System, fine: FineSearch, video: ReadVideo
) -> IndexedVideo:
  """What an index keeps of a video, without a name yet."""
  codes = encode(system, video.regions)
  kept = pictured_frames(len(video.pictures))
  return IndexedVideo(
    name='',
    path='',
    coarse=codes.coarse,
    fine=codes.fine,
    times=video.times,
    selector=float(codes.selector),
    own=fine.with_itself(codes.fine).back,
    duration=video.duration,
    pictures={n: video.pictures[n] for n in kept},
  )


def _open_model(
  model: System | str | os.PathLike | None,
) -> tuple[System, str | None]:
  """A system, and the place that a new index remembers it by."""
  if isinstance(model, System):
    return model, None
  place = model and str(pathlib.Path(model).resolve())
  return system_folder.open_system(model), place


def _create(folder, system, place, coarse_search) -> Index:
  return Index.create(
    folder,
    fingerprint=system.fingerprint,
    description=system.description,
    model=place,
    coarse_search=coarse_search,
  )
