"""Finds all copies within a collection of videos.

    deltax duplicates films/ --html copies.html
    deltax duplicates my.index

Videos that are the same stand together in a group; a video that is contained in
another, and two that share a part, are told as pairs. Nothing is ever deleted.
Of folders, an index is made first: with --index it is kept, so that a second
look takes seconds, and `deltax mark` can note there what is no copy. Of files
with the same bytes only one is decoded.
"""

import argparse
import contextlib
import json
import pathlib
import tempfile
from collections.abc import Iterator

from deltax import systems
from deltax.commands import folders
from deltax.commands.videos import options
from deltax.commands.videos.listing import list_copies
from deltax.data.video.find import find
from deltax.progress import wants_bar
from deltax.report.retrieval.duplicates_contents import (
  ListedCopies,
  ListedPair,
  ListedVideo,
)
from deltax.report.retrieval.duplicates_page import write_duplicates_page
from deltax.report.retrieval.search_page import clock
from deltax.retrieval.duplicates.find import (
  CONTAINED,
  EACH,
  PART,
  find_duplicates,
)
from deltax.retrieval.index.manifest import is_index
from deltax.retrieval.index.marks import read_marks, same_files


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'places',
    nargs='+',
    type=pathlib.Path,
    help='an index, or files and folders',
  )
  parser.add_argument(
    '--index', type=pathlib.Path, help='of folders: the index to keep, or begun'
  )
  parser.add_argument(
    '--budget',
    type=int,
    metavar='PAIRS',
    help=f'pairs compared frame by frame; default: {EACH} for each video',
  )
  parser.add_argument(
    '--least',
    type=float,
    default=0.5,
    help='score that a pair must have; default: %(default)s',
  )
  options.add_told(parser)
  options.add_model(parser, 'that of the index; of a new one binary')


def run(arguments: argparse.Namespace) -> None:
  """Indexes if need be, compares and tells.

  Raises:
    FileNotFoundError: there is no such place, or no model.
    ValueError: an index beside other places, or the model is another.
  """
  _check(arguments)
  with _index(arguments) as folder:
    index, system = systems.open_index(folder, arguments.model)
    found = find_duplicates(
      index,
      system,
      budget=arguments.budget,
      least=arguments.least,
      different=read_marks(folder),
      progress=wants_bar(),
    )
    listed = list_copies(index, found, same_files(index))
  if arguments.html:
    write_duplicates_page(arguments.html, listed)
  if arguments.json:
    print(json.dumps(as_json(listed), indent=2))
  else:
    print('\n'.join([*lines(listed), '', *listed.notes]))


def _check(arguments: argparse.Namespace) -> None:
  places = arguments.places
  indexes = [place for place in places if is_index(place)]
  if indexes and (len(places) > 1 or arguments.index):
    raise ValueError(
      f'{indexes[0]} is an index: expected it alone, or files and folders'
    )
  if arguments.budget is not None and arguments.budget < 0:
    raise ValueError(f'--budget is at least 0, got {arguments.budget}')
  videos = [] if indexes else find(places).videos.values()
  read = [*indexes, *videos, options.folder_of(arguments.model)]
  if arguments.html:
    folders.check_apart(arguments.html, *read, arguments.index)
    folders.check_file(arguments.html)
  if arguments.index:
    folders.check_apart(arguments.index, *read)
    folders.check_folder(arguments.index)


@contextlib.contextmanager
def _index(arguments) -> Iterator[pathlib.Path]:
  """The folder of an index of the places."""
  if is_index(arguments.places[0]):
    yield arguments.places[0]
    return
  with tempfile.TemporaryDirectory() as beside:
    folder = arguments.index or pathlib.Path(beside) / 'index'
    added = systems.index_files(
      folder, arguments.places, model=arguments.model, progress=wants_bar()
    )
    if not arguments.json:
      print('\n'.join([*options.tell(folder, added._replace(same={})), '']))
    yield folder


def as_json(listed: ListedCopies) -> dict:
  """What was found, as plain values; times in seconds."""
  return {
    'groups': [[_plain(v) for v in group] for group in listed.groups],
    'pairs': [
      {
        **pair._asdict(),
        'first': pair.first.name,
        'second': pair.second.name,
        'segments': [segment._asdict() for segment in pair.segments],
      }
      for pair in listed.pairs
    ],
    'notes': listed.notes,
  }


def _plain(video: ListedVideo) -> dict:
  told = video._asdict()
  del told['pictures']
  return told


def lines(listed: ListedCopies) -> list[str]:
  """Lines for the terminal."""
  if not listed.groups and not listed.pairs:
    return ['no copies were found']
  told = []
  for number, group in enumerate(listed.groups, 1):
    told.append(f'group {number}')
    width = max(len(video.name) for video in group)
    for video in group:
      told.append(f'  {video.name:{width}}  {described(video)}')
      told += [f'    the same bytes: {path}' for path in video.same_bytes]
  for relation, title in (
    (CONTAINED, 'contained in another'),
    (PART, 'a part in common'),
  ):
    pairs = [pair for pair in listed.pairs if pair.relation == relation]
    told += [title] * bool(pairs)
    told += [f'  {_told(pair)}' for pair in pairs]
  return told


def described(video: ListedVideo) -> str:
  """What a file is, in a line."""
  words = [clock(video.duration)]
  if video.state:
    words.append(video.state)
  elif video.bytes:
    words += [
      f'{video.width}x{video.height}',
      f'{video.bits_per_second / 1e6:.1f} Mbit/s',
      f'{video.bytes / 1e6:,.1f} MB',
    ]
  return '  '.join(words + [', '.join(video.praise)] * bool(video.praise))


def _told(pair: ListedPair) -> str:
  told = f'{pair.first.name} and {pair.second.name}'
  if pair.relation == CONTAINED:
    told = f'{pair.first.name} in {pair.second.name}'
  if pair.segments:
    told += f': {options.places(pair.segments)}'
  return f'{told}  (score {pair.score:.2f})'
