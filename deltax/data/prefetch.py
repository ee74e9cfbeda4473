"""Reads batches ahead of the training loop."""

from collections import deque
from collections.abc import Iterator
from concurrent import futures


def prefetch(dataset, start: int, stop: int, *, ahead: int = 4) -> Iterator:
  """`dataset[start]`, ..., `dataset[stop - 1]` in order, read by threads.

  Args:
    dataset: anything with `dataset[i]`.
    start: first batch.
    stop: the batch after the last.
    ahead: how many batches may wait.

  Raises:
    Exception: whatever reading a batch raised, when its turn comes.

  >>> list(prefetch('delta', 1, 4))
  ['e', 'l', 't']
  """
  with futures.ThreadPoolExecutor(2, 'prefetch') as pool:
    waiting = deque()
    try:
      for index in range(start, stop):
        waiting.append(pool.submit(dataset.__getitem__, index))
        if len(waiting) > ahead:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for batch in waiting:
        batch.cancel()
