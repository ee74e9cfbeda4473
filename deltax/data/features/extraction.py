"""Computes features of video files and adds them to a store.

It may be stopped at any time and started again; a file that cannot be read is
left out.
"""

import datetime
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tqdm
from absl import logging

from deltax import files, plain
from deltax.data.features.store import FeatureStore
from deltax.data.prefetch import ahead
from deltax.data.video.files import Video, appended, read_chunks
from deltax.data.video.origins import Origins
from deltax.data.video.stream import flaws
from deltax.identity import Identity, identify

CHUNK = 16  # frames that an extractor gets at once
_AHEAD = 8  # chunks that may wait for it
_SECONDS = 10.0  # between lines of the log

Path = str | os.PathLike


_FAILURE = {'name': plain.TEXT, 'reason': plain.TEXT}


class Report(NamedTuple):
  """What became of the videos.

  Attributes:
    done: names that were added now.
    skipped: names that were in the store.
    failed: why the others were not, by name.
    damaged: of `done`, how many frames were corrupt, by name.
    changed: of `skipped`, names of those whose file is another by now; their
      features are of the file that was there before.
  """

  done: tuple[str, ...]
  skipped: tuple[str, ...]
  failed: dict[str, str]
  damaged: dict[str, int]
  changed: tuple[str, ...] = ()


def extract(
  videos: Mapping[str, Path],
  store: FeatureStore,
  extractor: Callable[[np.ndarray], np.ndarray],
  *,
  progress: bool = False,
) -> Report:
  """Adds the features of videos that the store does not have.

  A thread reads (`video.read_chunks`: one frame a second, 224 x 224) while the
  extractor computes; memory does not grow with the length of a video, but for
  its features. A video that cannot be read is left out and written down
  (`read_failures`), and tried again by the next call.

  Args:
    videos: files by name.
    store: open to add to, with the extractor's fingerprint.
    extractor: uint8 `[16, H, W, 3]` RGB frames to float `[16, R, D]` regions.
      It always gets as many; what follows the last frame repeats it. Has a
      `fingerprint`.
    progress: draw a bar; else write lines to the log.

  Returns:
    The names of what was done, and why some was not.

  Raises:
    ValueError: the store is of another extractor or open for reading, or the
      extractor gives another number of regions than it got frames.
  """
  if store.fingerprint != extractor.fingerprint:
    raise ValueError(
      f'{store.folder} has features of fingerprint {store.fingerprint}, the '
      f'extractor has {extractor.fingerprint}'
    )
  skipped = tuple(name for name in videos if name in store)
  todo = {name: path for name, path in videos.items() if name not in store}
  origins = Origins(origins_path(store))
  changed = origins.changed({name: videos[name] for name in skipped})
  done, failed, damaged, regions, resized = [], {}, {}, None, 0
  with (
    _Failures(store, videos) as failures,
    _Progress(len(videos), len(skipped), progress) as bar,
  ):
    for name, part in ahead(_decoded(todo), _AHEAD):
      if isinstance(part, Identity):
        file = part
      elif isinstance(part, Video):
        regions = appended(regions, _regions(extractor, part.frames))
        bar.frames(len(part.frames))
        if part.damaged:
          damaged[name] = part.damaged
        resized = part.resized
      if isinstance(part, Identity | Video):
        continue
      if part is None:
        store.add(name, regions)
        origins.note(name, file)
        done.append(name)
        if told := flaws(damaged.get(name, 0), resized):
          bar.say(f'{name}: {told}')
      else:
        failed[name] = part
        damaged.pop(name, None)
        failures.add(name, part)
        bar.say(f'{name} is left out: {part}')
      regions = None
      bar.video(len(failed))
  return Report(tuple(done), skipped, failed, damaged, changed)


def origins_path(store: FeatureStore) -> pathlib.Path:
  """The file beside a store that says what its files were."""
  return store.folder.with_name(store.folder.name + '.files.jsonl')


def failures_path(store: FeatureStore) -> pathlib.Path:
  """The file beside a store that lists what could not be read."""
  return store.folder.with_name(store.folder.name + '.failed.jsonl')


def read_failures(store: FeatureStore) -> dict[str, str]:
  """Why a video could not be read, by name; none where there is no file."""
  path = failures_path(store)
  if not path.exists():
    return {}
  lines = path.read_text('utf-8').split('\n')[:-1]  # the last may be cut
  try:
    rows = plain.check([plain.loads(line) for line in lines], [_FAILURE], path)
  except ValueError as error:
    raise ValueError(f'{path}: a line is damaged: {error}') from error
  return {row['name']: row['reason'] for row in rows}


def _regions(extractor, frames: np.ndarray) -> np.ndarray:
  repeated = np.minimum(np.arange(CHUNK), len(frames) - 1)
  regions = np.asarray(extractor(frames[repeated]), np.float32)
  if regions.ndim != 3 or len(regions) != CHUNK:
    raise ValueError(
      f'the extractor made {list(regions.shape)} of {CHUNK} frames, expected '
      f'[{CHUNK}, R, D]'
    )
  return regions[: len(frames)]


def _decoded(videos: Mapping[str, Path]) -> Iterator[tuple]:
  """(name, part) for all parts, then (name, None) or (name, what is wrong).

  The first is what the file is.
  """
  for name, path in videos.items():
    try:
      if os.path.isfile(path):  # else it is told below
        yield name, identify(path)
      for part in read_chunks(path, CHUNK):
        yield name, part
    except (ValueError, OSError) as error:
      yield name, str(error)
    else:
      yield name, None


class _Failures:
  """Writes failures down as they come; forgets those that are tried again."""

  def __init__(self, store: FeatureStore, tried):
    self._path = failures_path(store)
    kept = read_failures(store)
    kept = {name: reason for name, reason in kept.items() if name not in tried}
    files.write_text(
      self._path, ''.join(_line(*failure) for failure in kept.items())
    )

  def add(self, name: str, reason: str) -> None:
    with open(self._path, 'a', encoding='utf-8') as file:
      file.write(_line(name, reason))

  def __enter__(self):
    return self

  def __exit__(self, *error):
    if not self._path.stat().st_size:
      self._path.unlink()


def _line(name: str, reason: str) -> str:
  return json.dumps({'name': name, 'reason': reason}) + '\n'


class _Progress:
  """A bar of videos, or lines of the log."""

  def __init__(self, total: int, skipped: int, progress: bool):
    self._bar = tqdm.tqdm(
      total=total,
      initial=skipped,
      desc='features',
      unit='video',
      dynamic_ncols=True,
      disable=not progress,
    )
    self._total, self._skipped, self._seen = total, skipped, 0
    self._failed = self._frames = 0
    self._start = self._last = time.perf_counter()

  def frames(self, count: int) -> None:
    self._frames += count
    self._tell()

  def video(self, failed: int) -> None:
    self._seen += 1
    self._failed = failed
    self._bar.update()
    self._tell()

  def say(self, sentence: str) -> None:
    if self._bar.disable:
      logging.warning('%s', sentence)
    else:
      self._bar.write(sentence, file=sys.stderr)

  def _tell(self, always: bool = False) -> None:
    now = time.perf_counter()
    rate = self._frames / max(now - self._start, 1e-9)
    self._bar.set_postfix_str(
      f'{rate:.3g} frames/s, {self._failed} left out', refresh=False
    )
    if not self._bar.disable or (now - self._last < _SECONDS and not always):
      return
    self._last = now
    left = self._total - self._skipped - self._seen
    seconds = (now - self._start) / max(self._seen, 1) * left
    logging.info(
      'features: %d of %d videos, %d left out, %.3g frames/s, %s left',
      self._skipped + self._seen,
      self._total,
      self._failed,
      rate,
      datetime.timedelta(seconds=round(seconds)),
    )

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._tell(always=True)
    self._bar.close()
