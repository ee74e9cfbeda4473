"""A run's folder: of one run at a time, and what is said if it fails."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import socket
from collections.abc import Iterator

import jax

from deltax.errors import DeltaxError

LOCK = 'lock'


class WorkdirError(DeltaxError):
  """A run's folder that another run holds, or that cannot be written."""


@contextlib.contextmanager
def held(workdir: str | os.PathLike) -> Iterator[None]:
  """Keeps other runs out of a run's folder, which is made if there is none.

  The lock is the operating system's, on the file `lock`: it goes with the
  process, however that ends. Of several processes of one run, the first alone
  asks.

  Args:
    workdir: the run's folder.

  Raises:
    WorkdirError: another run holds it, the message says where; or it cannot be
      written.
  """
  if jax.process_index():
    yield
    return
  with _locked(pathlib.Path(workdir) / LOCK):
    yield


def not_saved(folder: pathlib.Path, error: Exception) -> str:
  """What is wrong with writing a checkpoint, and what there is.

  Args:
    folder: of the checkpoints.
    error: of the system, or of tensorstore, which says it in many words.
  """
  reason = getattr(error, 'strerror', None) or str(error).split('\n')[0]
  if told := re.search(r"os_error_code='(\d+)'", str(error)):
    reason = os.strerror(int(told[1]))
  names = [path.name for path in folder.glob('[0-9]*')]
  steps = [int(name) for name in names if name.isdigit()]
  kept = f'step {max(steps)} is there' if steps else 'there is none yet'
  return (
    f'a checkpoint cannot be written to {folder}: {reason}; of those before, '
    f'{kept}'
  )


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise WorkdirError(
      f'{path.parent} cannot be written: {error.strerror}'
    ) from error
  with os.fdopen(handle, 'r+', encoding='utf-8') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise WorkdirError(
        f'{path.parent} is in use by another run, {_holder(file)}; wait for '
        'its end, or give this run a folder of its own'
      ) from None
    except OSError:
      pass  # not every file system has locks
    with contextlib.suppress(OSError):  # the lock counts, not what is said
      file.truncate()
      file.write(json.dumps({'pid': os.getpid(), 'host': socket.gethostname()}))
      file.flush()
    yield


def _holder(file) -> str:
  """Who says to hold it; a moment ago it may not have said so yet."""
  try:
    told = json.loads(file.read())
    return f'process {told["pid"]} on {told["host"]}'
  except (ValueError, TypeError, KeyError):
    return 'which has just begun'
