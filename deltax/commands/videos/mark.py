"""Remembers that two videos of an index are no copies of each other.

    deltax mark my.index holiday/a.mp4 party/b.mp4 --different

`deltax duplicates` then leaves the pair out. It is remembered by what is in the
files: also when they are moved or renamed.
"""

import argparse
import pathlib

from deltax.commands import folders
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.marks import mark


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  parser.add_argument('first', help='name of a video in it')
  parser.add_argument('second', help='name of another')
  kind = parser.add_mutually_exclusive_group(required=True)
  kind.add_argument(
    '--different', action='store_true', help='they are no copies'
  )
  kind.add_argument('--forget', action='store_true', help='take that back')


def run(arguments: argparse.Namespace) -> None:
  """Notes it and tells.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: it is damaged, or has no such videos.
  """
  index = Index(arguments.index)
  folders.check_folder(arguments.index)
  pair = arguments.first, arguments.second
  new = mark(index, *pair, different=arguments.different)
  told = 'are no copies' if arguments.different else 'may be copies'
  already = '' if new else ', as was noted already'
  print(f'{pair[0]} and {pair[1]} {told}{already}')
