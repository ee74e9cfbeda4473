"""Makes an index of videos, to be searched with `deltax search`.

    deltax index videos/ one.mp4 --out my.index --model runs/system

Without a model, a trained one that comes with this library is taken; the model
'untrained' compares features of ImageNet as they are. Every few videos are on
the disk for good: if this is stopped, run it again, and it goes on where it
was. Files that cannot be read are named and left out; where none can be read,
no index is made.

With --beam, videos are encoded by a pipeline of Apache Beam, and may be given
as gs://... or s3://... too. What stands behind `--` is for it and its runner;
without anything, it runs in this process. In float32 the index is the same:

    deltax index videos/ --out my.index --beam -- --direct_num_workers=2 \\
      --direct_running_mode=multi_processing
"""

import argparse
import pathlib

from deltax import systems
from deltax.commands import folders
from deltax.commands.videos import options
from deltax.data.video.find import find
from deltax.errors import DeltaxError
from deltax.identity import is_elsewhere
from deltax.progress import wants_bar
from deltax.retrieval.search.coarse_search import KINDS

PASSES_ON = '--beam'


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
  parser.add_argument(
    PASSES_ON,
    action='store_true',
    help='encode by a pipeline of Apache Beam, with the flags behind `--`',
  )
  parser.add_argument(
    '--store',
    metavar='PLACE',
    help='with --beam: folder or address where all workers can write what is '
    'encoded, until it is in the index; default: OUT.beam',
  )
  parser.add_argument(
    '--dtype',
    choices=('float32', 'bfloat16'),
    help='with --beam: of the network that describes frames; default: bfloat16 '
    'on accelerators, float32 else',
  )


def run(arguments: argparse.Namespace) -> None:
  """Makes the index, reads, encodes, adds and tells.

  Raises:
    FileNotFoundError: there is no model, or no such file.
    ImportError: Beam is asked for, and not installed.
    ValueError: there are no videos, or none that can be read; OUT is something
      else or was built with another model; --milvus is no address, or given
      with another coarse search.
  """
  elsewhere = list(filter(is_elsewhere, arguments.videos))
  here = [place for place in arguments.videos if place not in elsewhere]
  if elsewhere and not arguments.beam:
    raise DeltaxError(f'{elsewhere[0]} is read with --beam only')
  for option in ('store', 'dtype'):
    if getattr(arguments, option) and not arguments.beam:
      raise DeltaxError(f'--{option} is an option of --beam')
  videos = find(here).videos if here else {}
  model = options.folder_of(arguments.model)
  folders.check_apart(arguments.out, *videos.values(), model)
  folders.check_folder(arguments.out)
  given = {
    'model': arguments.model,
    'coarse_search': arguments.coarse,
    'coarse_address': arguments.milvus,
    'progress': wants_bar(),
  }
  if arguments.beam:
    from deltax.systems import beam  # which not everybody has installed

    given |= {'flags': arguments.passed_on, 'store': arguments.store}
    given['dtype'] = arguments.dtype
    added = beam.index_files(arguments.out, arguments.videos, **given)
  else:
    added = systems.index_files(arguments.out, arguments.videos, **given)
  print('\n'.join(options.tell(arguments.out, added)))
