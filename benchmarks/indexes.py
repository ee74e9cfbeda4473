"""What an index takes as it grows: to add to, to open, to search.

    python benchmarks/indexes.py --videos 10000 100000 1000000 --folder /tmp/ix

Videos are made up: of each a vector of 512 numbers and one of its one clip, and
binary codes of four frames of two regions. Vectors lie in groups of a thousand.
Every row is measured in a process of its own, in seconds of the processor: the
files are in the system's cache, as they were just written. To 'add' to an
engine is to make its file. Searches are whole ones, with 20 pairs compared
frame by frame. The recall of an engine is the share of the hundred nearest
videos, found exactly, that are among its first hundred; and among its first
thousand, of which a search with a budget of a hundred computes the scores
exactly. An index takes about 5 kB of the disk for a video; --keep leaves it
there.
"""

import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import jax
import numpy as np

from deltax import files, plain, retrieval
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search.coarse_search import KINDS
from deltax.retrieval.search.searcher import WITHIN, Searcher

SIZE, FRAMES, REGIONS, GROUP = 512, 4, 2, 1000
TOGETHER = 10_000  # videos that are added at once
QUERIES, NEAREST = 20, 100
SPREAD = 0.06  # of a vector around its group's, in each number
COLUMNS = {
  'videos': '',
  'kind': '',
  'add': 's',
  'open': 's',
  'searcher': 's',
  'first': 's',
  'warm': 'ms',
  'memory': 'MB',
  'disk': 'GB',
  'recall': '',
  'within': '',
}


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--videos', type=int, nargs='+', default=[10_000])
  parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
  parser.add_argument('--folder', type=pathlib.Path, required=True)
  parser.add_argument('--keep', action='store_true')
  parser.add_argument('--search', metavar='KIND', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.search:
    print(json.dumps(searched(options.folder, options.search)))
    return
  print('| ' + ' | '.join(map(' '.join, COLUMNS.items())) + ' |')
  print('|---' * len(COLUMNS) + '|', flush=True)
  for count in options.videos:
    folder = options.folder / f'{count}.index'
    seconds = None if folder.exists() else filled(folder, count)
    for kind in options.kinds:
      row = measured(folder, kind)
      if kind == 'exact':
        row['add'] = seconds
      else:  # the first process has made the engine's file
        row = {**measured(folder, kind), 'add': row['searcher']}
      show({'videos': count, 'kind': kind, **row, 'disk': taken(folder, kind)})
    if not options.keep:
      shutil.rmtree(folder)


def show(row: dict) -> None:
  """Prints a row of the table."""
  shown = {
    name: f'{value:,.3g}' if isinstance(value, float) else f'{value}'
    for name, value in row.items()
  }
  print('| ' + ' | '.join(shown.get(n, '') for n in COLUMNS) + ' |', flush=True)


def system() -> retrieval.System:
  """One that needs no training and whose coarse vectors are mean regions."""
  net = retrieval.create('fine_binary')
  regions = np.zeros((1, FRAMES, REGIONS, SIZE), np.float32)
  coarse = retrieval.create(
    'coarse', attention=False, transformer=False, netvlad=False
  )
  return retrieval.System(
    extract=np.asarray,
    coarse=retrieval.Network(coarse, {}),
    fine=retrieval.Network(net, net.init(jax.random.key(0), regions, regions)),
    selector=None,
    description={},
    fingerprint='made up',
  )


def vectors(first: int, count: int) -> np.ndarray:
  """float32 `[count, SIZE]`, of length 1; of videos from `first` on."""
  groups = np.arange(first, first + count) // GROUP
  around = np.stack(
    [
      np.random.default_rng(n).standard_normal(SIZE, np.float32)
      for n in range(groups[0], groups[-1] + 1)
    ]
  )
  rng = np.random.default_rng([7, first])
  apart = rng.standard_normal((count, SIZE), np.float32) * SPREAD * SIZE**0.5
  made = around[groups - groups[0]] + apart
  return made / np.linalg.norm(made, axis=1, keepdims=True)


def videos(first: int, count: int):
  """Videos, as `Index.add` takes them."""
  rng = np.random.default_rng([8, first])
  words = SIZE // 32
  codes = rng.integers(
    0, 2**32, (count, FRAMES, REGIONS, words), dtype=np.uint32
  )
  wholes, clips = vectors(first, count), vectors(first + 1, count)
  for n in range(count):
    yield IndexedVideo(
      name=f'folder {first // 1000}/video {first + n}.mp4',
      path=f'/films/folder {first // 1000}/video {first + n}.mp4',
      coarse=wholes[n],
      fine=codes[n],
      times=np.arange(FRAMES, dtype=float),
      duration=float(FRAMES),
      clips=clips[n : n + 1],
    )


def filled(folder: pathlib.Path, count: int) -> float:
  """Makes an index; seconds that adding took, without making the videos up."""
  index = Index.create(folder, fingerprint='made up', description={})
  spent = 0.0
  for first in range(0, count, TOGETHER):
    batch = list(videos(first, min(TOGETHER, count - first)))
    start = time.process_time()
    index.add(batch)
    spent += time.process_time() - start
  return spent


def measured(folder: pathlib.Path, kind: str) -> dict:
  """What a new process finds."""
  done = subprocess.run(
    [sys.executable, __file__, '--folder', str(folder), '--search', kind],
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  )
  return json.loads(done.stdout)


def searched(folder: pathlib.Path, kind: str) -> dict:
  """Seconds to open and search, memory and recall of this process."""
  about = plain.read_json(folder / 'manifest.json')
  if about['coarse_search'] != kind:
    files.write_json(folder / 'manifest.json', {**about, 'coarse_search': kind})
  made, asked = system(), vectors(0, QUERIES * GROUP)[::GROUP]
  frames = np.repeat(asked[:, None, None], FRAMES, 1).repeat(REGIONS, 2)
  options = {'budget': retrieval.Budget(20), 'locate': False}
  start = time.process_time()
  index = Index(folder)
  opened = time.process_time()
  searcher = Searcher(index, made)
  ready = time.process_time()
  searcher.search(frames[0], **options)
  first = time.process_time()
  for regions in frames:
    searcher.search(regions, **options)
  warm = (time.process_time() - first) / len(frames)
  found = [nearest(searcher, query, NEAREST) for query in asked]
  more = [nearest(searcher, query, WITHIN * NEAREST) for query in asked]
  exact = folder.parent / f'{folder.name}.nearest.json'
  if kind == 'exact':
    files.write_json(exact, [sorted(ids) for ids in found])
  known = plain.read_json(exact) if exact.exists() else found
  return {
    'open': opened - start,
    'searcher': ready - opened,
    'first': first - ready,
    'warm': 1000 * warm,
    'memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    'recall': shared(found, known),
    'within': shared(more, known),
  }


def shared(found: list[set[int]], known: list[list[int]]) -> float:
  """The share of what is known that was found, 0 to 1."""
  pairs = zip(found, known, strict=True)
  return float(np.mean([len(ids & {*best}) / len(best) for ids, best in pairs]))


def nearest(searcher: Searcher, query: np.ndarray, count: int) -> set[int]:
  """Ids of the nearest videos, as the engine has them."""
  ids, _ = searcher._coarse.query(query[None], count)
  return {*ids[0].tolist()} - {-1}


def taken(folder: pathlib.Path, kind: str) -> float:
  """GB on the disk, of the segments and the file of this engine."""
  paths = [*folder.glob('segments/*/*'), folder / f'{kind}.faiss']
  return sum(p.stat().st_size for p in paths if p.exists()) / 1e9


if __name__ == '__main__':
  main()
