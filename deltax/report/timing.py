"""Milliseconds of compiled functions, in turns: drift hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def milliseconds(
  functions: Mapping[str, Callable[[], Any]], *, rounds: int = 15
) -> dict[str, float]:
  """Median wall time of each function.

  Args:
    functions: by name, each without arguments, returning arrays. The first call
      of each, which may compile, is not counted.
    rounds: how often each is timed; they take turns.

  Returns:
    Milliseconds by name.
  """
  times: dict[str, list[float]] = {name: [] for name in functions}
  for turn in range(rounds + 1):
    for name, function in functions.items():
      start = time.perf_counter()
      jax.block_until_ready(function())
      if turn:
        times[name].append(1000 * (time.perf_counter() - start))
  return {name: statistics.median(values) for name, values in times.items()}
