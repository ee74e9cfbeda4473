"""Feeds a process of its own with inputs, and outlives what that does not."""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
_START = 120  # seconds for what is imported and made before the first input
MOST_FINDINGS = 20


class Runner:
  """A worker, see `worker.py`; a new one where the last hung or died.

  Args:
    seconds: that an input may take.
  """

  def __init__(self, seconds: float = 10):
    self._seconds, self._process = seconds, None

  def run(self, name: str, seed: str, count: int) -> tuple[dict, dict]:
    """Reads damaged inputs of a target.

    Args:
      name: of the target.
      seed: with a number, what an input is made from.
      count: of inputs; there may be fewer if many are badly read.

    Returns:
      How many were 'read' and how many 'refused'; and by number what is wrong
      with how the others were read.
    """
    counts, findings, number = {'read': 0, 'refused': 0}, {}, -1
    while number + 1 < count and len(findings) < MOST_FINDINGS:
      self._ask(f'{name} {seed} {number + 1} {count}')
      while number + 1 < count and len(findings) < MOST_FINDINGS:
        began = self._line(_START)
        if began is None:
          findings[number + 1] = f'it does not begin\n{self._end()}'
          return counts, findings
        number, _ = began
        done = self._line(self._seconds)
        if done is None:
          findings[number] = self._end()
          break
        if done[1] in counts:
          counts[done[1]] += 1
        else:
          findings[number] = done[1]
    if len(findings) == MOST_FINDINGS:
      self._end()
    return counts, findings

  def close(self) -> None:
    """Ends the process."""
    if self._process is not None:
      self._end()

  def _ask(self, line: str) -> None:
    if self._process is None:
      path = [str(ROOT), str(HERE), str(ROOT / 'tests' / 'goldens')]
      self._buffer = b''
      self._process = subprocess.Popen(
        [sys.executable, str(HERE / 'worker.py')],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
      )
    self._process.stdin.write(f'{line}\n'.encode())
    self._process.stdin.flush()

  def _line(self, seconds: float) -> list | None:
    """What the worker says next; None if it is silent or dead."""
    while b'\n' not in self._buffer:
      ready, _, _ = select.select([self._process.stdout], [], [], seconds)
      told = ready and os.read(self._process.stdout.fileno(), 1 << 16)
      if not told:
        return None
      self._buffer += told
    line, _, self._buffer = self._buffer.partition(b'\n')
    return json.loads(line)

  def _end(self) -> str:
    """Ends the process, and says what was wrong with it."""
    process, self._process = self._process, None
    try:
      status = process.wait(0.5)  # it may be dead already
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
      status = None
    process.stdin.close()
    process.stdout.close()
    if status is None:
      return f'it takes more than {self._seconds} seconds'
    died = signal.Signals(-status).name if status < 0 else f'status {status}'
    return f'the process ended with {died}'
