"""Makes features of videos; may be stopped, and goes on where it was.

Whitened features are made in two steps, the first over some of the videos:

    deltax extract some/ --out runs/raw
    deltax whiten runs/raw --out runs/whitening.npz
    deltax extract videos/ --out runs/features --whitening runs/whitening.npz

A file that cannot be read is told, listed in OUT.failed.jsonl and left out.
"""

import argparse
import pathlib

from absl import logging

from deltax.commands import folders
from deltax.data.features import extraction
from deltax.data.features.shards.records import DTYPES
from deltax.data.features.store import FeatureStore
from deltax.data.video import find
from deltax.progress import wants_bar
from deltax.systems import extractors

NAMED = 5  # videos of one kind


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'videos',
    nargs='+',
    type=pathlib.Path,
    help='files, or folders of them; their names are those below the folder',
  )
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the store, new or begun'
  )
  parser.add_argument(
    '--extractor',
    default='efficientnet_lite0',
    help=f'{" or ".join(extractors.EXTRACTORS)}; default: %(default)s',
  )
  parser.add_argument(
    '--weights', type=pathlib.Path, help='the PyTorch file of the extractor'
  )
  parser.add_argument(
    '--whitening', type=pathlib.Path, help='file that `deltax whiten` wrote'
  )
  parser.add_argument(
    '--dtype',
    choices=list(DTYPES),
    help='how numbers are stored; default: float32, or as the store has them',
  )
  parser.add_argument(
    '--no-endings',
    action='store_true',
    help='names without .mp4 and the like, as the published data sets have',
  )


def run(arguments: argparse.Namespace) -> None:
  """Finds, reads, computes, writes and tells.

  Raises:
    FileNotFoundError: one of the files or folders is missing.
    ValueError: there are no videos, two of one name, or OUT has features of
      another extractor.
  """
  found = find.find(arguments.videos)
  videos = find.ids(found) if arguments.no_endings else found.videos
  folders.check_apart(
    arguments.out, *videos.values(), arguments.weights, arguments.whitening
  )
  folders.check_folder(arguments.out)
  extractor = extractors.make_extractor(
    arguments.extractor,
    whitening=arguments.whitening,
    weights=arguments.weights,
  )
  bar = wants_bar()
  if not bar:
    logging.set_verbosity(logging.INFO)
  with FeatureStore(
    arguments.out,
    fingerprint=extractor.fingerprint,
    dtype=arguments.dtype,
    description=extractor.description,
  ) as store:
    report = extraction.extract(videos, store, extractor, progress=bar)
    print(
      f'{store.folder}: {len(store)} videos, {len(report.done)} of them new; '
      f'{len(report.skipped)} were there'
    )
    if report.changed:
      names = ', '.join(report.changed[:NAMED])
      more = ', ...' if len(report.changed) > NAMED else ''
      print(
        f'{len(report.changed)} have the features of another file that was '
        f'there before: {names}{more}; a new store gets those of now'
      )
    if found.skipped:
      print(f'passed by: {"; ".join(find.describe_skipped(found.skipped))}')
    if report.damaged:
      print(f'{len(report.damaged)} of the new have damaged frames')
    if report.failed:
      print(
        f'{len(report.failed)} are left out, listed in '
        f'{extraction.failures_path(store)}'
      )
