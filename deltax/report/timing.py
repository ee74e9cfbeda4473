"""Milliseconds of compiled functions, in turns: drift hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

IN_A_ROW = 4


def milliseconds(
  functions: Mapping[str, Callable[[], Any]], *, rounds: int = 6
) -> dict[str, float]:
  """Median wall time of each function.

  Args:
    functions: by name, each without arguments, returning arrays. The first call
      of each, which may compile, is not counted.
    rounds: how many turns each takes, of `IN_A_ROW` calls. The first of them is
      not counted: it finds the caches full of what another has left, as frame
      after frame of a stream does not.

  Returns:
    Milliseconds by name.
  """
  times: dict[str, list[float]] = {name: [] for name in functions}
  for turn in range(rounds + 1):
    for name, function in functions.items():
      for call in range(IN_A_ROW):
        start = time.perf_counter()
        jax.block_until_ready(function())
        if turn and call:
          times[name].append(1000 * (time.perf_counter() - start))
  return {name: statistics.median(values) for name, values in times.items()}
