"""What the commands around an index share: arguments, and lines that tell."""

import argparse
import pathlib
from collections.abc import Iterable, Iterator

from deltax.data.video.find import describe_skipped
from deltax.data.video.stream import flaws
from deltax.systems import SHIPPED, Added

MODELS = (*SHIPPED, 'untrained')
NAMED = 10  # lines of one kind


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
    type=_model,
    help=f'folder that `deltax bundle` wrote, or {", ".join(MODELS)}; default: '
    f'{default}',
  )


def folder_of(model: str | pathlib.Path | None) -> pathlib.Path | None:
  """The folder of a model; None of one that comes with the library."""
  return model if isinstance(model, pathlib.Path) else None


def _model(text: str) -> str | pathlib.Path:
  return text if text in MODELS else pathlib.Path(text)


def tell(folder: pathlib.Path, added: Added) -> Iterator[str]:
  """Lines that say what became of videos."""
  yield (
    f'{folder}: {added.videos:,} videos, {added.done:,} of them new; '
    f'{added.there:,} were there already'
  )
  for name in {**added.damaged, **added.resized}:
    told = flaws(added.damaged.get(name, 0), added.resized.get(name, 0))
    yield f'{name}: {told}'
  for name in added.replaced:
    yield f'encoded again: {name}: its file has changed'
  yield from few(f'moved: {old} is {new}' for old, new in added.moved.items())
  yield from few(f'not once more: {a} is {b}' for a, b in added.same.items())
  if added.skipped:
    yield f'passed by: {"; ".join(describe_skipped(added.skipped))}'
  for name, reason in added.failed.items():
    yield f'left out: {name}: {reason}'
  if added.failed:
    yield f'{len(added.failed):,} left out'


def few(lines: Iterable[str]) -> Iterator[str]:
  """The first of many lines, and how many more there are."""
  lines = list(lines)
  yield from lines[:NAMED]
  if len(lines) > NAMED:
    yield f'... and {len(lines) - NAMED:,} more'
