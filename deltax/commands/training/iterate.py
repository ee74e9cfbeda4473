"""Trains students one after the other, each from the last one's scores.

    deltax iterate configs/dns_fine_attention.py --workdir runs/dns \\
      --similarities teacher.pickle --iterations 2

The first learns from the teacher's scores, in WORKDIR/iter1. It scores the same
pairs, and the next learns from those, in WORKDIR/iter2. May be stopped, and
goes on where it was.
"""

import argparse
import importlib.util
import pathlib
import sys
from typing import Any

from deltax import data, experiment
from deltax.commands import folders
from deltax.data.features.similarities import (
  read_similarities,
  write_similarities,
)
from deltax.progress import wants_bar
from deltax.systems import runs, scoring


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'config', help='file of a student, perhaps with :smoke behind it'
  )
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument(
    '--similarities',
    type=pathlib.Path,
    required=True,
    help="the teacher's scores",
  )
  parser.add_argument(
    '--features',
    type=pathlib.Path,
    help="of the training videos; default: the config's",
  )
  parser.add_argument(
    '--iterations', type=int, default=2, help='default: %(default)s'
  )


def run(arguments: argparse.Namespace) -> None:
  """Trains, scores and tells, as often as asked.

  Raises:
    ValueError: the config trains no student, or a file is not what it should
      be.
    FileNotFoundError: one is missing.
  """
  folders.check_folder(arguments.workdir)
  scores = arguments.similarities
  for iteration in range(1, arguments.iterations + 1):
    config = _config(arguments.config)
    if config['task'].get('network') is None:
      raise ValueError(f'{arguments.config} trains no student')
    train = config['data']['train']
    train['similarities'] = str(scores)
    if arguments.features:
      train['features'] = str(arguments.features)
    workdir = arguments.workdir / f'iter{iteration}'
    experiment.train(config, workdir)
    written = workdir / 'similarities.json'
    if not written.exists():
      found = scoring.score_pairs(
        runs.read_part(workdir),
        data.open_features(train['features']),
        read_similarities(scores),
        progress=wants_bar(),
      )
      write_similarities(written, found)
    scores = written
    print(f'iteration {iteration}: {workdir}, its scores in {scores}')


def _config(name: str) -> dict[str, Any]:
  """The values of a config, by its file and perhaps a variant."""
  file, _, variant = name.partition(':')
  path = pathlib.Path(file)
  if not path.is_file():
    raise FileNotFoundError(f'{file}: no such config')
  root = str(path.resolve().parents[1])  # configs import each other from there
  if root not in sys.path:
    sys.path.insert(0, root)
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise ValueError(f'{file} is no config: it has no get_config')
  return module.get_config(variant).to_dict()
