"""Noise of single examples, the same however a batch is split.

A batch may be spread over devices, or taken in parts one after the other. Each
part draws the noise of the whole batch, and keeps what belongs to its examples:
so a dropped unit is dropped on one device or on a hundred.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax.types import Array, Key


class Part(NamedTuple):
  """Examples of a batch: `count` of them, from `first` on every `stride`-th.

  Attributes:
    first: place of the first of them in the batch, int32 `[]` or a number.
    stride: from one to the next.
    count: how many there are.
    whole: examples of the batch.
  """

  first: Array | int
  stride: int
  count: int
  whole: int


_PART = contextvars.ContextVar('part', default=None)


@contextlib.contextmanager
def part_of_batch(part: Part) -> Iterator[None]:
  """While a loss is traced: which part of the batch it is given."""
  token = _PART.set(part)
  try:
    yield
  finally:
    _PART.reset(token)


def of_rows(draw: Callable[[Key, int], Array], key: Key, rows: int) -> Array:
  """The noise of an array whose first axis is that of the batch.

  Args:
    draw: `(key, n) -> [n, ...]`, one row for each of n rows.
    key: the same for all parts of a batch.
    rows: R, a multiple of the examples of this part, such as its frames.

  Returns:
    `[R, ...]`, the part's rows of what is drawn for the whole batch.
  """
  part = _PART.get()
  if part is None or part.count == part.whole:
    return draw(key, rows)
  times = rows // part.count
  whole = draw(key, part.whole * times)
  whole = whole.reshape(part.whole, times, *whole.shape[1:])
  places = part.first + part.stride * jnp.arange(part.count)
  return whole[places].reshape(rows, *whole.shape[2:])


class Dropout(nn.Module):
  """Sets a share of all values to 0 in training, and scales up the others.

  Attributes:
    rate: the share. Draws from the 'dropout' generator.
  """

  rate: float

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """`x` `[R, ...]`, R as in `of_rows`; without `train` as it is."""
    if not train or not self.rate:
      return x

    def draw(key, rows):
      return jax.random.bernoulli(key, 1 - self.rate, (rows, *x.shape[1:]))

    kept = of_rows(draw, self.make_rng('dropout'), len(x))
    return jnp.where(kept, x / (1 - self.rate), 0)
