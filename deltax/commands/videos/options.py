"""What the commands around an index share: arguments, and lines that tell."""

import argparse
import pathlib
from collections.abc import Iterator

from deltax.data.video.stream import flaws
from deltax.systems import Added


def add_videos(parser: argparse.ArgumentParser) -> None:
  """Adds the argument of the videos."""
  parser.add_argument(
    'videos',
    nargs='+',
    type=pathlib.Path,
    help='files, or folders of them; their names are those below the folder',
  )


def add_model(parser: argparse.ArgumentParser, default: str) -> None:
  """Adds the argument that says which model to use."""
  parser.add_argument(
    '--model',
    type=pathlib.Path,
    help=f'folder that `deltax bundle` wrote; default: {default}',
  )


def tell(folder: pathlib.Path, added: Added) -> Iterator[str]:
  """Lines that say what became of videos."""
  yield (
    f'{folder}: {added.videos:,} videos, {added.done:,} of them new; '
    f'{added.there:,} were there already'
  )
  for name in {**added.damaged, **added.resized}:
    told = flaws(added.damaged.get(name, 0), added.resized.get(name, 0))
    yield f'{name}: {told}'
  for name, reason in added.failed.items():
    yield f'left out: {name}: {reason}'
  if added.failed:
    yield f'{len(added.failed):,} left out'
