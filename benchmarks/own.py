"""A distilled network on each of its held-out videos, and its milliseconds.

    taskset -c 1 python benchmarks/own.py runs/demo_own/edges/target_0.1

Runs are those of `deltax distill`. For every held-out video: agreement with the
network itself on later frames at the run's first interval, of the delta network
and of the key frame's output copied, at each distance to the key frame and the
mean of all. Then milliseconds of single frames on the cores that this program
may use, medians in turns: of the network as it was brought, compiled; of the
same as it is deployed, in forms that are fast here; and of its deltas.
"""

import argparse
import pathlib

import jax

from deltax import compilation, experiment, plain, training
from deltax.delta import Streamer, distill, make_spec
from deltax.report import timing
from deltax.tasks.network import brought_by
from deltax.tasks.parts import delta_params
from deltax.tasks.video import deployed


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('runs', nargs='+', type=pathlib.Path)
  parser.add_argument('--clips', type=int, default=8, help='of each video')
  options = parser.parse_args()
  compilation.keep_memory()
  compilation.set_up()
  for run in options.runs:
    config = plain.read_json(run / 'config.json', plain.DICT)
    saved = training.restore_params(training.find_checkpoint(run))
    print(f'{run}, {config["training"]["steps"]} steps')
    if options.clips:
      for video in config['data']['options']['held_out']:
        agreement(config, saved, video, options.clips)
    milliseconds(config, saved)


def agreement(config, saved, video, clips):
  """Prints the scores on one video."""
  config['data']['options']['held_out'] = (video,)
  interval = config['task']['delta']['intervals'][0]
  config['data']['evaluation'] |= {
    'clips_per_video': clips,
    'clip_length': interval,
    'flow': False,
  }
  config['task']['delta']['intervals'] = (interval,)
  task = experiment.build(config).task
  dataset = experiment.dataset(config, 'evaluation')
  scores, _ = training.evaluate(task, *saved, dataset)
  print(f'  {video}: {len(dataset)} clips')
  for name in ('copied', 'delta'):
    network = f'{name}_{interval}'
    line = [scores[f'{network}/score_{d}'] for d in range(1, interval)]
    line.append(scores[f'{network}/score'])
    print(f'    {name:8}' + ' '.join(f'{100 * x:5.1f}' for x in line))


def milliseconds(config, saved):
  """Prints the times of single frames."""
  task = config['task']
  brought, whole = brought_by(task), delta_params(*saved)
  frame = next_frame(config, brought)
  delta = distill(brought.net, make_spec(**task['delta']['spec']))
  later = Streamer(delta.freeze(whole, frame), interval=10**9)
  alone = Streamer(
    deployed.freeze_teacher(brought.net, whole['teacher'], frame), interval=1
  )
  run = jax.jit(brought.net.run)
  own = timing.milliseconds({'own': lambda: run(whole['teacher'], frame)})
  ms = own | deployed.measure(alone, frame, later)
  ms['interval 10'] = (ms['key'] + 9 * ms['later']) / 10
  for name, took in ms.items():
    times = ', '.join(f'{ms[n] / took:.2f}' for n in ('own', 'teacher'))
    print(f'    {name:12}{took:7.1f} ms, times as fast: {times}')


def next_frame(config, brought):
  """A real frame, prepared."""
  batch = experiment.dataset(config, 'evaluation')[0]
  return brought.prepare(batch['frames'][:1, 0])


if __name__ == '__main__':
  main()
