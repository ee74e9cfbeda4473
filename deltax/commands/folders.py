"""What a command writes: whole or not at all, and nothing that it reads."""

import argparse
import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


def add_out(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of a folder that is written."""
  parser.add_argument('out', type=pathlib.Path, help='folder to write')
  parser.add_argument(
    '--force', action='store_true', help='replace OUT where there is one'
  )


@contextlib.contextmanager
def filled(out: pathlib.Path, *, force: bool) -> Iterator[pathlib.Path]:
  """A folder beside `out`, renamed to it when its content is complete.

  Args:
    out: the folder to be.
    force: whether a folder or file of that name is replaced.

  Yields:
    An empty folder to write to.

  Raises:
    ValueError: `out` is there already.
  """
  check_free(out, force=force)
  out.parent.mkdir(parents=True, exist_ok=True)
  beside = tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent)
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, beside, ignore_errors=True)
    whole = pathlib.Path(beside) / out.name
    whole.mkdir()
    yield whole
    if out.exists():
      out.rename(pathlib.Path(beside) / 'replaced')
    whole.rename(out)


def check_free(out: pathlib.Path, *, force: bool) -> None:
  """Raises ValueError if `out` is there already and `force` is not set."""
  if out.exists() and not force:
    raise ValueError(f'{out} is there already; --force replaces it')


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
