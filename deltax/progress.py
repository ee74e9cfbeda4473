"""What a person who watches, or a log, is told of long work."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import tqdm
from absl import logging

VARIABLE = 'DELTAX_PROGRESS'
_EVERY = 10.0  # seconds between lines of the log


def wants_bar(progress: bool | None = None) -> bool:
  """Whether to draw progress bars.

  Args:
    progress: the answer, if not None. Then the environment variable
      DELTAX_PROGRESS (0 or 1) decides, then whether stderr is a terminal.
  """
  if progress is not None:
    return progress
  answer = os.environ.get(VARIABLE)
  return sys.stderr.isatty() if answer is None else answer == '1'


def told(
  frames: Iterable, count: int | None, what: str, bar: str | None = None
) -> Iterator:
  """The frames, with a bar or with lines that say how many there were.

  Args:
    frames: or whatever else work is done on.
    count: how many there will be; None if nobody knows.
    what: how a line goes on after the numbers.
    bar: what a bar begins with.
  """
  if wants_bar():
    yield from tqdm.tqdm(frames, bar, count, unit='frame')
    return
  logging.set_verbosity(logging.INFO)
  last = time.perf_counter()
  for number, frame in enumerate(frames, 1):
    yield frame
    if time.perf_counter() - last > _EVERY:
      last = time.perf_counter()
      logging.info('%d of %s %s', number, count or 'unknown many', what)


@contextlib.contextmanager
def counted(text: str, unit: str) -> Iterator[Callable[[int, int], None]]:
  """A bar for work that tells how many of how many things are done.

  Args:
    text: of the work.
    unit: one of the things.

  Yields:
    `(done, count) -> None`.
  """
  with tqdm.tqdm(desc=text, unit=unit, disable=not wants_bar()) as bar:

    def progress(done: int, count: int) -> None:
      bar.total = count
      bar.update(done - bar.n)

    yield progress
