"""What a command writes: whole or not at all, and nothing that it reads."""

import argparse
import contextlib
import pathlib
import tempfile
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
  """Raises if a new file or folder could not be written at the end.

  Raises:
    ValueError: `out` is there already and `force` is not set.
    OSError: see `check_writable`.
  """
  if out.exists() and not force:
    raise ValueError(f'{out} is there already; --force replaces it')
  check_writable(out)


def check_file(out: pathlib.Path) -> None:
  """Raises if a file, new or old, could not be written at the end.

  Raises:
    IsADirectoryError: `out` is a folder.
    OSError: see `check_writable`.
  """
  if out.is_dir():
    raise IsADirectoryError(f'{out} is a folder, and a file is to be written')
  check_writable(out)


def check_folder(out: pathlib.Path) -> None:
  """Raises if a folder, new or begun, could not be written to.

  Raises:
    NotADirectoryError: `out` is a file.
    OSError: see `check_writable`.
  """
  if out.exists() and not out.is_dir():
    raise NotADirectoryError(f'{out} is a file, and a folder is to be written')
  if out.is_dir():
    _try(out, out)
  else:
    check_writable(out)


def check_writable(out: pathlib.Path) -> None:
  """Raises if there is no place for a file or folder, by trying it.

  Raises:
    OSError: nothing can be written to the folder that `out` is in, or to the
      nearest one above it that exists.
  """
  # The absolute path ends in the root, which exists.
  _try(out, next(path for path in out.absolute().parents if path.exists()))


def _try(out: pathlib.Path, folder: pathlib.Path) -> None:
  try:
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise OSError(f'{out} cannot be written: {error.strerror}') from error


def check_apart(out: pathlib.Path, *inputs: pathlib.Path | None) -> None:
  """Raises if writing `out` would change what is read, however it is spelled.

  Args:
    out: the file or folder to write.
    *inputs: files and folders that are read; None where one is not given.

  Raises:
    ValueError: one of them is `out`, by any link or path, has it inside, or
      lies inside of it.
  """
  target = out.resolve()
  for path in filter(None, inputs):
    source = path.resolve()
    if source == target or _same_file(out, path):
      raise ValueError(
        f'{out} is read, and would be overwritten; write to another place'
      )
    if source in target.parents:
      raise ValueError(f'{out} is inside of {path}, which is read')
    if target in source.parents:
      raise ValueError(f'{path}, which is read, is inside of {out}')


def _same_file(a: pathlib.Path, b: pathlib.Path) -> bool:
  """Also by a hard link, or in other letters where their case is one."""
  return a.exists() and b.exists() and a.samefile(b)
