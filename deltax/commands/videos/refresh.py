"""Brings an index up to date with its files, without encoding any.

    deltax refresh my.index

Files that were moved within the folders of the index, or renamed, are followed.
Videos whose file is gone are removed, but for those whose folder is gone too,
as when a disk is not there: --force removes them. Files that are others by now
are told: `deltax add` encodes them again.
"""

import argparse
import pathlib

from deltax.commands import folders
from deltax.commands.videos import options
from deltax.retrieval.index.folder import Index
from deltax.systems import refresh


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  parser.add_argument(
    '--force', action='store_true', help='remove those too whose folder is gone'
  )


def run(arguments: argparse.Namespace) -> None:
  """Looks, follows, removes and tells.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: it is damaged.
  """
  index = Index(arguments.index)
  folders.check_folder(arguments.index)
  done = refresh(index, force=arguments.force)
  lines = [
    f'{index.folder}: {done.videos:,} videos; {len(done.moved):,} moved, '
    f'{len(done.removed):,} removed'
  ]
  lines += options.few(f'moved: {a} is {b}' for a, b in done.moved.items())
  lines += options.few(f'removed: {name}' for name in done.removed)
  lines += options.few(
    f'missing: {name}: its folder is gone; --force removes it'
    for name in done.unreachable
  )
  lines += options.few(
    f'changed: {name}: `deltax add` encodes it again' for name in done.changed
  )
  print('\n'.join(lines))
