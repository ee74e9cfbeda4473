"""Whether data is read as fast as training takes it.

    python benchmarks/input.py
    python benchmarks/input.py --data cityscapes --turns 9

For every data set, files are made of the size that its config is for, and read
as `train.py` reads them. Columns: CPU milliseconds of all cores that a clip
takes to be read, decoded, augmented and put into its batch, and that it takes
in a training step of the config; how many times faster reading is than the
step here, and than the step of an accelerator that is 20 times as fast (below 1
it waits for data, unless its host has more cores); and how many times faster as
many threads as there are cores read than one, by the clock. CPU time holds on a
busy machine as well, the last column only on an idle one. `pairs` are for
evaluation, whose program takes the place of the step; of `videos` a clip is a
frame a second, a step a call of the extractor, and one thread reads. The step
beside `own_videos` is that of a config for streets, on as many pixels.
"""

import argparse
import functools
import importlib
import os
import pathlib
import tempfile
import time

import input_files
import jax
import numpy as np

from deltax import data, experiment, models, training
from deltax.data.prefetch import ahead
from deltax.data.video.files import read_chunks
from deltax.systems.extractors import CHUNK, make_extractor
from deltax.training.step import train_step

FASTER = 20  # than this machine, an accelerator
BATCH = 2  # clips of a batch that is read, and of a step that is timed
# The config that reads a data set.
CONFIGS = {
  'street': 'demo_delta',
  'street_boxes': 'demo_detection',
  'camvid': 'camvid_ddrnet23_slim',
  'cityscapes': 'cityscapes_ddrnet23_slim',
  'imagenet_vid': 'imagenet_vid_efficientdet_d0',
  'triplets': 'dns_fine_attention',
  'pairs': 'dns_fine_attention',
  'scored_pairs': 'dns_selector',
  'own_videos': 'demo_delta',
}
STREETS = {'worlds': (2, 2), 'frames': 15}


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  names = [*CONFIGS, 'videos']
  parser.add_argument('--data', nargs='+', choices=names, default=names)
  parser.add_argument('--turns', type=int, default=5, help='medians of these')
  options = parser.parse_args()
  titles = 'read ms', 'step ms', 'faster', f'than {FASTER}x', 'threads'
  print(' ' * 14 + ''.join(f'{title:>10}' for title in titles))
  for name in options.data:
    with tempfile.TemporaryDirectory() as folder:
      make = videos if name == 'videos' else functools.partial(of_config, name)
      read, step = make(pathlib.Path(folder))
      print(f'{name:14}' + line(read, step, options.turns), flush=True)


def line(read, step, turns):
  """The columns of a data set."""
  cores = len(os.sched_getaffinity(0))
  clock, cpu = time.perf_counter, time.process_time
  reading = median(functools.partial(read, 1), turns, cpu)
  taking = median(step, turns, cpu)
  alone, together = (
    median(functools.partial(read, threads), turns, clock)
    for threads in (1, cores)
  )
  faster = taking / reading
  figures = reading, taking, faster, faster / FASTER, alone / together
  return ''.join(
    f'{x:10.{d}f}' for x, d in zip(figures, (2, 0, 1, 2, 2), strict=True)
  )


def median(call, turns, clock):
  """Milliseconds a clip of a call that gives how many clips it took."""
  call()
  times = []
  for _ in range(turns):
    start = clock()
    clips = call()
    times.append(1000 * (clock() - start) / clips)
  return float(np.median(times))


def of_config(name, folder):
  """What reads a data set, and the step of its config."""
  module = importlib.import_module(f'configs.{CONFIGS[name]}')
  config = module.get_config().to_dict()
  config['teacher'] = ''
  config['training']['parallel'] = 'jit'
  config['task'].get('delta', {}).pop('latency', None)
  split = 'evaluation' if name == 'pairs' else 'train'
  described = config['data']
  if name == 'own_videos':
    described = config['data'] = own_videos(described)
  described[split]['batch_size'] = BATCH
  described['options'] |= made(name, folder)
  if name in ('triplets', 'pairs', 'scored_pairs'):
    for part in (described['options'], described[split]):
      part |= files_of(name, folder, part)
  dataset = experiment.dataset(config, split)
  return functools.partial(read, dataset), step_of(config, dataset, split)


def own_videos(streets):
  """The data of a config for streets, of clips without labels."""
  size = streets['options']['size']
  kept = ('split', 'train', 'clip_length', 'max_distance', 'jitter')
  return {
    'name': 'own_videos',
    'options': {'size': size, 'held_out': 'held_out.mp4'},
    'train': {name: streets['train'][name] for name in kept},
  }


def made(name, folder):
  """Options of the data that are files of its own."""
  if name in ('street', 'street_boxes'):
    return {**STREETS, 'data_dir': str(folder)}
  make = getattr(input_files, name, None)
  return make(folder) if make else {}


@functools.cache
def features():
  kept = tempfile.TemporaryDirectory()
  return kept, input_files.features(pathlib.Path(kept.name))


def files_of(name, folder, part):
  """Made files for those that a config names."""
  del folder
  _, paths = features()
  kinds = {
    'features': paths['features'],
    'similarities': paths['fine'],
    'annotations': paths['copies'],
    'fine': paths['fine'],
    'coarse': paths['coarse'],
  }
  return {key: kinds[key] for key in part if key in kinds}


def read(dataset, threads):
  """Reads some batches in the background, as training does."""
  count = min(2 * threads + 2, len(dataset))
  for _ in data.prefetch(dataset, 0, count, threads=threads, ahead=threads):
    pass
  return count * BATCH


def videos(folder):
  """What reads a video, and a call of an extractor."""
  path = input_files.video(folder)
  net = models.create('efficientnet_lite0', num_classes=None)
  frames = np.zeros((CHUNK, 224, 224, 3), np.uint8)
  weights = jax.jit(net.init)(jax.random.key(0), frames[:1] / np.float32(255))
  extractor = make_extractor('efficientnet_lite0', weights=weights)

  def reading(threads):
    del threads  # one reads, as `deltax extract` does
    return sum(len(part.frames) for part in ahead(read_chunks(path, CHUNK)))

  def call():
    return len(extractor(frames))

  return reading, call


def step_of(config, dataset, split):
  """A call of the config's step on one batch."""
  built, batch = experiment.build(config), dataset[0]
  if config['data']['name'] == 'own_videos':  # what is not read costs nothing
    del batch['times']
    batch['labels'] = np.zeros(batch['frames'].shape[:-1], np.uint8)
  optimizer = training.make_optimizer(steps=10, **config['optimizer'])
  if split == 'evaluation':
    batch = batch | {
      name: batch[place]
      for name, place in (('anchor', 'query'), ('anchor_mask', 'query_mask'))
    }
  task = built.task
  state = training.create_state(task, optimizer, batch, 0)
  if split == 'evaluation':
    evaluate = jax.jit(task.evaluate)
    given = state.params, state.model_state, batch
    run = functools.partial(evaluate, *given)
  else:
    step = functools.partial(train_step, task=task, optimizer=optimizer)
    run = functools.partial(jax.jit(step), state, batch)

  def call():
    jax.block_until_ready(run())
    return BATCH

  return call


if __name__ == '__main__':
  main()
