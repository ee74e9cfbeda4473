"""Makes an index of videos, to be searched with `deltax search`.

    deltax index videos/ one.mp4 --out my.index --model runs/system

Without a model, a trained one that comes with this library is taken; the model
'untrained' compares features of ImageNet as they are. Every few videos are on
the disk for good: if this is stopped, run it again, and it goes on where it
was. Files that cannot be read are named and left out; where none can be read,
no index is made.
"""

import argparse
import pathlib

from deltax import systems
from deltax.commands import folders
from deltax.commands.videos import options
from deltax.data.video.find import find
from deltax.progress import wants_bar
from deltax.retrieval.search.coarse_search import KINDS


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  options.add_videos(parser)
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the index, new or begun'
  )
  options.add_model(parser, 'binary, which is trained')
  parser.add_argument(
    '--coarse',
    choices=KINDS,
    default='exact',
    help='how coarse vectors are searched: all of them, by FAISS, for '
    'millions, or by Milvus, for many machines; default: %(default)s',
  )
  parser.add_argument(
    '--milvus',
    metavar='ADDRESS',
    help='of the server for --coarse milvus, like http://host:19530; without '
    'it a file in OUT serves',
  )


def run(arguments: argparse.Namespace) -> None:
  """Makes the index, reads, encodes, adds and tells.

  Raises:
    FileNotFoundError: there is no model, or no such file.
    ValueError: there are no videos, or none that can be read; OUT is something
      else or was built with another model; --milvus is no address, or given
      with another coarse search.
  """
  videos = find(arguments.videos).videos
  model = options.folder_of(arguments.model)
  folders.check_apart(arguments.out, *videos.values(), model)
  folders.check_folder(arguments.out)
  added = systems.index_files(
    arguments.out,
    arguments.videos,
    model=arguments.model,
    coarse_search=arguments.coarse,
    coarse_address=arguments.milvus,
    progress=wants_bar(),
  )
  print('\n'.join(options.tell(arguments.out, added)))
