"""Scores of many pairs, to evaluate with and to distil from."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from deltax import retrieval
from deltax.data.features.similarities import Similarities
from deltax.retrieval.compare.many import bucket_length
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.system import (
  Network,
  System,
  encode,
  encode_coarse,
  encode_fine,
  needs,
)
from deltax.systems.folder import Part


class Scores(NamedTuple):
  """Every query against every video of a database.

  Attributes:
    coarse: float32 `[Q, N]`, in [-1, 1].
    selector: float32 `[Q, N]`, the larger the more a pair needs the fine score;
      the coarse scores where there is no selector.
    fine: float32 `[Q, N]`, in [-1, 1].
    seconds: of one query against the whole database, by 'coarse', 'selector'
      and 'fine'; medians over the queries, without compilation.
    bytes: stored of one video, by the same names; means over the database.
  """

  coarse: np.ndarray
  selector: np.ndarray
  fine: np.ndarray
  seconds: Mapping[str, float]
  bytes: Mapping[str, float]


def score_all(
  system: System,
  features: Mapping[str, np.ndarray],
  queries: Sequence[str],
  database: Sequence[str],
  *,
  progress: bool = False,
) -> Scores:
  """Scores every query with every video of a database, by all networks.

  Args:
    system: the networks.
    features: regions float32 `[T, R, D]` by name.
    queries: Q names.
    database: N names.
    progress: whether to draw a bar.

  Returns:
    The scores.

  Raises:
    KeyError: a name has no features.
  """
  names = list(dict.fromkeys([*queries, *database]))
  codes = {
    name: encode(system, features[name])
    for name in tqdm.tqdm(names, 'codes', unit='video', disable=not progress)
  }
  targets = [codes[name] for name in database]
  vectors = np.stack([code.coarse for code in targets])
  numbers = np.stack([code.selector for code in targets])
  fine, search = [code.fine for code in targets], FineSearch(system.fine)

  def select(query, coarse):
    if not system.selector:
      return coarse
    return needs(system.selector, query.selector, numbers, coarse)

  # One pair of each two lengths first, so that no compilation is timed.
  of_length = {bucket_length(len(code)): code for code in fine}
  asked = [codes[name].fine for name in queries]
  for query in {bucket_length(len(code)): code for code in asked}.values():
    _compared(search, query, list(of_length.values()))
  select(targets[0], vectors @ targets[0].coarse)
  rows, seconds = [], []
  for name in tqdm.tqdm(queries, 'queries', disable=not progress):
    query = codes[name]
    times = [time.perf_counter()]
    coarse = vectors @ query.coarse
    times.append(time.perf_counter())
    selector = select(query, coarse)
    times.append(time.perf_counter())
    row = coarse, selector, _compared(search, query.fine, fine)
    times.append(time.perf_counter())
    rows.append(row)
    seconds.append(np.diff(times))
  kinds = ('coarse', 'selector', 'fine')
  return Scores(
    *(np.stack(column) for column in zip(*rows, strict=True)),
    seconds=dict(zip(kinds, np.median(seconds, 0).tolist(), strict=True)),
    bytes={
      kind: float(np.mean([getattr(code, kind).nbytes for code in targets]))
      for kind in kinds
    },
  )


def score_pairs(
  part: Part, features, pairs: Similarities, *, progress: bool = False
) -> Similarities:
  """Scores pairs with one network: a teacher's scores, to distil from.

  Args:
    part: a coarse student, or a network that compares frames.
    features: regions float32 `[T, R, D]` by name.
    pairs: anchors, with positives and negatives.
    progress: whether to draw a bar.

  Returns:
    Scores in [-1, 1]. Pairs whose videos have no features are left out, and so
    are anchors without pairs.

  Raises:
    ValueError: the part is a selector, which scores no pairs.
  """
  if part.name == 'selector':
    raise ValueError(
      'a selector scores no pairs: expected a coarse student, or a network '
      'that compares frames'
    )
  net = retrieval.create(part.name, **part.options)
  network, coarse = Network(net, part.variables), part.name == 'coarse'
  encode_one = encode_coarse if coarse else encode_fine
  search = None if coarse else FineSearch(network)
  codes: dict[str, np.ndarray] = {}

  def code(name):
    if name not in codes:
      codes[name] = encode_one(network, features[name])
    return codes[name]

  def scored(anchor, others):
    names = [name for name in others if name in features]
    if not names:
      return {}
    targets = [code(name) for name in names]
    if coarse:
      scores = np.stack(targets) @ code(anchor)
    else:
      scores = _compared(search, code(anchor), targets)
    return dict(zip(names, map(float, scores), strict=True))

  rescored = {}
  for anchor in tqdm.tqdm(pairs.pairs, 'pairs', disable=not progress):
    if anchor in features:
      both = tuple(scored(anchor, x) for x in pairs.pairs[anchor])
      if any(both):
        rescored[anchor] = both
  return Similarities(rescored)


def _compared(search, query, targets):
  """float32 `[N]` scores of a query with some targets, all by their codes."""
  lengths = {row: len(codes) for row, codes in enumerate(targets)}
  compared = search.compare(query, lengths, targets.__getitem__)
  return np.array([compared[row].score for row in lengths], np.float32)
