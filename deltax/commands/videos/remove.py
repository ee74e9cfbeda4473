"""Removes videos from an index, by the names that `deltax info` lists.

    deltax remove my.index one.mp4 trip/two.mkv

They are not found any more. Their space is given back when a quarter of the
videos that were stored together are removed, or at once with --compact.
"""

import argparse
import pathlib
import unicodedata

from deltax.retrieval.index.folder import Index


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  parser.add_argument('names', nargs='*', metavar='NAME', help='of a video')
  parser.add_argument(
    '--compact', action='store_true', help='give back the space of all removed'
  )


def run(arguments: argparse.Namespace) -> None:
  """Removes and tells.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: a video is not in it, and none was removed; or no name is given.
  """
  if not arguments.names and not arguments.compact:
    raise ValueError('nothing to do: give names of videos, or --compact')
  index = Index(arguments.index)
  before = len(index)
  # However its accents were typed.
  names = [unicodedata.normalize('NFC', name) for name in arguments.names]
  index.remove(
    given if given in index else name
    for given, name in zip(arguments.names, names, strict=True)
  )
  if arguments.compact:
    index.compact()
  print(f'{index.folder}: {before - len(index):,} removed, {len(index):,} left')
