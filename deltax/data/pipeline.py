"""Random-access batches: endless to train on, padded to evaluate on.

Both are pure functions of the batch number, so a run that starts again at step
i sees the data it would have seen. With several processes, process p of n gets
examples p, p + n, ... of one common order; batch sizes are per process.
"""

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
  """Batches by number: `batches[i]` is a dict of arrays, first axis B."""

  def __init__(self, count: int, make: Callable[[int], Example]):
    self._count, self._make = count, make

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Example:
    if not 0 <= index < self._count:
      raise IndexError(f'batch {index} of {self._count}')
    return self._make(index)


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
    batch_size: B, of this process.
    seed: of the order and of the augmentation.
    join: makes the examples of a batch alike in shape before they are stacked.

  Raises:
    ValueError: there is nothing to train on.
  """
  if not len(elements):
    raise ValueError('no examples to train on')
  examples = (
    grain.MapDataset.source(elements)
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(example)
  )
  mine = examples[jax.process_index() :: jax.process_count()]

  def make(index):
    start = index * batch_size
    return _stack(join([mine[k] for k in range(start, start + batch_size)]))

  return Batches(len(mine) // batch_size, make)


def evaluation(
  elements: Sequence[Any],
  example: Callable[[Any], Example],
  *,
  batch_size: int,
  join: Join = list,
) -> Batches:
  """One pass in order; padding has mask 0, black frames, no label and no box.

  Every process gets the same number of batches, however the elements divide.
  """
  if not len(elements):
    raise ValueError('no examples to evaluate on')
  first, step = jax.process_index(), jax.process_count()
  count = -(-len(elements) // (batch_size * step))

  def make(index):
    start = index * batch_size
    places = [first + step * k for k in range(start, start + batch_size)]
    shown = [k for k in places if k < len(elements)]
    rows = join([example(elements[k]) for k in shown or [0]])
    blank = _blank(rows[0])
    rows = rows[: len(shown)]
    return _stack(rows, [blank] * (batch_size - len(rows)))

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
