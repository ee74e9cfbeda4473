"""Programs that are started, killed and started again, each in one fork.

Importing what they need costs more than much of what they do: so one process
imports it, and every start of a program is a fork of that.
"""

import contextlib
import json
import os
import pathlib
import random
import runpy
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]


class Grid:
  """An extractor without a network: mean colours of a 3 x 3 grid."""

  def __init__(self, name, whitening=None, weights=None):
    self.description = {'name': f'colours for {name}'}
    self.fingerprint, self.arrays = 'colours', {}

  def __call__(self, frames):
    grid = frames[:, :222, :222].reshape(len(frames), 3, 74, 3, 74, 3)
    means = grid.mean((2, 4), dtype=np.float64).reshape(len(frames), 9, 3)
    length = np.linalg.norm(means, axis=-1, keepdims=True)
    return (means / np.maximum(length, 1e-6)).astype(np.float32)


class Life(NamedTuple):
  """One start of a program, until it ended or was killed.

  Attributes:
    code: its exit status; -9 after a kill.
    output: what it wrote to both streams.
    seconds: it lived.
    begun: seconds of them before its work began.
  """

  code: int
  output: str
  seconds: float
  begun: float


class Starter:
  """Starts programs, one at a time.

  Args:
    folder: for what they print.
    environment: theirs.
  """

  def __init__(self, folder: pathlib.Path, environment: dict[str, str]):
    self._log = folder / 'output'
    self._process = subprocess.Popen(
      [sys.executable, __file__],
      cwd=ROOT,
      env=environment | {'PYTHONPATH': str(ROOT)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def run(self, arguments, sign: pathlib.Path, kill=None) -> Life:
    """Starts a program, and waits until it ended or `kill` returned.

    Args:
      arguments: 'deltax' or a script, and what it is given.
      sign: a file that is written, again or for the first time, when the work
        begins.
      kill: `(alive, began) -> None`, two functions that tell whether the
        program lives, and whether its work began; it is killed afterwards.
        None: it is let live.
    """
    self._tell([str(argument) for argument in arguments])
    before, start, begun = _stamp(sign), time.monotonic(), []
    child = int(self._process.stdout.readline())

    def alive():
      began()
      return not _ended(child)

    def began():
      if not begun and _stamp(sign) != before:
        begun.append(time.monotonic() - start)
      return bool(begun)

    if kill is None:
      while alive():
        time.sleep(0.01)
    else:
      kill(alive, began)
      with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    self._tell('wait')
    code = int(self._process.stdout.readline())
    seconds = time.monotonic() - start
    output = self._log.read_text(errors='replace')
    return Life(code, output, seconds, begun[0] if begun else seconds)

  def _tell(self, what):
    self._process.stdin.write(json.dumps([str(self._log), what]) + '\n')
    self._process.stdin.flush()

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


def kill_at(draw: random.Random, seconds: float, *, from_start: bool):
  """A kill at a moment of a span, which begins with the program or its work."""
  delay = draw.uniform(0, seconds)

  def kill(alive, began):
    while alive() and not (from_start or began()):
      time.sleep(0.002)
    end = time.monotonic() + delay
    while alive() and time.monotonic() < end:
      time.sleep(0.001)

  return kill


def kill_while_writing(draw: random.Random, folder: pathlib.Path, most: int):
  """A kill just after some change of the names and sizes in a folder."""
  changes, delay = draw.randint(1, most), draw.choice([0, 0, 0.001, 0.01])

  def kill(alive, began):
    while alive() and not began():
      time.sleep(0.002)
    last, left = listing(folder), changes
    while left and alive():
      now = listing(folder)
      left -= now != last
      last = now
    time.sleep(delay)

  return kill


def listing(folder: pathlib.Path) -> list[tuple[str, int]]:
  """Names and sizes of all that is in a folder, however deep."""
  listed = []
  for base, folders, files in os.walk(folder):
    listed += [(f'{base}/{name}', 0) for name in folders]
    for name in files:
      with contextlib.suppress(FileNotFoundError):
        listed.append((f'{base}/{name}', os.stat(f'{base}/{name}').st_size))
  return sorted(listed)


def _stamp(path: pathlib.Path):
  with contextlib.suppress(FileNotFoundError):
    status = path.stat()
    return status.st_mtime_ns, status.st_ino
  return None


def _ended(child: int) -> bool:
  """Whether it waits for its parent to take note of its end."""
  with contextlib.suppress(FileNotFoundError, ProcessLookupError):
    text = pathlib.Path(f'/proc/{child}/stat').read_text()
    return text.rpartition(')')[2].split()[0] == 'Z'
  return True


def _serve() -> None:
  """Forks a program for every line; says its process, and how it ended."""
  import deltax.commands.training.extract
  import deltax.commands.videos.add
  import deltax.experiment
  import deltax.tasks.detection.task
  import deltax.tasks.segmentation.task  # noqa: F401
  from deltax.systems import extractors

  extractors.make_extractor = Grid
  child = 0
  for line in sys.stdin:
    log, told = json.loads(line)
    if told == 'wait':
      _, status = os.waitpid(child, 0)
      print(os.waitstatus_to_exitcode(status), flush=True)
      continue
    child = os.fork()
    if not child:
      _become(told, log)
    print(child, flush=True)


def _become(arguments: list[str], log: str) -> None:
  """Runs a program in this process, to the end of the process."""
  with open(log, 'w') as file:
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  sys.argv, code = arguments, 0
  try:
    if arguments[0] == 'deltax':
      from deltax import commands

      commands.main(arguments[1:])
    else:
      runpy.run_path(arguments[0], run_name='__main__')
  except SystemExit as left:
    code = left.code if isinstance(left.code, int) else int(bool(left.code))
  except BaseException:
    sys.excepthook(*sys.exc_info())
    code = 1
  sys.stdout.flush()
  sys.stderr.flush()
  # Not `os._exit`: threads and finalisers end as those of a program do.
  sys.exit(code)


if __name__ == '__main__':
  _serve()
