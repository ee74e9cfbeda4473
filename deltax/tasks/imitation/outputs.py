"""The outputs of any network by name, each of its kind."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from deltax.metrics.temporal import consistency
from deltax.tasks.imitation.kinds import KINDS, guess
from deltax.types import Array

ONLY = 'output'  # name of the output of a network that has one

Kinds = Mapping[str, str]
Counts = Mapping[str, np.ndarray]


def named(outputs: Any) -> dict[str, Array]:
  """A network's outputs by their path in what it returns.

  Example:
    >>> list(named({'boxes': 1, 'levels': [2, 3]})), list(named(1))
    (['boxes', 'levels/0', 'levels/1'], ['output'])
  """
  return {
    jax.tree_util.keystr(path, simple=True, separator='/') or ONLY: leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(outputs)
  }


def guessed(outputs: Any) -> dict[str, str]:
  """The kinds of outputs that nobody told; see `deltax.tasks.imitation.guess`.

  Args:
    outputs: of the network, on any frames.

  Returns:
    Kinds by name, of outputs that have one.

  Raises:
    ValueError: none has one.
  """
  kinds = {name: guess(output) for name, output in named(outputs).items()}
  kinds = {name: kind for name, kind in kinds.items() if kind}
  if not kinds:
    raise ValueError(
      'no output of the network is an array of real numbers with two axes or '
      f'more: {_shapes(outputs)}'
    )
  return kinds


def check(kinds: Kinds, outputs: Any) -> None:
  """Raises a ValueError for a kind or an output that there is not."""
  for name, kind in kinds.items():
    if kind not in KINDS:
      raise ValueError(
        f'output {name!r} cannot be of the kind {kind!r}; known: '
        f'{", ".join(KINDS)}'
      )
  there = named(outputs)
  unknown = [repr(name) for name in kinds if name not in there]
  if unknown or not kinds:
    raise ValueError(
      f'the network has no output {", ".join(unknown) or "of a kind"}; it has '
      f'{_shapes(outputs)}'
    )
  for name in kinds:
    if there[name].ndim < 2:
      raise ValueError(
        f'output {name!r} has the shape {list(there[name].shape)}; expected '
        'two axes or more, the first of them the frames'
      )


def _shapes(outputs: Any) -> str:
  return ', '.join(
    f'{name!r} {list(np.shape(x))}' for name, x in named(outputs).items()
  )


def losses(
  kinds: Kinds, own: Any, target: Any, axis_name: str | None
) -> dict[str, Array]:
  """`[B]` loss of each output on frames `[B, T, ...]`, by name."""
  own, target = named(own), named(target)
  return {
    name: KINDS[kind].loss(own[name], target[name], axis_name)
    for name, kind in kinds.items()
  }


def judge(
  network: str, kinds: Kinds, own: Any, target: Any
) -> dict[str, Array]:
  """Counts of a network's agreement with the teacher.

  Args:
    network: prefix of the counts.
    kinds: by output.
    own: its outputs, `[B, T, ...]`.
    target: the teacher's on the same frames.

  Returns:
    '<network>/<output>:<count>' `[B, T, ...]`.
  """
  own, target = named(own), named(target)
  return {
    f'{network}/{name}:{count}': value
    for name, kind in kinds.items()
    for count, value in KINDS[kind].counts(own[name], target[name]).items()
  }


def follow(
  network: str, kinds: Kinds, own: Any, batch: Mapping[str, Array]
) -> dict[str, Array]:
  """Counts of the places whose answer persists along the motion.

  Args:
    network: prefix of the counts.
    kinds: by output, of which the first one counts.
    own: the network's outputs, `[B, T, ...]`.
    batch: with 'frames' `[B, T, H, W, 3]`, and perhaps 'flow' and 'visible'.

  Returns:
    '<network>/kept' and '<network>/moved' `[B]`; nothing where the motion is
    not known, or the output has no map of answers.
  """
  output, kind = next(iter(kinds.items()))
  decide, x = KINDS[kind].decide, named(own)[output]
  if 'flow' not in batch or decide is None or x.ndim != 5:
    return {}
  shape = batch['frames'].shape[:4]
  answers = jax.image.resize(decide(x), shape, 'nearest')
  motion = batch['flow'][:, 1:], batch['visible'][:, 1:]
  counted = consistency(answers, *motion)
  return {f'{network}/{name}': value for name, value in counted.items()}


def counts_of(network: str, output: str, counts: Counts) -> dict[str, Any]:
  """The counts of one output of a network, `[T, ...]` by name."""
  start = f'{network}/{output}:'
  return {
    name.removeprefix(start): value
    for name, value in counts.items()
    if name.startswith(start)
  }


def scores_of(
  network: str, kinds: Kinds, counts: Counts, interval: int = 1
) -> dict[str, float]:
  """Scores from the summed counts of `judge`.

  Args:
    network: prefix of the counts.
    kinds: by output; the first stands for the network.
    counts: summed over clips, `[T, ...]`.
    interval: distance of key frames in the clips.

  Returns:
    '<network>/score': the mean over distances 1 to `interval` - 1 of the first
    output's score at that distance: later frames, since a key frame is the
    teacher's own (over all frames, for interval 1); '<network>/score_<d>' at
    each distance that clips are long enough for; and all scores of all outputs
    as '<network>/<output>:<score>', means in the same way; and, of what
    `follow` counts, '<network>/consistency'. All are 0 to 1.
  """
  found = {}
  for place, (output, kind) in enumerate(kinds.items()):
    by_frame = counts_of(network, output, counts)
    by_distance = [
      KINDS[kind].scores(
        {n: x[d::interval].sum(0) for n, x in by_frame.items()}
      )
      for d in range(min(interval, len(next(iter(by_frame.values())))))
    ]
    later = by_distance[1:] or by_distance
    for score in by_distance[0]:
      mean = float(np.mean([at[score] for at in later]))
      found[f'{network}/{output}:{score}'] = mean
    if place == 0:
      main = KINDS[kind].score
      found[f'{network}/score'] = found[f'{network}/{output}:{main}']
      if interval > 1:
        found |= {
          f'{network}/score_{d}': at[main] for d, at in enumerate(by_distance)
        }
  if f'{network}/moved' in counts:
    moved = np.maximum(counts[f'{network}/moved'], 1)
    found[f'{network}/consistency'] = float(counts[f'{network}/kept'] / moved)
  return found
