"""Adds videos to an index; those that are there already are left as they are.

    deltax add my.index more/ one.mp4

Every few videos are on the disk for good: if this is stopped, run it again, and
it goes on where it was. Files that cannot be read are named and left out.
Videos of the background are never found: `deltax search --normalise` takes off
what any video scores against them.
"""

import argparse
import pathlib

from deltax import systems
from deltax.commands import folders
from deltax.commands.videos import options
from deltax.data.video.find import find
from deltax.progress import wants_bar
from deltax.retrieval.index.manifest import is_index


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  options.add_videos(parser)
  options.add_model(parser, 'the one that the index was built with')
  parser.add_argument(
    '--background',
    action='store_true',
    help='they are only there to normalise scores with',
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, encodes, adds and tells.

  Raises:
    FileNotFoundError: there is no index, no model, or no such file.
    ValueError: the model is another, there are no videos, or none that can be
      added.
  """
  if is_index(arguments.index):  # else it is told below
    folders.check_folder(arguments.index)
  found = find(arguments.videos)
  index, system = systems.open_index(arguments.index, arguments.model)
  added = systems.add_videos(
    index,
    system,
    found.videos,
    background=arguments.background,
    progress=wants_bar(),
  )
  added = added._replace(skipped=found.skipped)
  print('\n'.join(options.tell(arguments.index, added)))
