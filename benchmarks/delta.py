"""Milliseconds of later frames beside those of the teacher and of PyTorch.

    python benchmarks/delta.py --out results.json
    python benchmarks/delta.py --networks ddrnet23 --candidates low_rank:4

Every network runs in processes of its own: one on one core, of which the CPU
time counts, and one on two cores, of which the wall time does; on a GPU, one
for each of float32 and bfloat16 and batches of 1 and 8. What is compared takes
turns within one process, after a warm-up; figures are medians. Weights are
random; PyTorch gets the same ones, and so do engines for exported programs.

A student is spelled as its name and arguments, `low_rank:16:min`. Of several
that are joined by '+' a layer gets the first that has a start for it:
`depthwise+bottleneck:4`. A student of blocks comes after the classes of the
blocks, and after the ends of spans of layers:
`conv1_0-conv1_3,BasicBlock,Bottleneck=residual:4:2+bottleneck:4`.

The processes keep the memory that they have freed (three settings of glibc's
malloc): else every program pays for pages that it had a moment ago.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax
from delta_measure import Job, spec_of
from delta_table import table
from retrieval import processor

from deltax import files, models
from deltax.delta.run import engines

ENGINES = {name: own for name, own in engines.ENGINES.items() if name != 'xla'}
DTYPES = ('float32', 'bfloat16')


class Setting(NamedTuple):
  """How a network is measured, where nothing else is asked for."""

  size: str
  classes: int
  layers: str
  students: tuple[str, ...]


INSIDE = 'residual:4:2+bottleneck:4'
SEGMENTATION = Setting(
  '512x1024',
  19,
  'all_but_first_and_last',
  (
    'low_rank:4',
    'bottleneck:4',
    f'conv1_0-conv1_3,BasicBlock,Bottleneck={INSIDE}',
  ),
)
HRNET = SEGMENTATION._replace(
  students=('low_rank:4', f'conv1-conv2,BasicBlock,Bottleneck={INSIDE}')
)
DETECTION = Setting(
  '512x512',
  30,
  'detector',
  ('low_rank:16:min', f'InvertedResidual,Node,Separable={INSIDE}'),
)
NETWORKS = {
  'ddrnet23_slim': SEGMENTATION,
  'ddrnet23': SEGMENTATION,
  'ddrnet39': SEGMENTATION,
  'hrnet_w18_small': HRNET,
  'efficientdet_d0': DETECTION,
}
# As `deltax.compilation.keep_memory`, of which PyTorch has as much.
KEEP = {
  'MALLOC_MMAP_MAX_': '0',
  'MALLOC_TRIM_THRESHOLD_': '-1',
  'MALLOC_ARENA_MAX': '1',
}


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  several = {'nargs': '+'}
  parser.add_argument('--networks', **several, default=list(NETWORKS))
  parser.add_argument('--size', help='of a frame, as 512x1024')
  parser.add_argument('--interval', type=int, default=10, help='of key frames')
  parser.add_argument('--candidates', **several, help='students')
  parser.add_argument('--threads', **several, type=int, default=[1, 2])
  parser.add_argument('--repeats', type=int, default=9)
  parser.add_argument('--dtype', **several, choices=DTYPES)
  parser.add_argument('--batch', **several, type=int)
  parser.add_argument('--torch', action=argparse.BooleanOptionalAction)
  parser.add_argument(
    '--engines',
    nargs='*',
    choices=ENGINES,
    help='for exported programs; default: all that are installed',
  )
  parser.add_argument('--out', help='a JSON file to write')
  options = parser.parse_args()
  try:
    planned = plan(options)
  except ValueError as error:
    parser.error(str(error))
  print(f'{processor()}, jax {jax.__version__}', flush=True)
  results = []
  for job, threads in planned:
    found = {n: run(job._replace(threads=n)) for n in threads}
    ms = {n: result['ms'] for n, result in found.items()}
    results.append({**asked(job), **found[threads[0]], 'ms': ms})
    print('', *table(results[-1]), sep='\n', flush=True)
    if options.out:
      page = {'processor': processor(), 'results': results}
      files.write_json(options.out, page)


def plan(options):
  """Pairs of a job and the threads that it is run with."""
  for name in ('interval', 'repeats'):
    if getattr(options, name) < 1:
      raise ValueError(f'--{name} is at least 1, got {getattr(options, name)}')
  installed = importlib.util.find_spec('torch') is not None
  if options.torch and not installed:
    raise ValueError('--torch needs PyTorch, which is not installed')
  if not 0 < min(options.threads) <= max(options.threads) <= len(cores()):
    raise ValueError(
      f'--threads {options.threads}: this process may use {len(cores())} cores'
    )
  on_gpu = backend() == 'gpu'
  threads = [0] if on_gpu else options.threads
  jobs = []
  for network in options.networks:
    if network not in models.MODELS:
      known = ', '.join(models.MODELS)
      raise ValueError(f'no network {network!r}; known: {known}')
    setting = setting_of(network)
    job = Job(
      network=network,
      size=size_of(options.size or setting.size),
      batch=1,
      dtype=DTYPES[0],
      classes=setting.classes,
      layers=setting.layers,
      students=tuple(options.candidates or setting.students),
      interval=options.interval,
      repeats=options.repeats,
      torch=installed if options.torch is None else options.torch,
      engines=(),
      threads=0,
    )
    for spelled in job.students:
      check_student(spelled, job.layers)
    for dtype in options.dtype or (DTYPES if on_gpu else DTYPES[:1]):
      for batch in options.batch or ((1, 8) if on_gpu else (1,)):
        named = () if on_gpu or dtype != DTYPES[0] else engines_of(options)
        changed = {'dtype': dtype, 'batch': batch, 'engines': named}
        jobs.append((job._replace(**changed), threads))
  return jobs


def engines_of(options):
  """Engines for exported programs that take part."""
  if options.engines is not None:
    return tuple(options.engines)
  return tuple(
    name
    for name, packages in ENGINES.items()
    if all(map(importlib.util.find_spec, packages))
  )


def asked(job):
  """What of a job its result is told with."""
  kept = ('network', 'size', 'batch', 'dtype', 'interval', 'repeats')
  return {name: getattr(job, name) for name in kept}


def setting_of(network):
  detects = models.family(network) == 'efficientdet'
  return NETWORKS.get(network, DETECTION if detects else SEGMENTATION)


def size_of(spelled):
  rows, _, cols = spelled.partition('x')
  if not (rows.isdigit() and cols.isdigit()):
    raise ValueError(f'--size is as 512x1024, got {spelled!r}')
  return int(rows), int(cols)


def check_student(spelled, layers):
  try:
    spec_of(spelled, layers)
  except ValueError as error:
    raise ValueError(f'--candidates {spelled}: {error}') from error
  except TypeError as error:
    raise ValueError(f'--candidates {spelled}: wrong arguments') from error


def backend():
  """Asked in another process: whoever asks holds the device."""
  code = 'import jax; print(jax.default_backend())'
  return subprocess.check_output(
    [sys.executable, '-c', code], text=True
  ).strip()


def cores():
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count()))


@contextlib.contextmanager
def pinned(threads):
  """Processes started within have that many cores, where the system can."""
  if not threads or not hasattr(os, 'sched_setaffinity'):
    yield
    return
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, cores()[-threads:])
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def run(job):
  """The result of a process, whose thread pools start with its own cores."""
  script = pathlib.Path(__file__).with_name('delta_measure.py')
  with pinned(job.threads):
    done = subprocess.run(
      [sys.executable, str(script), json.dumps(job._asdict())],
      env={**KEEP, **os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'},
      stdout=subprocess.PIPE,
      text=True,
    )
  if done.returncode:
    sys.exit(f'{job.network} failed, see above')
  return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
  main()
