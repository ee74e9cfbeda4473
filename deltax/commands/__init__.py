"""The `deltax` command: one subcommand a file of this folder.

A file has `configure(parser)`, which adds its arguments, and `run(arguments)`.
It is imported when its subcommand is asked for, so that help comes at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
  'bundle': 'trained retrieval networks as one system, to index with',
  'distill': 'students one after the other, each from the last one',
  'score': 'scores of pairs of videos by a trained network',
  'convert': 'a published PyTorch checkpoint, to start a run from',
  'export': 'a delta network as programs that run without this library',
  'run': (
    'a trained network on a video: the annotated video, and frames per second'
  ),
  'profile': (
    'milliseconds of every layer and student of a network, measured here'
  ),
  'compare': 'evaluated runs side by side: score against GMACs and time',
  'copies': 'a data set of video copies, made without a download',
  'extract': 'features of videos, into a store that may be continued',
  'whiten': 'what makes features of a store small and even, fitted to them',
  'index': 'videos into an index, to search it',
  'search': 'the videos of an index that a query is in, and where',
  'add': 'more videos to an index',
  'remove': 'videos from an index',
  'info': 'what is in an index, and what it takes on the disk',
}

FOLDERS = {
  'compare': 'network',
  'convert': 'network',
  'export': 'network',
  'profile': 'network',
  'run': 'network',
  'index': 'videos',
  'add': 'videos',
  'remove': 'videos',
  'search': 'videos',
  'info': 'videos',
  'extract': 'training',
  'whiten': 'training',
  'score': 'training',
  'distill': 'training',
  'bundle': 'training',
  'copies': 'training',
}


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs a subcommand.

  Args:
    arguments: its name and its arguments; those of the process when absent.

  Raises:
    SystemExit: always when something is wrong, after one message.
  """
  parser = argparse.ArgumentParser(
    prog='deltax',
    description='Efficient video networks: delta distillation and more.',
  )
  commands = parser.add_subparsers(
    dest='command', metavar='COMMAND', required=True
  )
  for name, text in COMMANDS.items():
    commands.add_parser(name, help=text, add_help=False)
  first, *rest = list(sys.argv[1:] if arguments is None else arguments) or ['']
  name = parser.parse_args([first] if first else []).command
  command = importlib.import_module(f'deltax.commands.{FOLDERS[name]}.{name}')
  own = argparse.ArgumentParser(
    prog=f'deltax {name}',
    description=command.__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  command.configure(own)
  try:
    command.run(own.parse_args(rest))
  except (ValueError, OSError, ImportError) as error:
    own.exit(1, f'deltax {name}: {error}\n')
