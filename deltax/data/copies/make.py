"""A data set of video copies that needs no download.

Sources are the real clips that installed packages carry, and drives through
rendered streets; their copies are edited as people edit what they copy.
"""

import functools
import os
import pathlib
import shutil
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tqdm
from absl import logging

from deltax import files, plain
from deltax.data.copies import edits, plan
from deltax.data.copies.annotate import about, write_annotations
from deltax.data.copies.edits import Footage
from deltax.data.copies.plan import Original
from deltax.data.street import film
from deltax.data.video import packaged
from deltax.data.video.files import (
  VideoError,
  read_chunks,
  read_video,
  write_video,
)
from deltax.data.video.packaged import PackagedClip, list_clips

VERSION = 3  # of what is written: change it when any of it changes
_CRF = (20, 36)  # how well copies are coded
_ASPECT = 1.5  # of rendered streets


def make_copies(
  folder: str | os.PathLike,
  *,
  worlds: int = 20,
  copies: int = 7,
  short_side: int = 192,
  seed: int = 0,
  clips: Sequence[str | os.PathLike] | None = None,
  test: float = plan.TEST,
  workers: int = 2,
  progress: bool = False,
) -> pathlib.Path:
  """Makes sources and copies, or what is still missing of them.

  Equal arguments and clips give equal videos. It may be killed at any moment,
  and continues then; two calls at a time wait for each other. A clip that
  cannot be read is told in a warning and left out, and so are its copies. Of
  clips, and of streets, the share `test` is in test; a single clip is in train.

  Writes, below the folder:
    videos/NAME.mp4: sources, copies, and distractors that have no copy.
    hosts/NAME.mp4: videos that are seen inside of copies of others only.
    annotations.json: `{'videos': {name: {'source', 'edits', 'split', 'group',
      'host', 'segments'}}, 'queries': [names of sources]}`; segments are those
      of `edits.segments`, and `host` is None or a name.
    train.json, test.json: queries and database as `read_copies` reads them.
    train_pairs.json: labelled pairs as `read_similarities` reads them, with
      few and hard negatives.
    selector_pairs.json: the same with many negatives, hard or not, as a search
      meets them.

  Args:
    folder: of this data set only.
    worlds: streets, of which each gives two sources and one host or distractor.
    copies: of each source, a half of them with one edit, a half with two.
    short_side: of all videos, in pixels, a multiple of 4.
    seed: of the streets, the splits and the edits.
    clips: folders of videos that are used in place of those that packages have.
    test: share of the clips and streets that is in test, 0 to 1.
    workers: threads that render, edit and write.
    progress: whether to draw bars.

  Returns:
    The folder.

  Raises:
    ValueError: the folder holds videos made with other arguments, two videos
      would have one name, or there are too few worlds: each split needs a host.
    ImportError: panda3d is not installed.
  """
  if worlds < 4 or copies < 1 or short_side < 32 or short_side % 4:
    raise ValueError(
      'expected at least 4 worlds, 1 copy and a short side that is a multiple '
      f'of 4 and at least 32, got {worlds}, {copies} and {short_side}'
    )
  folder = pathlib.Path(folder)
  made = {
    'version': VERSION,
    'worlds': worlds,
    'copies': copies,
    'short_side': short_side,
    'seed': seed,
  }
  if test != plan.TEST:  # data sets that are there already were made without
    made['test'] = test
  folder.mkdir(parents=True, exist_ok=True)
  with files.locked(folder / 'lock'):
    listed = _planned(folder, made, clips)
    if (folder / 'annotations.json').exists():
      return folder
    for name in ('videos', 'hosts', 'parts'):
      (folder / name).mkdir(exist_ok=True)
    stage = functools.partial(_run, folder, made, workers, progress)
    stage('originals', _make_original, listed)
    hosts = {'train': [], 'test': []}
    for original in listed:
      if original.role == 'host':
        hosts[original.split].append(original.name)
    sources = [x for x in listed if x.role == 'source' and not x.copy_of]
    jobs = [(source, hosts[source.split]) for source in sources]
    stage('copies', _make_copies, jobs)
    write_annotations(folder, listed)
    shutil.rmtree(folder / 'parts')
  return folder


def _run(folder, made, workers: int, progress: bool, what, make, items):
  """Calls `make(folder, item, made)` for all items, in threads."""
  logging.info('%s: making %s for %d videos', folder, what, len(items))
  start = time.monotonic()
  with futures.ThreadPoolExecutor(workers) as pool:
    tasks = [pool.submit(make, folder, item, made) for item in items]
    done = futures.as_completed(tasks)
    try:
      for task in tqdm.tqdm(done, what, len(tasks), disable=not progress):
        task.result()
    except BaseException:  # what has not begun is left to the next call
      pool.shutdown(wait=True, cancel_futures=True)
      raise
  spent = time.monotonic() - start
  logging.info('%s: %s are made, in %.0f seconds', folder, what, spent)


def _planned(
  folder: pathlib.Path, made: dict[str, Any], clips
) -> list[Original]:
  """What is being made here: as planned before, or planned now."""
  path = folder / 'plan.json'
  if not path.exists():
    found = packaged.find_clips() if clips is None else list_clips(clips)
    test = made.get('test', plan.TEST)
    listed = plan.originals(
      _readable(found), made['worlds'], made['seed'], test
    )
    plan.check_names(listed, made['copies'])
    files.write_json(path, {'made': made, 'originals': listed})
  before = plain.read_json(path)
  if before['made'] != made:
    raise ValueError(
      f'{folder} holds videos made with {before["made"]}, asked for {made}; '
      'choose another folder or remove it'
    )
  return [Original(*fields) for fields in before['originals']]


def _readable(clips: list[PackagedClip]) -> list[PackagedClip]:
  """Those clips that can be read, and whose originals can be."""
  kept = []
  for clip in clips:
    if clip.copy_of and clip.copy_of not in [other.name for other in kept]:
      logging.warning('%s is left out like %s', clip.path, clip.copy_of)
      continue
    try:
      _start(clip.path, plan.LONGEST, 32)
    except VideoError as error:
      logging.warning('a clip is left out: %s', error)
    else:
      kept.append(clip)
  return kept


def _make_original(folder, original: Original, made) -> None:
  path = _path(folder, original)
  if path.exists():
    return
  if not original.path:
    height = made['short_side']
    size = height, 2 * round(_ASPECT * height / 2)
    film.film(path, original.world, plan.DRIVE, original.stretch, size)
    return
  frames, rate = _start(original.path, original.stretch[1], made['short_side'])
  height, width = (side // 2 * 2 for side in frames.shape[1:3])
  write_video(path, frames[:, :height, :width], rate)


def _start(path, seconds: float, short_side: int) -> tuple[np.ndarray, float]:
  """The first frames of a clip, however long it is, and their rate."""
  frames, times = [], []
  for part in read_chunks(
    path, 64, rate=film.RATE, short_side=short_side, crop=None
  ):
    frames.append(part.frames)
    times.append(part.times)
    if times[-1][-1] >= seconds:
      break
  times = np.concatenate(times)
  return np.concatenate(frames)[times < seconds], _rate(times)


def _make_copies(folder, job, made) -> None:
  """All copies of a source, and then a file that says what they are."""
  source, hosts = job
  path = folder / 'parts' / f'{source.name}.json'
  if path.exists():
    return
  clip = _read(_path(folder, source))
  seed, entries = made['seed'], {}
  planned = plan.edits(source.name, made['copies'], seed)
  for number, names in enumerate(planned):
    name = plan.copy_name(source.name, number)
    rng = plan.generator(name, seed)
    host = str(rng.choice(hosts))
    around = clip  # of no use
    if plan.needs_host(names):
      around = _read(folder / 'hosts' / f'{host}.mp4')
    copy = edits.apply(names, clip, around, rng)
    write_video(
      folder / 'videos' / f'{name}.mp4',
      copy.frames,
      copy.rate,
      crf=int(rng.integers(*_CRF)),
    )
    entries[name] = {
      **about(source, source.name, names),
      'host': host if plan.needs_host(names) else None,
      'segments': edits.segments(copy),
    }
  files.write_json(path, entries)


def _path(folder: pathlib.Path, original: Original) -> pathlib.Path:
  below = 'hosts' if original.role == 'host' else 'videos'
  return folder / below / f'{original.name}.mp4'


def _read(path: pathlib.Path) -> Footage:
  """All frames of a video that was made here."""
  video = read_video(path, rate=1000.0, short_side=None, crop=None)
  return edits.whole(video.frames, _rate(video.times))


def _rate(times: np.ndarray) -> float:
  return 1 / float(np.median(np.diff(times))) if len(times) > 1 else 1.0
