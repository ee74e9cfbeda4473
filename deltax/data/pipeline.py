"""Random-access batches: endless to train on, padded to evaluate on.

Both are pure functions of the batch number, so a run that starts again at step
i sees the data it would have seen. Batch sizes count the examples of all
processes together: each makes its own stretch of a batch, process 0 the first.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import numpy as np

from deltax.data.labels import IGNORE, NO_BOX

Example = dict[str, np.ndarray]
Join = Callable[[list[Example]], list[Example]]

# What a padding example has, where it is not zeros.
_BLANKS = {'labels': IGNORE, 'classes': NO_BOX}


class Batches:
  """Batches by number: `batches[i]` is a dict of arrays, first axis B.

  Args:
    count: how many there are.
    make: `(number, process) -> batch`, the stretch of a process.
  """

  def __init__(self, count: int, make: Callable[[int, int], Example]):
    self._count, self._make = count, make

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Example:
    if not 0 <= index < self._count:
      raise IndexError(f'batch {index} of {self._count}')
    return self._make(index, jax.process_index())

  def of_all_processes(self) -> 'Batches':
    """The same batches, each with the stretches of all processes."""

    def make(index, process):
      del process
      parts = [self._make(index, p) for p in range(jax.process_count())]
      return {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
      }

    return Batches(self._count, make)


def training(
  elements: Sequence[Any],
  example: Callable[[Any, np.random.Generator], Example],
  *,
  batch_size: int,
  seed: int,
  join: Join = list,
) -> Batches:
  """Endless batches, the elements in a new order every epoch.

  Args:
    elements: what an example is made from; read lazily, by number.
    example: `(element, rng) -> {name: array}`; the generator depends on the
      seed and on the example's place in the common order only.
    batch_size: of all P processes; each makes B = batch_size / P examples.
    seed: of the order and of the augmentation.
    join: makes the examples of a batch alike in shape before they are stacked;
      with several processes, in the same way in all of them.

  Raises:
    ValueError: there is nothing to train on, or the processes do not divide
      the batch.
  """
  if not len(elements):
    raise ValueError('no examples to train on')
  processes = jax.process_count()
  if batch_size % processes:
    raise ValueError(
      f'a batch_size of {batch_size} does not divide by {processes} processes; '
      'it counts the examples of all of them together'
    )
  share = batch_size // processes
  examples = (
    grain.MapDataset.source(elements)
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(example)
  )

  def make(index, process):
    start = index * batch_size + process * share
    return _stack(join([examples[k] for k in range(start, start + share)]))

  return Batches(len(examples) // batch_size, make)


def evaluation(
  elements: Sequence[Any],
  example: Callable[[Any], Example],
  *,
  batch_size: int,
  join: Join = list,
) -> Batches:
  """One pass in order; padding has mask 0, black frames, no label and no box.

  Every process gets the same number of batches of one size, however elements
  and batches divide.

  Args:
    elements: what an example is made from.
    example: `(element) -> {name: array}`.
    batch_size: of all P processes; each makes B = batch_size / P examples,
      rounded up.
    join: as for `training`.

  Raises:
    ValueError: there is nothing to evaluate on.
  """
  if not len(elements):
    raise ValueError('no examples to evaluate on')
  processes = jax.process_count()
  share = math.ceil(batch_size / processes)
  count = math.ceil(len(elements) / (share * processes))

  def make(index, process):
    start = (index * processes + process) * share
    places = range(len(elements))[start : start + share]
    rows = join([example(elements[k]) for k in places or [0]])
    blank = _blank(rows[0])
    rows = rows[: len(places)]
    return _stack(rows, [blank] * (share - len(rows)))

  return Batches(count, make)


def _blank(example: Example) -> Example:
  return {
    name: np.full_like(value, _BLANKS.get(name, 0))
    for name, value in example.items()
  }


def _stack(rows: list[Example], padding: list[Example] = ()) -> Example:
  mask = np.repeat([1.0, 0.0], [len(rows), len(padding)]).astype(np.float32)
  rows = [*rows, *padding]
  batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  return batch | {'mask': mask}
