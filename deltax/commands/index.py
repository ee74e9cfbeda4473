"""Makes an index of videos, to be searched with `deltax search`.

    deltax index videos/ one.mp4 --out my.index --model runs/system

Without a model, features of ImageNet are compared as they are. Every few videos
are on the disk for good: if this is stopped, run it again, and it goes on where
it was. Files that cannot be read are named and left out.
"""

import argparse
import pathlib

from deltax.commands import index_parts
from deltax.data import video_files
from deltax.retrieval.coarse_search import KINDS
from deltax.retrieval.index import Index
from deltax.retrieval.index_manifest import MANIFEST
from deltax.tasks import retrieval_system


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  index_parts.add_videos_argument(parser)
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the index, new or begun'
  )
  index_parts.add_model(parser, 'one that needs no training')
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
  videos = video_files.find_videos(arguments.videos)
  if (arguments.out / MANIFEST).exists():
    index, system = index_parts.open_index(arguments.out, arguments.model)
  else:
    system = retrieval_system.load_system(arguments.model)
    index = Index.create(
      arguments.out,
      fingerprint=system.fingerprint,
      description=system.description,
      model=arguments.model and str(arguments.model.resolve()),
      coarse_search=arguments.coarse,
    )
  added = index_parts.add_videos(index, system, videos)
  print('\n'.join(index_parts.tell(index, added)))
