"""A network trained on smaller frames: the rival of its own delta network.

    python benchmarks/smaller.py runs/street_large/macs --sizes 176x368 128x256

RUN is a delta network for segmentation. Its teacher is judged on smaller frames
of the run's evaluation clips, as it stands and after training on such: single
frames of the run's training clips. Labels keep their size, to which outputs are
resized, so that all figures are of the same pixels.
"""

import argparse
import pathlib
import tempfile

from front import read_run

from deltax import compilation, training
from deltax.experiment import starts
from deltax.tasks.segmentation.report import on_smaller
from deltax.tasks.segmentation.task import make_task
from deltax.tasks.video import rivals

OPTIMIZER = dict(name='adamw', learning_rate=1e-3, weight_decay=1e-4)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('run', type=pathlib.Path)
  parser.add_argument('--sizes', nargs='+', required=True, help='as 176x368')
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--frames', type=int, default=4, help='of a step')
  options = parser.parse_args()
  compilation.set_up()
  config, _, _, whole = read_run(options.run)
  config['data']['train'].update(clip_length=1, batch_size=options.frames)
  frames, judged = (starts.dataset(config, x) for x in ('train', 'evaluation'))
  print('| teacher on | mIoU as it stands | trained |\n|---|---|---|')
  for spelled in options.sizes:
    size = tuple(map(int, spelled.split('x')))
    task = on_smaller(network(config['task'], whole['teacher']), size)
    figures = [
      scored(task, size, frames, judged, steps) for steps in (0, options.steps)
    ]
    cells = ' | '.join(f'{100 * figure:.1f}' for figure in figures)
    print(f'| {spelled} | {cells} |', flush=True)


def network(options, teacher):
  """The task of the network alone, which starts from the teacher."""
  kept = {name: options[name] for name in ('model', 'num_classes', 'loss')}
  return make_task(**kept, teacher=teacher)


def scored(task, size, frames, judged, steps):
  """mIoU after so many steps; a learning rate that falls to nothing."""
  optimizer = training.make_optimizer(
    **OPTIMIZER, steps=max(1, steps), schedule='cosine'
  )
  with tempfile.TemporaryDirectory() as folder:
    state = training.train(
      *(task, frames), workdir=folder, steps=steps, optimizer=optimizer
    )
  scores, _ = training.evaluate(task, state.params, state.model_state, judged)
  return scores[f'{rivals.name_of(size)}/miou']


if __name__ == '__main__':
  main()
