"""Made-up features of videos, for smoke runs and tests.

A source is a walk among a few random scenes; a copy is a stretch of it, perhaps
at another speed, with noise.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from deltax.data.features.similarities import Similarities
from deltax.data.features.store import open_features


class MadeFeatures(NamedTuple):
  """Features by name, and which are copies of which.

  Attributes:
    features: float32 `[T, R, D]` by name, rows of length 1.
    source: name of the source of each video; its own for a source.
  """

  features: dict[str, np.ndarray]
  source: dict[str, str]


def make_features(
  *,
  sources: int = 4,
  copies: int = 2,
  frames: tuple[int, int] = (8, 24),
  regions: int = 9,
  size: int = 32,
  noise: float = 0.5,
  seed: int = 0,
) -> MadeFeatures:
  """Makes sources and their copies; equal arguments give equal arrays.

  Args:
    sources: how many sources.
    copies: of each source.
    frames: least and most frames of a source.
    regions: R.
    size: D.
    noise: length of the noise that a copy gets, beside a region of length 1.
    seed: of everything.

  Returns:
    Videos 'source-i' and 'source-i-copy-j'.

  Example:
    >>> made = make_features(sources=2, copies=1)
    >>> sorted(made.features)[:2], made.source['source-0-copy-0']
    (['source-0', 'source-0-copy-0'], 'source-0')
  """
  draw = np.random.default_rng(seed)
  features, origin = {}, {}
  for i in range(sources):
    count = int(draw.integers(frames[0], frames[1] + 1))
    scenes = draw.normal(size=(1 + count // 6, regions, size))
    scene = np.sort(draw.integers(0, len(scenes), count))
    drift = draw.normal(size=(count, regions, size)).cumsum(0) / 6
    name = f'source-{i}'
    features[name] = _unit(scenes[scene] + drift)
    origin[name] = name
    for j in range(copies):
      first = int(draw.integers(0, max(count // 3, 1)))
      pace = draw.choice([0.5, 1.0, 2.0]) if count - first > 8 else 1.0
      times = np.arange(first, count, pace).astype(int)
      added = draw.normal(size=(len(times), regions, size)) / np.sqrt(size)
      copy = f'{name}-copy-{j}'
      features[copy] = _unit(features[name][times] + noise * added)
      origin[copy] = name
  return MadeFeatures(features, origin)


def open_or_make(
  path: str | os.PathLike,
) -> tuple[Mapping[str, np.ndarray], Similarities | None]:
  """Features of a file, or made-up ones with the pairs that belong to them.

  Args:
    path: a feature store or a published HDF5 file; '' makes features of a few
      videos and copies, for a first look.

  Returns:
    `(features, similarities)`: features float32 `[T, R, D]` by name. Of a file,
    similarities are None; of made ones, every video is paired with its copies
    (score 0.9) and with all others (score -0.6).
  """
  if path:
    return open_features(path), None
  made = make_features()
  pairs = {}
  for anchor, source in made.source.items():
    alike = {n for n, its in made.source.items() if its == source} - {anchor}
    others = set(made.source) - alike - {anchor}
    pairs[anchor] = (
      dict.fromkeys(sorted(alike), 0.9),
      dict.fromkeys(sorted(others), -0.6),
    )
  return made.features, Similarities(pairs)


def _unit(x: np.ndarray) -> np.ndarray:
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
