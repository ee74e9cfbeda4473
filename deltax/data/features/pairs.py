"""`pairs`: every query with every video searched, to evaluate networks on."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deltax.data import augment_time, images, pipeline
from deltax.data.features.annotations import Copies, read_copies, read_fivr
from deltax.data.features.made import open_or_make
from deltax.data.features.padded import PaddedVideos, warn_missing

FIVR_RELEVANT = ('ND', 'DS')


class VideoPair(NamedTuple):
  """Two videos by name, and what is known of them.

  Attributes:
    query: name of the video that is searched for.
    target: name of the video that may match.
    relevant: 1 if it does, else 0.
    fine: score of a fine student, -1 to 1.
    coarse: cosine of the coarse student, -1 to 1.
  """

  query: str
  target: str
  relevant: float = 0.0
  fine: float = 0.0
  coarse: float = 0.0


def make_pairs(
  split: str,
  *,
  batch_size: int,
  train: bool,
  features: str | os.PathLike,
  annotations: str | os.PathLike = '',
  seed: int = 0,
  clip_length: int | None = None,
  frames: int = augment_time.MOST,
) -> pipeline.Batches:
  """Every query with every video of a database, in one pass.

  A video is not paired with itself. Videos without features are named in a
  warning and left out.

  Args:
    split: 'test'; the annotations say what is in it.
    batch_size: of all processes; each gets B of them.
    train: False; networks are trained on `triplets`.
    features: as `open_or_make` takes it; '' makes some, with annotations.
    annotations: a file that `read_copies` takes; without a database, all videos
      that have features are searched. Or `fivr.pickle`: FIVR-5K, where near-
      duplicates and duplicate scenes are relevant (DSVR).
    seed: of no meaning here, as `clip_length`.
    clip_length: see `seed`.
    frames: T, a multiple of 4; longer videos lose their end.

  Returns:
    Batches of 'query' and 'target' float32 `[B, T, R, D]`, zero frames behind
    their end; 'query_mask' and 'target_mask' float32 `[B, T]`, 1 for a real
    frame; 'query_id' and 'target_id' int32 `[B]`, places among the names of the
    features; 'relevant' float32 `[B]`, 1 or 0; 'scores' and 'coarse' float32
    `[B]` of zeros; 'mask' float32 `[B]`.

  Raises:
    ValueError: unknown split, to train on, or no pairs.
    FileNotFoundError: a file is missing.
  """
  del seed, clip_length
  images.check_split(split, ('test',))
  if train:
    raise ValueError("these pairs are to evaluate on; train on 'triplets'")
  store, made = open_or_make(features)
  videos = PaddedVideos(store, frames)
  if annotations:
    annotated = _read(annotations)
  elif made:
    alike = {query: frozenset(both[0]) for query, both in made.pairs.items()}
    annotated = Copies(alike)
  else:
    raise ValueError('pairs need annotations: the path of a file')
  pairs = _annotated(videos, annotated)
  example = functools.partial(example_of, videos)
  return pipeline.evaluation(pairs, example, batch_size=batch_size)


class _Annotated(Sequence):
  """All pairs of an annotation, made when they are asked for."""

  def __init__(self, queries, database, relevant):
    self._queries, self._database = queries, database
    self._relevant = relevant
    names = np.array(database)
    others = [np.flatnonzero(names != query) for query in queries]
    self._targets = np.concatenate(others) if others else np.array([], int)
    self._ends = np.cumsum([len(places) for places in others])

  def __len__(self) -> int:
    return len(self._targets)

  def __getitem__(self, index: int) -> VideoPair:
    query = self._queries[np.searchsorted(self._ends, index, side='right')]
    target = self._database[self._targets[index]]
    return VideoPair(query, target, float(target in self._relevant[query]))


def _read(path) -> Copies:
  if pathlib.Path(path).suffix != '.pickle':
    return read_copies(path)
  fivr = read_fivr(path, '5k')
  relevant = {
    query: frozenset().union(*(labels.get(kind, ()) for kind in FIVR_RELEVANT))
    for query, labels in fivr.labels.items()
    if query in fivr.queries
  }
  return Copies(relevant, fivr.database)


def _annotated(videos, annotations) -> Sequence[VideoPair]:
  queries, database = list(annotations.relevant), annotations.database
  database = list(videos.names) if database is None else sorted(database)
  needed = dict.fromkeys([*queries, *database])
  warn_missing('pairs', (name for name in needed if name not in videos))
  queries, database = (
    [name for name in names if name in videos] for names in (queries, database)
  )
  return _Annotated(queries, database, annotations.relevant)


def example_of(videos: PaddedVideos, pair: VideoPair) -> dict[str, np.ndarray]:
  """A pair as `make_pairs` and `make_scored_pairs` give it, without B."""
  numbers = {
    'query_id': np.int32(videos.place(pair.query)),
    'target_id': np.int32(videos.place(pair.target)),
    'relevant': np.float32(pair.relevant),
    'scores': np.float32(pair.fine),
    'coarse': np.float32(pair.coarse),
  }
  return {
    **videos.example('query', pair.query),
    **videos.example('target', pair.target),
    **numbers,
  }
