"""Makes a data set of video copies, without a download.

Sources are drives through rendered streets and the real clips that installed
packages carry (set DELTAX_CLIPS to a folder to add your own, or name folders of
clips and photographs here); copies are edited versions of them. May be stopped,
and goes on where it was.

    deltax copies runs/copies
    deltax extract runs/copies/videos --no-endings --out runs/features

OUT/train_pairs.json trains a teacher and its students, OUT/selector_pairs.json
a selector, and OUT/test.json scores a system.
"""

import argparse
import pathlib

from absl import logging

from deltax import plain
from deltax.commands import folders
from deltax.data.copies.make import make_copies
from deltax.data.copies.photographs import film_photographs
from deltax.progress import wants_bar


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('out', type=pathlib.Path, help='folder, new or begun')
  parser.add_argument(
    '--street',
    type=int,
    default=20,
    metavar='N',
    help='rendered streets, at least 4, each of which gives two sources; '
    'default: %(default)s',
  )
  parser.add_argument(
    '--seed', type=int, default=0, help='of everything; default: %(default)s'
  )
  parser.add_argument(
    '--copies',
    type=int,
    default=7,
    metavar='N',
    help='of each source; default: %(default)s',
  )
  parser.add_argument(
    '--clips',
    type=pathlib.Path,
    nargs='+',
    metavar='FOLDER',
    help='of videos to take in place of those that packages carry',
  )
  parser.add_argument(
    '--photographs',
    type=pathlib.Path,
    nargs='+',
    metavar='FOLDER',
    help='of pictures to pan and zoom over, also in their place',
  )
  parser.add_argument(
    '--test',
    type=float,
    default=0.4,
    metavar='SHARE',
    help='of the sources that is kept to test with; default: %(default)s',
  )


def run(arguments: argparse.Namespace) -> None:
  """Makes and tells.

  Raises:
    FileNotFoundError: DELTAX_CLIPS or --clips names a folder that does not
      exist.
    ValueError: no photographs, too few streets, two videos of one name, or OUT
      holds videos made with other arguments.
    ImportError: panda3d is not installed.
  """
  folders.check_folder(arguments.out)
  bar = wants_bar()
  if not bar:
    logging.set_verbosity(logging.INFO)
  clips = arguments.clips
  if arguments.photographs:
    filmed = arguments.out / 'photographs'
    film_photographs(arguments.photographs, filmed, seed=arguments.seed)
    clips = [*(clips or []), filmed]
  folder = make_copies(
    arguments.out,
    worlds=arguments.street,
    copies=arguments.copies,
    clips=clips,
    test=arguments.test,
    seed=arguments.seed,
    progress=bar,
  )
  annotations = plain.read_json(folder / 'annotations.json')
  videos, queries = annotations['videos'], annotations['queries']
  for split in ('train', 'test'):
    own = [name for name, video in videos.items() if video['split'] == split]
    sources = [name for name in own if name in queries]
    print(f'{split:5} {len(sources):4} sources, {len(own):5} videos')
  size = sum(path.stat().st_size for path in (folder / 'videos').iterdir())
  print(f'{folder}: {len(videos)} videos, {size / 1e6:.1f} MB')
