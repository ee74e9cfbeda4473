"""The `deltax` command: one subcommand a file, in folders by what it is about.

A file has `configure(parser)`, which adds its arguments, and `run(arguments)`.
With `PASSES_ON`, a flag, `arguments.passed_on` has what stands behind `--`. It
is imported when its subcommand is asked for, so that help comes at once.
"""

import argparse
import difflib
import gc
import importlib
import sys
from collections.abc import Sequence

import deltax
from deltax.errors import stopped_at_once, told_in_one_sentence

# By folder: what its commands are about, and what each of them gives.
COMMANDS = {
  'network': (
    'your network',
    {
      'distill': 'a network that is trained already, on videos without labels',
      'run': 'a trained network on a video: the video annotated, and its speed',
      'label': 'labels for the frames of a data set, to train on',
      'profile': 'milliseconds of every layer and student, measured here',
      'export': 'a delta network as programs that run without this library',
      'convert': 'a published PyTorch checkpoint, to start a run from',
      'compare': 'evaluated runs side by side: score against GMACs and time',
    },
  ),
  'videos': (
    'your videos',
    {
      'index': 'videos into an index, to search it',
      'add': 'more videos to an index',
      'remove': 'videos from an index',
      'refresh': 'an index after files were moved or deleted',
      'search': 'the videos of an index that a query is in, and where',
      'duplicates': 'all copies within a collection, side by side',
      'mark': 'that two videos are no copies, whatever they look like',
      'info': 'what is in an index, and what it takes on the disk',
    },
  ),
  'serving': (
    'your videos, for others',
    {'serve': 'searches of an index over HTTP, and a page to drop a video on'},
  ),
  'training': (
    'training retrieval',
    {
      'copies': 'a data set of video copies, made without a download',
      'extract': 'features of videos, into a store that may be continued',
      'whiten': 'what makes features of a store small and even',
      'score': 'scores of pairs of videos by a trained network',
      'iterate': 'students one after the other, each from the last one',
      'bundle': 'trained retrieval networks as one system, to index with',
    },
  ),
}


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs a subcommand.

  Args:
    arguments: its name and its arguments; those of the process when absent.

  Raises:
    SystemExit: always when something is wrong, after one message: with 2 for a
      command or an argument that is not known, else as `told_in_one_sentence`.
  """
  first, *rest = list(sys.argv[1:] if arguments is None else arguments) or ['']
  with told_in_one_sentence('deltax'):
    folder, name = _named(first)
  with told_in_one_sentence(f'deltax {name}'):
    with stopped_at_once(f'deltax {name}'):
      command = importlib.import_module(f'deltax.commands.{folder}.{name}')
    if arguments is None:
      # What a process imports stays: not to look for garbage in it is worth
      # half a second of a search.
      gc.freeze()
    rest, passed_on = parted(rest, getattr(command, 'PASSES_ON', ''))
    parser = argparse.ArgumentParser(
      prog=f'deltax {name}',
      description=command.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.configure(parser)
    parsed = parser.parse_args(rest)
    parsed.passed_on = passed_on
    if 'jax' in sys.modules:  # else there is nothing to compile
      from deltax import compilation

      if arguments is None and folder == 'network':  # frame after frame
        compilation.keep_memory()
      compilation.set_up()
    command.run(parsed)


def parted(arguments: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
  """Arguments of a command, and those that it passes on to another program.

  Args:
    arguments: of both.
    flag: the command's, with which all behind a `--` is the other program's.

  >>> parted(['a', '--beam', '--', '--runner=Direct'], '--beam')
  (['a', '--beam'], ['--runner=Direct'])
  """
  own, passed_on = list(arguments), []
  if '--' in own and flag in own[: own.index('--')]:
    place = own.index('--')
    own, passed_on = own[:place], own[place + 1 :]
  return own, passed_on


def _named(first: str) -> tuple[str, str]:
  """The folder and name of a command, by the first argument."""
  parser = argparse.ArgumentParser(
    prog='deltax',
    usage='deltax COMMAND ...',
    description='Efficient video networks: delta distillation and more.',
    epilog=_listed(),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--version', action='version', version=f'deltax {deltax.__version__}'
  )
  parser.add_argument(
    'command', metavar='COMMAND', help='one of those below, each with a --help'
  )
  name = parser.parse_args([first] if first else []).command
  folders = {
    command: folder
    for folder, (_, commands) in COMMANDS.items()
    for command in commands
  }
  if name not in folders:
    near = difflib.get_close_matches(name, folders, 1)
    meant = ''.join(near)
    parser.error(
      f'there is no command {name!r}; '
      + (f'is {meant!r} meant?' if meant else f'known: {", ".join(folders)}')
    )
  return folders[name], name


def _listed() -> str:
  """All commands, by what they are about."""
  lines = []
  for about, commands in COMMANDS.values():
    lines += ['', f'{about}:']
    lines += [f'  {name:10} {text}' for name, text in commands.items()]
  return '\n'.join(lines[1:])
