"""What the commands around an index share: arguments, and lines that tell."""

import argparse
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from deltax.data.video.find import describe_skipped
from deltax.data.video.stream import flaws
from deltax.identity import is_elsewhere
from deltax.report.retrieval.search_contents import ShownSegment
from deltax.report.retrieval.search_page import clock
from deltax.retrieval.index.elsewhere.remote import is_address
from deltax.retrieval.search.results import Where
from deltax.systems import Added
from deltax.systems.folder import NAMES

NAMED = 10  # lines of one kind


def add_videos(parser: argparse.ArgumentParser) -> None:
  """Adds the argument of the videos."""
  parser.add_argument(
    'videos',
    nargs='+',
    type=_place,
    help='files, or folders of them; their names are those below the folder',
  )


def add_model(parser: argparse.ArgumentParser, default: str) -> None:
  """Adds the argument that says which model to use."""
  parser.add_argument(
    '--model',
    type=_model,
    help=f'folder that `deltax bundle` wrote, or {", ".join(NAMES)}; default: '
    f'{default}',
  )


def add_told(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of what is told beside the lines for the terminal."""
  parser.add_argument('--json', action='store_true', help='print JSON')
  parser.add_argument(
    '--html', type=pathlib.Path, help='write a page with pictures'
  )


def place(text: str) -> str | pathlib.Path:
  """An address as it is, anything else as a path."""
  return text if is_address(text) else pathlib.Path(text)


def places(parts: Sequence[Where | ShownSegment]) -> str:
  """Where the first of some parts is in two videos, and how many more are."""
  (a, b), (c, d) = parts[0].query, parts[0].target
  told = f'{clock(a)}-{clock(b)} at {clock(c)}-{clock(d)}'
  told += ' backward' * parts[0].backward
  return told + f', and {len(parts) - 1} more' * (len(parts) > 1)


def folder_of(model: str | pathlib.Path | None) -> pathlib.Path | None:
  """The folder of a model; None of one that comes with the library."""
  return model if isinstance(model, pathlib.Path) else None


def _place(text: str) -> str | pathlib.Path:
  return text if is_elsewhere(text) else pathlib.Path(text)


def _model(text: str) -> str | pathlib.Path:
  return text if text in NAMES else pathlib.Path(text)


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
