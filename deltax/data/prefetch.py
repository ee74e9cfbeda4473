"""Reading ahead: threads make batches, frames or streets before their turn."""

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

_END = object()
_FEWEST, _MOST = 2, 8  # threads; more batches than that would fill memory


def prefetch(
  dataset,
  start: int,
  stop: int,
  *,
  threads: int | None = None,
  ahead: int | None = None,
) -> Iterator:
  """`dataset[start]`, ..., `dataset[stop - 1]` in order, read by threads.

  Threads are enough: decoding, scaling and copying pictures leave other threads
  of Python running, and what processes make would have to be sent here.

  Args:
    dataset: anything with `dataset[i]`.
    start: first batch.
    stop: the batch after the last.
    threads: how many, each of which makes a whole batch; None: as many as this
      process has cores, 2 to 8.
    ahead: how many batches may wait, those that are being made included; None:
      as many as there are threads, at least 4.

  Raises:
    Exception: whatever reading a batch raised, when its turn comes.

  >>> list(prefetch('delta', 1, 4))
  ['e', 'l', 't']
  """
  numbers = range(start, stop)
  threads = threads or min(max(_cores(), _FEWEST), _MOST)
  ahead = ahead or max(threads, 4)
  return map_ahead(dataset.__getitem__, numbers, threads=threads, ahead=ahead)


def _cores() -> int:
  """That this process may run on, where the system tells it."""
  known = getattr(os, 'sched_getaffinity', None)
  return len(known(0)) if known else os.cpu_count() or 1


def ahead(items: Iterable, count: int = 4) -> Iterator:
  """The items in order, each made by a thread before it is asked for.

  Args:
    items: whose iterator does the work; only the one thread touches it.
    count: how many items may wait.

  Raises:
    Exception: whatever making an item raised, when its turn comes.

  >>> list(ahead('delta', 2))
  ['d', 'e', 'l', 't', 'a']
  """
  items, turns = iter(items), itertools.repeat(None)
  made = map_ahead(lambda _: next(items, _END), turns, threads=1, ahead=count)
  with contextlib.closing(made):
    yield from itertools.takewhile(lambda item: item is not _END, made)


def map_ahead(
  function: Callable[[Any], Any], items: Iterable, *, threads: int, ahead: int
) -> Iterator:
  """`function(item)` of each item in order, made by threads in advance.

  Args:
    function: is called by several threads at once.
    items: are asked for one by one, as the results are taken.
    threads: how many.
    ahead: how many results may wait.

  Raises:
    Exception: whatever the function raised, when its item's turn comes.
  """
  with futures.ThreadPoolExecutor(threads, 'prefetch') as pool:
    waiting = deque()
    try:
      for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:  # who takes no more, or an error: what has not begun never will
      for future in waiting:
        future.cancel()
