"""Files and folders that are there whole, or not at all.

What is written lies in a hidden folder beside its place, under its own name,
until it is complete; then it is renamed. So a reader sees what was there before
or all that is new, and two writers of one file never mix: the last one wins.
"""

import contextlib
import errno
import fcntl
import glob
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

Path = str | os.PathLike


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[pathlib.Path]:
  """A file that takes the place of `path` when its content is complete.

  If the block raises, what was at `path` stays as it was.

  Args:
    path: the file to write or replace. Missing folders are made.
    durable: wait until file and name are on the disk, so that they outlast a
      power failure.

  Yields:
    Where to write; nothing is there yet. The name, hence its ending, is that of
    `path`.
  """
  path = pathlib.Path(path)
  with naming(path), scratch(path) as hidden:
    beside = hidden / path.name
    yield beside
    if durable:
      sync(beside)
    os.replace(beside, path)
  if durable:
    sync(path.parent)


@contextlib.contextmanager
def filling(path: Path, *, force: bool = False) -> Iterator[pathlib.Path]:
  """A folder that takes the place of `path` when its content is complete.

  If the block raises, what was at `path` stays as it was.

  Args:
    path: the folder to make. Missing folders above it are made.
    force: replace a file, or a folder with files, that is at `path` at the end.

  Yields:
    An empty folder to write to.

  Raises:
    OSError: at the end, if a file or a folder with files is at `path` and
      `force` is not set.
  """
  path = pathlib.Path(path)
  with naming(path), scratch(path) as hidden:
    beside, old = hidden / path.name, hidden / '.old'
    beside.mkdir()
    yield beside
    # No rename replaces a folder with files: the old one makes room first.
    replaced = force and path.exists()
    if replaced:
      os.replace(path, old)
    try:
      os.replace(beside, path)
    except BaseException:
      if replaced:
        os.replace(old, path)
      raise


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[pathlib.Path]:
  """A new hidden folder beside `path`, gone at the end with what is left in it.

  What killed processes left beside the same `path` goes at the beginning.

  Args:
    path: what it is for; nothing is written there. Missing folders above it are
      made.

  Yields:
    The folder, which only this user can read.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  _sweep(path)
  hidden, lock = _locked_folder(path)
  try:
    yield hidden
  finally:
    shutil.rmtree(hidden, ignore_errors=True)
    os.close(lock)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
  """Writes a whole text file, in UTF-8; see `replacing`."""
  with replacing(path, durable=durable) as beside:
    beside.write_text(text, encoding='utf-8')


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
  """Writes a whole JSON file of plain values; see `replacing`."""
  write_text(path, json.dumps(value, indent=2) + '\n', durable=durable)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
  """Names a path in an error that names none, as that of a full disk.

  Raises:
    OSError: of the same kind.
  """
  try:
    yield
  except OSError as error:
    if error.filename is not None:
      raise
    reason = error.strerror or str(error)
    raise OSError(error.errno or errno.EIO, reason, str(path)) from error


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
  """Holds the lock that a file stands for; it goes with the process too.

  Args:
    path: the file, in a folder that is there; it is made if there is none.
    wait: until another holder is done.

  Raises:
    BlockingIOError: another holds it, and nobody waits.
  """
  with open(path, 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    yield


def sync(path: Path) -> None:
  """Waits until a file's content, or a folder's names, are on the disk."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def _locked_folder(path: pathlib.Path) -> tuple[pathlib.Path, int]:
  """A new hidden folder, and a handle that locks it while its writer lives."""
  while True:
    hidden = pathlib.Path(
      tempfile.mkdtemp(prefix=_hidden_name(path), dir=path.parent)
    )
    with contextlib.suppress(FileNotFoundError):
      lock = os.open(hidden, os.O_RDONLY)
      with contextlib.suppress(OSError):  # not every file system has locks
        fcntl.flock(lock, fcntl.LOCK_EX)
      if hidden.exists():
        return hidden, lock
      os.close(lock)
    # Before it was locked, somebody's `_sweep` took it for a dead writer's.


def _hidden_name(path: pathlib.Path) -> str:
  """How hidden folders are named; short, as a name has at most 255 bytes."""
  return f'.{path.name[:50]}.writing-'


def _sweep(path: pathlib.Path) -> None:
  """Deletes what killed writers of the same file left beside it."""
  for hidden in path.parent.glob(f'{glob.escape(_hidden_name(path))}*'):
    with contextlib.suppress(OSError):
      lock = os.open(hidden, os.O_RDONLY)
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if it lives
        shutil.rmtree(hidden, ignore_errors=True)
      finally:
        os.close(lock)
