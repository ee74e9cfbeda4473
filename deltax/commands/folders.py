"""Folders that a command fills: whole or not at all."""

import argparse
import contextlib
import pathlib
from collections.abc import Iterator

from deltax import files


def add_out(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of a folder that is written."""
  parser.add_argument('out', type=pathlib.Path, help='folder to write')
  parser.add_argument(
    '--force', action='store_true', help='replace OUT where there is one'
  )


@contextlib.contextmanager
def filled(out: pathlib.Path, *, force: bool) -> Iterator[pathlib.Path]:
  """`files.filling`, with a sentence for the command line.

  Raises:
    ValueError: `out` is there already and `force` is not set.
  """
  check_free(out, force=force)
  with files.filling(out, force=force) as beside:
    yield beside


def check_free(out: pathlib.Path, *, force: bool) -> None:
  """Raises ValueError if `out` is there already and `force` is not set."""
  if out.exists() and not force:
    raise ValueError(f'{out} is there already; --force replaces it')
