"""Accuracy and milliseconds of the same trained networks, beside their rivals.

    python benchmarks/front.py runs/street_large/joint runs/street_large/blocks

Runs are delta networks of one teacher that `eval.py` has evaluated. Every row
has the scores of `eval.py` by interval, and milliseconds that are measured
here, on one core and on two, in processes of their own: the teacher's frame, a
key frame, a later frame, and the mean of ten frames, one of them a key frame.
What is compared takes turns of a few frames one after another, as a stream has
them; figures are medians. The rivals are copying the key frame's output, and
the teacher on smaller frames.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import jax.numpy as jnp
from delta import pinned

from deltax import compilation, plain, training
from deltax.delta import Streamer, distill, make_spec
from deltax.report.timing import milliseconds
from deltax.tasks.network import brought_by
from deltax.tasks.parts import delta_params
from deltax.tasks.video import deployed

INTERVAL = 10  # of the mean frame


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('runs', nargs='+', type=pathlib.Path)
  parser.add_argument('--cores', type=int, help='measure on so many, in JSON')
  options = parser.parse_args()
  if options.cores:
    print(json.dumps(measured(options.runs)))
    return
  times = {cores: on(cores, options.runs) for cores in (1, 2)}
  results = {
    run: json.loads((run / 'results.json').read_text()) for run in options.runs
  }
  print('\n'.join(table(results, times)))


def on(cores, runs):
  """Milliseconds by name, from a process that has so many cores."""
  command = [sys.executable, __file__, *map(str, runs), f'--cores={cores}']
  with pinned(cores):
    done = subprocess.run(
      command, stdout=subprocess.PIPE, text=True, check=True
    )
  return json.loads(done.stdout.splitlines()[-1])


def measured(runs):
  """`{name: ms}` of the teacher, of it on smaller frames, and of every run."""
  compilation.keep_memory()
  compilation.set_up()
  functions = {}
  for run in runs:
    functions |= of_run(run, teacher='teacher' not in functions)
  return milliseconds(functions)


def read_run(run):
  """A run's config, its network as it was brought, and its delta network."""
  config = plain.read_json(run / 'config.json', plain.DICT)
  saved = training.restore_params(training.find_checkpoint(run))
  brought = brought_by(config['task'])
  spec = make_spec(**(config['task']['delta'].get('spec') or {}))
  return config, brought, distill(brought.net, spec), delta_params(*saved)


def of_run(run, *, teacher):
  """What is to be timed of a run, and of its teacher if that is asked for."""
  _, brought, delta, whole = read_run(run)
  results = json.loads((run / 'results.json').read_text())

  def prepared(size):
    return brought.prepare(jnp.zeros((1, *size, 3), jnp.uint8))

  def every_frame(size):
    frame = prepared(size)
    alone = deployed.freeze_teacher(brought.net, whole['teacher'], frame)
    streamer = Streamer(alone, interval=1)
    return lambda: streamer.push(frame)

  frame = prepared(results['size'])
  frozen = delta.freeze(whole, frame)
  key, later = Streamer(frozen, interval=1), Streamer(frozen, interval=10**9)
  later.push(frame)
  functions = {
    f'{run} key': lambda: key.push(frame),
    f'{run} later': lambda: later.push(frame),
  }
  if teacher:
    sizes = [row['size'] for row in results.get('smaller') or ()]
    functions['teacher'] = every_frame(results['size'])
    functions |= {f'teacher {size}': every_frame(size) for size in sizes}
  return functions


def table(results, times):
  """Lines of a table in Markdown."""
  first = next(iter(results.values()))
  intervals = [row['interval'] for row in first['delta']]
  yield row_of(
    '',
    *(f'{first["metric"]["name"]} at {n}' for n in intervals),
    *(f'{part}, {n} core' for n in times for part in ('key', 'later', 'mean')),
    *(f'mean, times as fast, {n} core' for n in times),
  )
  yield '|' + (1 + len(intervals) + 4 * len(times)) * '---|'
  teacher = [ms['teacher'] for ms in times.values()]
  every = [(took, took) for took in teacher]
  yield cells('teacher', scores(first, 'teacher_score'), every, teacher)
  copied = [(took, 0.0) for took in teacher]
  yield cells('copied', scores(first, 'copied_score'), copied, teacher)
  for small in first.get('smaller') or ():
    own = [ms[f'teacher {small["size"]}'] for ms in times.values()]
    same = len(intervals) * [100 * small['score']]
    name = 'teacher on {} x {}'.format(*small['size'])
    yield cells(name, same, [(took, took) for took in own], teacher)
  for run, found in results.items():
    own = [(ms[f'{run} key'], ms[f'{run} later']) for ms in times.values()]
    yield cells(run.name, scores(found, 'score'), own, teacher)


def scores(results, name):
  """In points, by interval."""
  return [100 * row[name] for row in results['delta']]


def cells(name, scores, ms, teacher):
  """A row of one network: its scores, and its milliseconds by cores.

  Args:
    name: of the row.
    scores: by interval.
    ms: of a key frame and a later frame, by cores.
    teacher: of the teacher's frame, by cores.
  """
  means = [(key + (INTERVAL - 1) * later) / INTERVAL for key, later in ms]
  took = [
    f'{x:.1f}'
    for (key, later), mean in zip(ms, means, strict=True)
    for x in (key, later, mean)
  ]
  faster = [f'{x / y:.2f}' for x, y in zip(teacher, means, strict=True)]
  return row_of(name, *(f'{x:.1f}' for x in scores), *took, *faster)


def row_of(*texts):
  return f'| {" | ".join(texts)} |'


if __name__ == '__main__':
  main()
