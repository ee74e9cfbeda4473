"""How alike pairs of videos are: what a student learns from.

Every anchor has positives and negatives with a score each: those of a teacher,
or labels.
"""

import itertools
import json
import math
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from deltax import files, plain
from deltax.data.features import plain_pickle

Scores = Mapping[str, float]
_KINDS = ('positives', 'negatives')


class Similarities(NamedTuple):
  """Scores of pairs of videos.

  Attributes:
    pairs: for each anchor the scores of its positives and of its negatives, in
      [-1, 1].
  """

  pairs: Mapping[str, tuple[Scores, Scores]]

  @property
  def names(self) -> tuple[str, ...]:
    """All videos that have a pair, in the order of the pairs."""
    order = (
      [anchor, *both[0], *both[1]] for anchor, both in self.pairs.items()
    )
    return tuple(dict.fromkeys(itertools.chain.from_iterable(order)))


def read_similarities(path: str | os.PathLike) -> Similarities:
  """Reads our JSON, or the pickle that distill-and-select publishes.

  Both hold a list of names, and pairs by place in it: `{anchor: {'positives':
  {place: score}, 'negatives': {place: score}}}`. The list is called 'names' in
  ours and 'index' in the published one.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is neither, or a place or a score is none.
  """
  path = pathlib.Path(path)
  with open(path, 'rb') as file:
    ours = file.read(1) == b'{'
  if not ours:
    return _unpacked(path, plain_pickle.load(path), 'index')
  data = plain.read_json(path, problem='is no JSON file')
  return _unpacked(path, data, 'names')


def write_similarities(
  path: str | os.PathLike, similarities: Similarities
) -> None:
  """Writes our JSON, whole or not at all.

  Raises:
    ValueError: a score is not finite.
  """
  path = pathlib.Path(path)
  names = similarities.names
  places = {name: place for place, name in enumerate(names)}
  pairs = {
    places[anchor]: {
      kind: {places[name]: float(score) for name, score in scores.items()}
      for kind, scores in zip(_KINDS, both, strict=True)
    }
    for anchor, both in similarities.pairs.items()
  }
  data = {'names': names, 'pairs': pairs}
  try:
    text = json.dumps(data, allow_nan=False)
  except ValueError as error:
    raise ValueError(f'{path}: a score is not finite') from error
  files.write_text(path, text + '\n')


def labelled(
  contents: Mapping[str, Collection[str]],
  *,
  negatives: int | None = None,
  near: Mapping[str, str] | None = None,
  seed: int = 0,
) -> Similarities:
  """Pairs by what videos show, for a teacher: scores of 1 and -1.

  Args:
    contents: for each video what it shows; its copies show the first of it. Two
      videos with the same first are positives, two that share nothing are
      negatives; others are no pair.
    negatives: how many an anchor gets; None for all.
    near: a group for each video: up to half of the negatives are of the group
      of their anchor, which makes them hard.
    seed: of the choice.

  Example:
    >>> pairs = labelled({'a': ['x'], 'b': ['x', 'y'], 'c': ['y']}).pairs
    >>> pairs['a'], pairs['b']
    (({'b': 1.0}, {'c': -1.0}), ({'a': 1.0}, {}))
  """
  rng = np.random.default_rng(seed)
  shown = {name: list(what) for name, what in contents.items()}
  pairs = {}
  for anchor, what in shown.items():
    others = [name for name in shown if name != anchor]
    same = [name for name in others if shown[name][0] == what[0]]
    foreign = [name for name in others if not set(shown[name]) & set(what)]
    if negatives is not None:
      foreign = _some(foreign, anchor, negatives, near or {}, rng)
    pairs[anchor] = (dict.fromkeys(same, 1.0), dict.fromkeys(foreign, -1.0))
  return Similarities(pairs)


def present(
  similarities: Similarities, features
) -> tuple[Similarities, tuple[str, ...]]:
  """The pairs of which both videos are there, and the videos that are not.

  Args:
    similarities: of any videos.
    features: anything with `name in features`.

  Returns:
    `(similarities, missing)`: anchors that keep no pair are left out; `missing`
    are the names that have no features, in their order.
  """
  names = similarities.names
  there = {name for name in names if name in features}
  pairs = {}
  for anchor, both in similarities.pairs.items():
    kept = tuple(
      {name: score for name, score in scores.items() if name in there}
      for scores in both
    )
    if anchor in there and any(kept):
      pairs[anchor] = kept
  missing = tuple(name for name in names if name not in there)
  return Similarities(pairs), missing


def _some(names, anchor, count, near, rng) -> list[str]:
  """`count` of the names, in their order, up to half of them near."""
  order = rng.permutation(names).tolist()
  group = near.get(anchor)
  close = [name for name in order if group and near.get(name) == group]
  close = close[: count // 2]
  chosen = set([*close, *(n for n in order if n not in close)][:count])
  return [name for name in names if name in chosen]


def _unpacked(path: pathlib.Path, data: Any, key: str) -> Similarities:
  try:
    names = [str(name) for name in data[key]]

    def name(place):
      place = int(place)
      if not 0 <= place < len(names):
        raise ValueError(f'there is no video {place} among {len(names)}')
      return names[place]

    def scored(scores):
      named = {name(place): float(score) for place, score in scores.items()}
      wrong = [place for place, x in named.items() if not math.isfinite(x)]
      if wrong:
        raise ValueError(f'the score of {wrong[0]!r} is not finite')
      return named

    pairs = {
      name(anchor): tuple(scored(both.get(kind, {})) for kind in _KINDS)
      for anchor, both in data['pairs'].items()
    }
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f'{path} holds no similarities ({type(error).__name__}: {error}); '
      f'expected {key!r}, a list of names, and "pairs" by place in it'
    ) from error
  return Similarities(pairs)
