"""Puts videos into an index: files, or features that are there already."""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from deltax.data.video.find import Found, find
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import check_free, is_index
from deltax.retrieval.index.marks import note_same
from deltax.retrieval.index.opened import OpenIndex
from deltax.retrieval.search.coarse_search import KINDS
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.search.milvus_collection import check_address
from deltax.retrieval.search.searcher import check_model
from deltax.retrieval.system import System
from deltax.systems import folder as system_folder
from deltax.systems.batches import Batches
from deltax.systems.known import LOCAL, Files, NewFile, sort_files
from deltax.systems.reading import (
  Encoded,
  ReadVideo,
  encode_video,
  read_parts,
)

NAMED = 3  # videos whose failure is told where all have failed


class Added(NamedTuple):
  """What became of videos that were to be added.

  Attributes:
    done: how many are in the index now and were not.
    there: how many were there already, at this path or at another before.
    failed: why the others are not, by name.
    damaged: corrupt or lost frames of those done, by name.
    resized: how often the size of pictures changes in those done, by name.
    videos: how many are in the index now.
    same: names of videos by the path of another file of the same content, which
      is not indexed once more.
    moved: new names by the old ones, of videos whose file has moved; nothing is
      encoded for that.
    replaced: names of those done whose file was another before.
    skipped: paths of what was no video in the folders, by the reason.
  """

  done: int
  there: int
  failed: dict[str, str]
  damaged: dict[str, int]
  resized: dict[str, int]
  videos: int
  same: Mapping[str, str] = {}
  moved: Mapping[str, str] = {}
  replaced: tuple[str, ...] = ()
  skipped: Mapping[str, Sequence[pathlib.Path]] = {}


# Is told of a system and of all files that are new, by name, and gives what
# encodes one of them; that raises ValueError or OSError for one which cannot be
# read.
Encoder = Callable[
  [System, Mapping[str, NewFile]], Callable[[NewFile], Encoded]
]


def encode_here(
  system: System, new: Mapping[str, NewFile]
) -> Callable[[NewFile], Encoded]:
  """The `Encoder` of this process: files are read when they are asked for."""
  fine = FineSearch(system.fine)
  return lambda file: encode_video(system, fine, read_parts(system, file.path))


def index_files(
  folder: str | os.PathLike,
  files: Iterable[str | os.PathLike],
  *,
  model: System | str | os.PathLike | None = None,
  coarse_search: str = 'exact',
  coarse_address: str | None = None,
  background: bool = False,
  progress: bool = False,
) -> Added:
  """Indexes video files, as `deltax index` does: makes an index, or goes on.

  Every few videos are on the disk for good: if this is stopped, call it again.

  Args:
    folder: of the index, new or begun.
    files: video files, or folders of them; a video's name is the path below the
      folder that was given, or the file's own name.
    model: what encodes the videos, a system or what `open_system` takes. None:
      that of an index that is begun; for a new one, the one that is shipped.
    coarse_search: how coarse vectors of a new index are searched, one of
      `deltax.retrieval.search.coarse_search.KINDS`.
    coarse_address: of the Milvus server that does it, for 'milvus'; None for
      one in a file in the folder. A password is not for here: see
      `milvus_collection.TOKEN`.
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
      has that name, or none has such an address.
  """
  return index_found(
    folder,
    find(files),
    model=model,
    coarse_search=coarse_search,
    coarse_address=coarse_address,
    background=background,
    progress=progress,
  )


def index_found(
  folder: str | os.PathLike,
  found: Found,
  *,
  model: System | str | os.PathLike | None = None,
  coarse_search: str = 'exact',
  coarse_address: str | None = None,
  background: bool = False,
  progress: bool = False,
  encoder: Encoder = encode_here,
  files: Files = LOCAL,
) -> Added:
  """As `index_files`, of videos that were found, encoded in any way.

  Args:
    folder: as of `index_files`, as are those that are not named here.
    found: the videos; their paths are what `files` knows them by.
    encoder: what encodes those that are new.
    files: where the videos are.
  """
  if coarse_search not in KINDS:
    raise ValueError(
      f'no coarse search {coarse_search!r}; known: {", ".join(KINDS)}'
    )
  if coarse_address is not None:
    if coarse_search != 'milvus':
      raise ValueError(
        f'coarse search {coarse_search!r} needs no server, and {coarse_address}'
        " is given: expected it with 'milvus'"
      )
    check_address(coarse_address)
  folder, videos = pathlib.Path(folder), found.videos
  options = {'background': background, 'progress': progress}
  options |= {'encoder': encoder, 'files': files}
  if is_index(folder):
    index, system = open_index(folder, model)
    added = _add(index, lambda: index, system, videos, **options)
    return added._replace(skipped=found.skipped)
  check_free(folder)
  system, place = _open_model(model)

  def create():
    try:
      return _create(folder, system, place, coarse_search, coarse_address)
    except (ValueError, OSError):
      if not is_index(folder):
        raise
    return open_index(folder, system)[0]  # another was faster

  added = _add(None, create, system, videos, **options)
  return added._replace(skipped=found.skipped)


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
    made = encode_video(system, fine, [video])
    encoded.append(made.video._replace(name=name))
  index = _create(folder, system, None, 'exact', None)
  index.add(encoded)
  return index


def open_index(
  folder: str | os.PathLike,
  model: System | str | os.PathLike | None = None,
) -> tuple[Index, System]:
  """Opens an index and the model that it was built with.

  Args:
    folder: of the index.
    model: a system, or what `open_system` takes, where it is not where it was.

  Raises:
    FileNotFoundError: there is no index, or the model is no longer there.
    ValueError: the model is not the one that the index was built with.
  """
  index = Index(folder)
  return index, open_model_of(index, model)


def open_model_of(
  index: OpenIndex, model: System | str | os.PathLike | None = None
) -> System:
  """The model that an index was built with; see `open_index`."""
  # Indexes that name no model are of the time before one was shipped.
  system, _ = _open_model(model or index.manifest['model'] or 'untrained')
  check_model(index, system)
  return system


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
    videos: files by name. One that is there already is left as it is, and is
      so if it was moved since; one whose content has changed since is encoded
      again. One whose name another has gets more of its path for a name. One
      that cannot be read is told and left out.
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


def _add(
  known: Index | None,
  open_index: Callable[[], Index],
  system: System,
  videos: Mapping[str, pathlib.Path],
  *,
  background: bool,
  progress: bool,
  encoder: Encoder = encode_here,
  files: Files = LOCAL,
) -> Added:
  """As `add_videos`; `known` is the index as it is, None for a new one."""
  plan = sort_files(known, videos, files)
  failed, damaged, resized, replaced = dict(plan.failed), {}, {}, []
  if plan.moved:
    known.follow(plan.moved)
  if plan.gone:
    known.remove(plan.gone)
  encode = encoder(system, plan.new)
  with Batches(known, open_index) as batches:
    for name, new in tqdm.tqdm(plan.new.items(), disable=not progress):
      if batches.finds(new.file.content):
        continue
      try:
        encoded = encode(new)
      except (ValueError, OSError) as error:
        failed[name] = str(error)
        continue
      if encoded.damaged:
        damaged[name] = encoded.damaged
      if encoded.resized:
        resized[name] = encoded.resized
      replaced += [name] * bool(new.replaces)
      about = {'path': new.path, 'file': new.file, 'background': background}
      video = encoded.video._replace(name=name, **about)
      batches.add(video, new.replaces)
  same = []
  for name, twin in plan.same.items():
    if twin.video in failed:  # as its content is
      failed[name] = failed[twin.video]
    else:
      same.append(twin)
  index = batches.index or known
  if same:
    contents = {twin.path: twin.file.content for twin in same}
    note_same(index.folder, contents)
  there = plan.there + batches.there
  if failed and not batches.done and not there and not same:
    raise ValueError(_all_failed(failed))
  return Added(
    batches.done,
    there,
    failed,
    damaged,
    resized,
    len(index),
    {twin.path: twin.video for twin in same},
    {old: new for old, (new, _, _) in plan.moved.items() if new != old},
    tuple(replaced),
  )


def _all_failed(failed: Mapping[str, str]) -> str:
  told = [f'{name}: {reason}' for name, reason in failed.items()]
  more = [f'and {len(told) - NAMED:,} more'] if len(told) > NAMED else []
  return f'no video could be added: {"; ".join([*told[:NAMED], *more])}'


def _open_model(
  model: System | str | os.PathLike | None,
) -> tuple[System, str | None]:
  """A system, and the place that a new index remembers it by."""
  if isinstance(model, System):
    return model, None
  model = system_folder.SHIPPED[0] if model is None else model
  named = model in system_folder.NAMES
  place = str(model if named else pathlib.Path(model).resolve())
  return system_folder.open_system(model), place


def _create(folder, system, place, coarse_search, coarse_address) -> Index:
  return Index.create(
    folder,
    fingerprint=system.fingerprint,
    description=system.description,
    model=place,
    coarse_search=coarse_search,
    coarse_address=coarse_address,
  )
