"""`scored_pairs`: pairs that two students have scored, for the selector.

Source: Kordopatis-Zilos et al., Distill-and-Select, IJCV 2022, section 3.4.
"""

import collections
import functools
import os
from typing import Any

import numpy as np

from deltax.data import augment_time, images, pipeline
from deltax.data.features.made import open_or_make
from deltax.data.features.padded import PaddedVideos, warn_missing
from deltax.data.features.pairs import VideoPair, example_of
from deltax.data.features.similarities import (
  Similarities,
  present,
  read_similarities,
)

VALIDATION = 0.03  # of the pairs, never trained on
MOST = 5000  # pairs of each kind in an epoch


def make_scored_pairs(
  split: str,
  *,
  batch_size: int,
  train: bool,
  features: str | os.PathLike,
  fine: str | os.PathLike = '',
  coarse: str | os.PathLike = '',
  seed: int = 0,
  clip_length: int | None = None,
  frames: int = augment_time.MOST,
  threshold: float = 0.2,
) -> pipeline.Batches:
  """Pairs that both students have scored, for the selector.

  Those of 'validation', 3% drawn at random, are the same for all seeds; those
  of 'train' are the others. Each epoch of training shows equally many that
  deserve the fine student and that do not: as many as the rarer kind has, at
  most 5000, drawn anew. Videos without features are named in a warning and left
  out.

  Args:
    split: 'train' or 'validation'.
    batch_size: of all processes; each gets B of them.
    train: endless, balanced and shuffled; else one pass in order.
    features: as `open_or_make` takes it; '' makes some, with scores.
    fine: a file that `read_similarities` takes, of a fine student.
    coarse: of the coarse student.
    seed: of the order and of the choice.
    clip_length: of no meaning here.
    frames: T, a multiple of 4; longer videos lose their end.
    threshold: see `deserves`; that of the task.

  Returns:
    Batches as those of `make_pairs`, but 'relevant' is 1 for a positive pair,
    and 'scores' (of `fine`) and 'coarse' are in [-1, 1].

  Raises:
    ValueError: unknown split, no pairs, or pairs of only one kind to train on.
    FileNotFoundError: a file is missing.
  """
  del clip_length
  images.check_split(split, ('train', 'validation'))
  store, made = open_or_make(features)
  videos = PaddedVideos(store, frames)
  if fine and coarse:
    scores = read_similarities(fine), read_similarities(coarse)
  elif made:
    scores = made, _guessed(made)
  else:
    raise ValueError("pairs need the paths of 'fine' and 'coarse' similarities")
  pairs = _split(_scored(videos, *scores), split)
  example = functools.partial(example_of, videos)
  if not train:
    return pipeline.evaluation(pairs, example, batch_size=batch_size)
  return pipeline.training(
    _balanced(pairs, threshold, seed),
    lambda some, rng: example(some[rng.integers(len(some))]),
    batch_size=batch_size,
    seed=seed,
  )


def deserves(fine: Any, coarse: Any, threshold: float = 0.2) -> Any:
  """Whether the coarse score of a pair is too far from the fine one.

  Such a pair deserves the fine student: it is what a selector learns to see.

  Args:
    fine: score of the fine student, -1 to 1; a number, or an array of any kind
      and shape.
    coarse: cosine of the coarse student, likewise.
    threshold: allowed difference, of scores in [0, 1].

  Returns:
    bool, in the same shape.

  Source: DnS, section 3.4.

  Example:
    >>> deserves(0.0, 0.6), deserves(0.0, 0.8)
    (False, True)
  """
  return abs(fine / 2 + 0.5 - coarse) > threshold


def _scored(videos, fine, coarse) -> list[VideoPair]:
  fine, missing = present(fine, videos)
  warn_missing('pairs', missing)
  pairs = []
  for query, both in fine.pairs.items():
    cheap = collections.ChainMap(*coarse.pairs.get(query, ()))
    pairs += [
      VideoPair(query, target, relevant, score, cheap[target])
      for relevant, scores in zip((1.0, 0.0), both, strict=True)
      for target, score in scores.items()
      if target in cheap
    ]
  return pairs


def _guessed(fine: Similarities) -> Similarities:
  """Coarse scores for made videos: each second one is far from the fine one."""
  return Similarities(
    {
      anchor: tuple(
        {name: score / 2 + 0.5 - 0.4 * (k % 2) for k, (name, score) in rows}
        for rows in (enumerate(scores.items()) for scores in both)
      )
      for anchor, both in fine.pairs.items()
    }
  )


def _split(pairs: list[VideoPair], split: str) -> list[VideoPair]:
  order = np.random.default_rng(0).permutation(len(pairs))
  held_out = set(order[: round(VALIDATION * len(pairs))].tolist())
  return [
    pair
    for place, pair in enumerate(pairs)
    if (place in held_out) == (split == 'validation')
  ]


def _balanced(
  pairs: list[VideoPair], threshold: float, seed: int
) -> list[list[VideoPair]]:
  """Equally many parts of both kinds; an epoch shows one pair of each part."""
  rng = np.random.default_rng(seed)
  kinds = [
    [
      pair
      for pair in pairs
      if deserves(pair.fine, pair.coarse, threshold) == kind
    ]
    for kind in (1, 0)
  ]
  count = min(MOST, *map(len, kinds))
  if not count:
    raise ValueError(
      f'{len(kinds[0])} of {len(pairs)} pairs to train on deserve the fine '
      'student; expected some that do and some that do not'
    )
  # The commoner kind is dealt out to as many parts as the rarer one has pairs:
  # an epoch is balanced, and over the epochs every pair is shown.
  return [
    [kind[place] for place in places]
    for kind in kinds
    for places in np.array_split(rng.permutation(len(kind)), count)
  ]
