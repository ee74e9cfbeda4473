"""Scores pairs of videos with a trained network, for students to learn from.

    deltax score runs/teacher --features features --pairs pairs.json \\
      --out similarities.json

The pairs keep their roles, positive or negative; their scores are replaced.
"""

import argparse
import pathlib

from deltax import data
from deltax.commands import folders
from deltax.data.features.similarities import (
  read_similarities,
  write_similarities,
)
from deltax.progress import wants_bar
from deltax.systems import runs, scoring


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('run', type=pathlib.Path, help='folder of the run')
  parser.add_argument('--features', type=pathlib.Path, required=True)
  parser.add_argument(
    '--pairs', type=pathlib.Path, required=True, help='file of similarities'
  )
  parser.add_argument('--out', type=pathlib.Path, required=True)


def run(arguments: argparse.Namespace) -> None:
  """Reads, scores, writes and tells.

  Raises:
    ValueError: a file or the run is not what it should be.
    FileNotFoundError: one is missing.
  """
  folders.check_apart(
    arguments.out, arguments.run, arguments.features, arguments.pairs
  )
  folders.check_file(arguments.out)
  pairs = read_similarities(arguments.pairs)
  features = data.open_features(arguments.features)
  part = runs.read_part(arguments.run)
  found = scoring.score_pairs(part, features, pairs, progress=wants_bar())
  write_similarities(arguments.out, found)
  count, before = (
    sum(len(x) for both in each.pairs.values() for x in both)
    for each in (found, pairs)
  )
  print(f'{arguments.out}: {count} pairs scored by {part.name}')
  if count < before:
    print(f'{before - count} pairs have no features and were left out')
