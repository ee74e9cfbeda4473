"""One process beside two: `deltax index --beam` of films that are made here.

    python benchmarks/beam.py --films 64 --seconds 60

Each process has one thread, and a core of its own: one process one core, two
processes two. They take turns, and figures are medians; every run makes a new
index, which must be the same. 'in all' is all of the command, its start and
that of its workers included; 'videos a second' is counted from the first video
that is encoded to the last one.
"""

import argparse
import filecmp
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
from delta import pinned

from deltax.data.video.files import write_video

ONE_THREAD = {
  'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false',
  'NPROC': '1',
  'OMP_NUM_THREADS': '1',
  'OPENBLAS_NUM_THREADS': '1',
}
SIDE, RATE = 256, 8  # pixels, frames a second
POLL = 0.05  # seconds


class Run(NamedTuple):
  """What a run took.

  Attributes:
    seconds: of the command.
    rate: videos a second, without the start.
  """

  seconds: float
  rate: float


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--films', type=int, default=64)
  parser.add_argument('--seconds', type=int, default=60, help='of a film')
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--processes', type=int, nargs=2, default=(1, 2))
  options = parser.parse_args()
  if options.films < 2 or options.repeats < 1:
    parser.error('expected at least 2 films and 1 repeat')
  with tempfile.TemporaryDirectory() as folder:
    folder, first = pathlib.Path(folder), None
    with pinned(1):
      make_films(folder / 'films', options.films, options.seconds)
    films = sorted((folder / 'films').iterdir())
    # What is compiled lies on the disk from then on, for both alike.
    index(films[:2], folder / 'warm', 1)
    runs = {count: [] for count in options.processes}
    for turn in range(options.repeats):
      for count, done in runs.items():
        out = folder / f'{count}-{turn}'
        done.append(index(films, out, count))
        print(f'{count}: {done[-1]}', file=sys.stderr, flush=True)
        first = first or out
        check_same(first, out)
  print('\n'.join(table(runs)))


def make_films(folder, count, seconds):
  """Coarse noise, another picture every second; twice none."""
  for seed in range(count):
    noise = np.random.default_rng(seed).integers(
      0, 256, (seconds, 8, 8, 3), np.uint8
    )
    frames = noise.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2).repeat(RATE, 0)
    write_video(folder / f'{seed:03d}.mp4', frames, RATE)


def index(films, out, processes) -> Run:
  """Indexes films by so many processes, each of one thread."""
  command = [
    *(sys.executable, '-m', 'deltax', 'index', *map(str, films)),
    *('--out', str(out)),
    *('--beam', '--', f'--direct_num_workers={processes}'),
    '--direct_running_mode=multi_processing',
  ]
  store, seen = out.with_name(f'{out.name}.beam'), []
  with pinned(processes):
    started = time.perf_counter()
    process = subprocess.Popen(
      command,
      env={**os.environ, **ONE_THREAD},
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
  while process.poll() is None:
    done = len(list(store.glob('*.npz')))
    if done > (seen[-1][1] if seen else 0):
      seen.append((time.perf_counter(), done))
    time.sleep(POLL)
  seconds = time.perf_counter() - started
  if process.returncode:
    raise SystemExit(process.stderr.read())
  (first, before), (last, after) = seen[0], seen[-1]
  return Run(seconds, (after - before) / max(last - first, POLL))


def check_same(first, second):
  """Raises unless two folders have the same files."""
  names = [p.relative_to(first) for p in first.rglob('*') if p.is_file()]
  _, wrong, missing = filecmp.cmpfiles(first, second, names, shallow=False)
  if wrong or missing:
    raise SystemExit(f'{second} is another index: {wrong or missing}')


def table(runs) -> list[str]:
  """Lines: medians of each count of processes, and the ratio of both."""
  medians = {
    count: Run(*map(statistics.median, zip(*done, strict=True)))
    for count, done in runs.items()
  }
  lines = ['| processes | in all, s | videos a second |', '|---|---|---|']
  for count, run in medians.items():
    lines.append(f'| {count} | {run.seconds:.1f} | {run.rate:.2f} |')
  one, more = medians.values()
  ratios = one.seconds / more.seconds, more.rate / one.rate
  return [*lines, '| times as fast | {:.2f} | {:.2f} |'.format(*ratios)]


if __name__ == '__main__':
  main()
