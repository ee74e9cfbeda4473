"""Distills a trained network on videos that nobody labelled.

    deltax distill examples/hed.py:hed --weights hed.h5 --videos my_videos \\
      --size 240x320 --mapping examples/hed.py:key \\
      --prepare examples/hed.py:prepare --out runs/mine

NETWORK is a name of ours, package.module:factory or path/to/file.py:factory,
with the arguments of the factory behind it as key=value. Its frames are RGB,
normalised as for ImageNet, unless --prepare, or --mean, --std, --scale and
--bgr, make of them what it was trained on; the page shows a frame as the
network sees it.

First every student is solved for by least squares on a few clips, then all are
trained together; whole videos are held out, and the page tells how far the
delta network agrees with the network itself on them, at which cost, beside
copying the key frame's output. OUT is a run: a config, checkpoints, a page.
Started again, it goes on where it was. With several targets there is a run for
each in OUT, and a page of all.
"""

import argparse
import ast
import pathlib
import tempfile
from typing import Any

from absl import logging

from deltax import experiment, plain, training
from deltax.commands import folders
from deltax.commands.network import compare
from deltax.commands.sizes import read_size
from deltax.tasks.imitation.kinds import KINDS
from deltax.tasks.imitation.recipe import recipe

PROBE = 12  # steps that tell how many there are in a minute
LEAST = 20  # steps of a training by minutes
FARTHEST = 30  # frames from a key frame that the drift is shown to


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('network', help='a name, module:factory or file:factory')
  parser.add_argument(
    'options', nargs='*', metavar='KEY=VALUE', help='of the factory'
  )
  parser.add_argument(
    '--weights',
    required=True,
    help='file (safetensors, npz, msgpack, HDF5, PyTorch), or folder of orbax '
    "or of a run; 'packaged' for those that come as a package",
  )
  parser.add_argument(
    '--mapping',
    default='',
    help="from the network's paths to the names in the file: module:function, "
    'or a JSON file',
  )
  parser.add_argument(
    '--videos', nargs='+', required=True, help='files and folders'
  )
  parser.add_argument(
    '--held-out',
    nargs='+',
    default=(),
    metavar='NAME',
    help='videos to judge on, by name or pattern; default: a fifth of them',
  )
  parser.add_argument(
    '--fps',
    type=float,
    help='frames of a second that the network will see, which distances are '
    "told in; default: the videos' own",
  )
  parser.add_argument(
    '--size', required=True, help='rows x columns of a frame, as 240x320'
  )
  parser.add_argument('--out', type=pathlib.Path, required=True)
  _configure_network(parser)
  _configure_training(parser)


def _configure_network(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--prepare',
    default='',
    metavar='FUNCTION',
    help='module:function from uint8 RGB frames to what the network takes',
  )
  parser.add_argument('--mean', type=float, nargs='+')
  parser.add_argument('--std', type=float, nargs='+')
  parser.add_argument('--scale', type=float, help='of pixels, before the mean')
  parser.add_argument('--bgr', action='store_true', help='blue first')
  parser.add_argument(
    '--output',
    nargs='+',
    default=(),
    metavar='NAME=KIND',
    help=f'what the outputs are, the main one first: {", ".join(KINDS)}; '
    'default: a guess, which is told',
  )
  parser.add_argument(
    '--draw',
    default='',
    metavar='FUNCTION',
    help='module:function from a frame and its outputs to a picture or boxes',
  )


def _configure_training(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--target',
    type=float,
    nargs='+',
    default=(),
    metavar='SHARE',
    help="of the network's cost that a later frame may have; a run for each",
  )
  parser.add_argument(
    '--by',
    choices=('macs', 'time'),
    default='macs',
    help='what a target is a share of: multiply-accumulates, or milliseconds '
    'measured here; default: %(default)s',
  )
  parser.add_argument(
    '--blocks',
    nargs='+',
    default=(),
    metavar='NAME',
    help='classes or paths of modules that may have one student in place of '
    'those of their layers, where there is a target',
  )
  parser.add_argument(
    '--interval',
    type=int,
    default=10,
    help='distance of key frames; default: %(default)s',
  )
  length = parser.add_mutually_exclusive_group()
  length.add_argument('--steps', type=int, help='default: 400')
  length.add_argument('--minutes', type=float, help='of training, about')
  parser.add_argument('--crop', help='of training clips, as 112x112')
  parser.add_argument('--batch-size', type=int, default=4)
  parser.add_argument(
    '--data-dir', help='where frames are stored; default: DELTAX_DATA'
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, chooses, trains, evaluates and tells.

  Raises:
    ValueError: lists what of the weights does not fit, or names what else
      cannot be; nothing is started then.
    FileNotFoundError: there is no such file or folder.
  """
  logging.set_verbosity(logging.INFO)
  folders.check_folder(arguments.out)
  if arguments.interval < 2:
    raise ValueError(f'--interval is at least 2, got {arguments.interval}')
  config = _filled(arguments)
  built = experiment.build(config)  # before any video is read
  _set_clip_length(config, arguments.interval)
  if not arguments.target:
    return _one(arguments.out, config, arguments.minutes)
  named = {arguments.out / f'target_{x:g}': x for x in arguments.target}
  new = [out for out in named if not (out / 'config.json').exists()]
  config['fit'] |= {'by': arguments.by, 'blocks': tuple(arguments.blocks)}
  specs = _specs(config, built, [named[out] for out in new])
  for out in named:
    if out in new:
      config['task']['delta']['spec'] = specs[new.index(out)]
    _one(out, config, arguments.minutes)
  if len(named) > 1:
    title = f'{arguments.network}: agreement against cost'
    compare.write([*named], arguments.out / 'front.html', title)


def _specs(
  config: dict, built: experiment.Experiment, targets: list[float]
) -> list[dict]:
  """What to distill for each target; nothing to choose for none."""
  if not targets:
    return []
  print(f'choosing students for {", ".join(map(str, targets))} of the cost')
  return experiment.choose(config, built.task, targets)


def _one(out: pathlib.Path, config: dict, minutes: float | None) -> None:
  """A run, begun or continued, and its page."""
  begun = out / 'config.json'
  if begun.exists():
    config = plain.read_json(begun, plain.DICT)
    print(f'{out}: goes on, with the config that is there')
  elif minutes is not None:
    config['training'] |= _length(config, minutes)
  experiment.train(config, out, judged=False)  # once, below
  page = experiment.evaluate(config, out)
  experiment.write_page(page, out, out / 'report.html')


def _filled(arguments: argparse.Namespace) -> dict[str, Any]:
  """The recipe, with what the arguments say."""
  config = recipe(read_size(arguments.size, '240x320'))
  task, described = config['task'], config['data']
  config['teacher'], config['mapping'] = arguments.weights, arguments.mapping
  task |= {
    'model': arguments.network,
    'options': dict(_pair(text) for text in arguments.options),
    'outputs': dict(_named(text) for text in arguments.output),
    'draw': arguments.draw,
    'preparation': {
      'function': arguments.prepare,
      'mean': _three(arguments.mean),
      'std': _three(arguments.std),
      'scale': arguments.scale,
      'bgr': arguments.bgr,
    },
  }
  task['delta']['intervals'] = sorted({arguments.interval, FARTHEST})
  described['options'] |= {
    'videos': tuple(arguments.videos),
    'held_out': tuple(arguments.held_out),
    'fps': arguments.fps,
    'max_distance': max(1, arguments.interval),
    'data_dir': arguments.data_dir,
  }
  described['train']['batch_size'] = arguments.batch_size
  if arguments.crop:
    described['train']['crop'] = read_size(arguments.crop, '112x112')
  steps = 400 if arguments.steps is None else arguments.steps
  config['training'] |= {
    'steps': steps,
    'evaluate_every': max(1, steps),
    'best': None,
  }
  config['title'] = f"{arguments.network}: its deltas on videos of one's own"
  return config


def _set_clip_length(config: dict[str, Any], interval: int) -> None:
  """Evaluates on clips as long as the videos that are held out allow.

  Raises:
    ValueError: they do not even have `interval` frames.
  """
  evaluation, delta = config['data']['evaluation'], config['task']['delta']
  for length in sorted({FARTHEST + 1, interval + 1, interval}, reverse=True):
    evaluation['clip_length'] = length
    try:
      experiment.dataset(config, 'evaluation')
      break
    except ValueError:
      if length == interval:
        raise
  delta['intervals'] = [n for n in delta['intervals'] if n <= length]


def _three(given: list[float] | None) -> float | list[float] | None:
  return given[0] if given is not None and len(given) == 1 else given


def _pair(text: str) -> tuple[str, Any]:
  """An argument and its value, a text where it is no literal of Python."""
  key, sign, value = text.partition('=')
  if not sign or not key.isidentifier():
    raise ValueError(f'{text!r} is no argument such as num_classes=19')
  try:
    return key, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return key, value


def _named(text: str) -> tuple[str, str]:
  name, sign, kind = text.rpartition('=')
  if not sign:
    raise ValueError(
      f'--output is a name and a kind such as output=classes, got {text!r}'
    )
  return name, kind


def _length(config: dict, minutes: float) -> dict[str, int]:
  """The steps that take so many minutes, as a few of them tell."""
  few = {'steps': PROBE, 'log_every': PROBE // 3, 'checkpoint_every': PROBE}
  config = {**config, 'training': config['training'] | few}
  with tempfile.TemporaryDirectory() as folder:
    training.train(
      experiment.build(config).task,
      experiment.dataset(config, 'train'),
      workdir=folder,
      optimizer=experiment.optimizer(config),
      **config['training'],
      progress=False,
    )
    rows = training.read_metrics(folder)
  rate = [row['steps_per_second'] for row in rows if 'steps_per_second' in row]
  steps = max(LEAST, round(60 * minutes * rate[-1]))
  print(f'{steps} steps take about {minutes:g} minutes')
  return {'steps': steps, 'evaluate_every': steps}
