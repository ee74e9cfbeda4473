"""Makes an index of videos, to be searched with `deltax search`.

    deltax index videos/ one.mp4 --out my.index --model runs/system

Without a model, features of ImageNet are compared as they are. Every few videos
are on the disk for good: if this is stopped, run it again, and it goes on where
it was. Files that cannot be read are named and left out.
"""

import argparse
import pathlib

from deltax.commands import folders
from deltax.data.video import find
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import MANIFEST
from deltax.retrieval.search.coarse import KINDS
from deltax.systems import folder, indexing


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  indexing.add_videos_argument(parser)
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the index, new or begun'
  )
  indexing.add_model(parser, 'one that needs no training')
  parser.add_argument(
    '--coarse',
    choices=KINDS,
    default='exact',
    help='how coarse vectors are searched: all of them, or by FAISS, for '
    'millions; default: %(default)s',
  )


def run(arguments: argparse.Namespace) -> None:
  """Makes the index, reads, encodes, adds and tells.

  Raises:
    FileNotFoundError: there is no model, or no such file.
    ValueError: there are no videos, or OUT is something else or was built with
      another model.
  """
  videos = find.find_videos(arguments.videos)
  folders.check_apart(arguments.out, *videos.values(), arguments.model)
  if (arguments.out / MANIFEST).exists():
    index, system = indexing.open_index(arguments.out, arguments.model)
  else:
    system = folder.load_system(arguments.model)
    index = Index.create(
      arguments.out,
      fingerprint=system.fingerprint,
      description=system.description,
      model=arguments.model and str(arguments.model.resolve()),
      coarse_search=arguments.coarse,
    )
  added = indexing.add_videos(index, system, videos)
  print('\n'.join(indexing.tell(index, added)))
