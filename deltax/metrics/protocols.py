"""How each retrieval benchmark turns similarities into its published scores.

A list holds the videos of the database that have a score. What is relevant but
has none was not found, unless `available` says that it could not be. Equal
scores rank in the order in which they are given; SVD takes them together.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltax.metrics.rankings import Found, Lists, Similarities
from deltax.metrics.retrieval import (
  Ranking,
  average_precision,
  pooled,
  recall,
  tied_average_precision,
  trapezoid_precision,
)

FIVR_TASKS = {  # which labels are relevant
  'DS': ('ND', 'DS'),
  'CS': ('ND', 'DS', 'CS'),
  'IS': ('ND', 'DS', 'CS', 'IS'),
}
CC_WEB_VIDEO_POSITIVES = frozenset('ESLMV')
DEPTHS = (1, 10)  # of recall


class _Outcome(NamedTuple):
  """What a protocol says.

  Attributes:
    queries: that it asks for.
    database: videos that should have a score.
    by_query: scores of each query, whose means are scores of all.
    more: scores that are no means.
  """

  queries: Collection[str]
  database: Collection[str]
  by_query: dict[str, dict[str, float]]
  more: Mapping[str, float] = {}


def evaluate(
  annotation: Any,
  similarities: Similarities,
  *,
  targets: Sequence[str] | None = None,
  available: Collection[str] | None = None,
  protocol: str | None = None,
) -> dict[str, Any]:
  """Scores rankings as the benchmark of the annotation does.

  Args:
    annotation: one of `deltax.data.features.annotations`.
    similarities: for each query either `{target: score}` or, if there are
      `targets`, an array `[N]` of their scores, NaN where there is none. What
      is no query of the annotation is not read.
    targets: N names; queries may be among them.
    available: the videos that could be searched, by default all. Others count
      nowhere: such scores cannot be compared with published ones.
    protocol: one of `PROTOCOLS`; by default that of the annotation.

  Returns:
    'scores', by name, 0 to 1, NaN if no query has one; 'by_query', the same for
    each query where a query has any; 'missing', the queries without
    similarities, and 'empty', those to which, in some score, nothing available
    is relevant: neither counts in means; 'unscored', how many available videos
    of the database have no score.

  Raises:
    ValueError: there is no such protocol, no query has similarities, or an
      array is without a score for each target.

  Source: evaluation code of distill-and-select (Kordopatis-Zilos et al., IJCV
  2022); 'fivr_s2vs' and 'vcdb': of S2VS (CVPR workshops 2023).
  """
  protocol = protocol or annotation.protocol
  if protocol not in PROTOCOLS:
    known = ', '.join(PROTOCOLS)
    raise ValueError(f'unknown protocol {protocol!r}, known: {known}')
  lists = Lists(similarities, targets, available)
  queries, database, by_query, more = PROTOCOLS[protocol](annotation, lists)
  if not by_query:
    raise ValueError(
      f'none of the {len(queries)} queries, such as {next(iter(queries), None)}'
      f', has similarities; those are of {next(iter(similarities), None)} ...'
    )
  rows = by_query.values()
  return {
    'scores': {
      **{name: _mean(row[name] for row in rows) for name in next(iter(rows))},
      **more,
    },
    'by_query': by_query,
    'missing': [query for query in queries if query not in similarities],
    'empty': [
      query
      for query, row in by_query.items()
      if np.isnan(list(row.values())).any()
    ],
    'unscored': lists.unscored(queries, database),
  }


def _mean(values) -> float:
  """Of those that are no NaN; NaN if none is."""
  values = np.array(list(values), np.float64)
  values = values[~np.isnan(values)]
  return float(values.mean()) if len(values) else np.nan


def _micro(
  rankings: Sequence[Ranking],
  founds: Sequence[Found],
  relevant: Sequence[Collection[str]],
) -> float:
  """Average precision of all pairs of a query and a target in one list."""
  places = [f.at(names) for f, names in zip(founds, relevant, strict=True)]
  return average_precision(
    pooled(rankings, places), sum(len(names) for names in relevant)
  )


def _fivr(annotation, lists: Lists) -> _Outcome:
  """As distill-and-select: a query may be relevant to itself (one is), though
  it is never found.
  """
  by_query = {}
  for found in lists.of(annotation.queries, annotation.database):
    ranking = Ranking(found.drop([found.query]).scores)
    by_query[found.query] = {
      f'{task}VR': average_precision(
        ranking.ranks(found.at(relevant)), len(relevant)
      )
      for task, relevant in _fivr_relevant(annotation, lists, found.query)
    }
  return _Outcome(annotation.queries, annotation.database, by_query)


def _fivr_s2vs(annotation, lists: Lists) -> _Outcome:
  """Retrieval and, in one list (`..VD`), detection; `_h` without what is easy.

  No query is relevant to itself.
  """
  by_query: dict = {}
  more = {}
  for ending, easy in (('', frozenset()), ('_h', annotation.easy_duplicates)):
    founds = [
      found.drop([found.query])
      for found in lists.of(annotation.queries, annotation.database - easy)
    ]
    rankings = [Ranking(found.scores) for found in founds]
    every: dict = {task: [] for task in FIVR_TASKS}
    for found, ranking in zip(founds, rankings, strict=True):
      row = by_query.setdefault(found.query, {})
      for task, names in _fivr_relevant(annotation, lists, found.query):
        relevant = names - easy - {found.query}
        every[task].append(relevant)
        row[f'{task}VR{ending}'] = average_precision(
          ranking.ranks(found.at(relevant)), len(relevant)
        )
    if founds:
      for task, relevant in every.items():
        more[f'{task}VD{ending}'] = _micro(rankings, founds, relevant)
  return _Outcome(annotation.queries, annotation.database, by_query, more)


def _fivr_relevant(annotation, lists: Lists, query: str):
  """What is relevant to a query in each task."""
  labels = annotation.labels[query]
  for task, names in FIVR_TASKS.items():
    labelled = frozenset().union(*(labels.get(name, ()) for name in names))
    yield task, lists.available(labelled & annotation.database)


def _cc_web_video(annotation, lists: Lists) -> _Outcome:
  """Among the videos labelled for a query, or (`_star`) among all; `_c`
  without those labelled wrongly. A query is relevant to itself.
  """
  names = {number: name for name, number in annotation.videos.items()}

  def named(numbers):  # one of the videos labelled has no name
    return frozenset(names.get(number, number) for number in numbers)

  of_query = {
    query: (labels, excluded)
    for query, labels, excluded in zip(
      annotation.queries, annotation.labels, annotation.excluded, strict=True
    )
  }
  by_query: dict = {}
  for found in lists.of(annotation.queries, annotation.videos):
    labels, excluded = of_query[found.query]
    row = by_query.setdefault(found.query, {})
    for ending, wrong in (('', frozenset()), ('_c', excluded)):
      found = found.drop(named(wrong))
      positives = lists.available(
        named(
          number
          for number, label in labels.items()
          if label in CC_WEB_VIDEO_POSITIVES and number not in wrong
        )
      )
      for star, ranked in (('', found.only(named(labels))), ('_star', found)):
        row[f'mAP{ending}{star}'] = average_precision(
          Ranking(ranked.scores).ranks(ranked.at(positives)), len(positives)
        )
  return _Outcome(annotation.queries, annotation.videos, by_query)


def _evve(annotation, lists: Lists) -> _Outcome:
  """With trapezoids; `event_mAP` is the mean over events of their means."""
  event_of = {
    query: name
    for name, event in annotation.events.items()
    for query in event.queries
  }
  by_query, by_event = {}, {}
  for found in lists.of(annotation.queries, annotation.database):
    name = event_of[found.query]
    positives = lists.available(annotation.events[name].positives)
    ranks = Ranking(found.scores).ranks(found.at(positives))
    precision = trapezoid_precision(ranks, len(positives))
    by_query[found.query] = {'mAP': precision}
    by_event.setdefault(name, []).append(precision)
  more = {'event_mAP': _mean(map(_mean, by_event.values()))}
  return _Outcome(annotation.queries, annotation.database, by_query, more)


def _svd(annotation, lists: Lists) -> _Outcome:
  """Among the videos labelled for a query and all unlabelled ones."""
  unlabelled = frozenset(annotation.unlabelled)
  labelled = frozenset().union(*annotation.labels.values())
  by_query = {}
  for found in lists.of(annotation.labels, labelled | unlabelled):
    labels = annotation.labels[found.query]
    found = found.drop(labelled - unlabelled - labels.keys())
    positives = lists.available([n for n, label in labels.items() if label])
    precision = tied_average_precision(
      found.scores, found.at(positives), len(positives)
    )
    by_query[found.query] = {'mAP': precision}
  return _Outcome(annotation.labels, labelled | unlabelled, by_query)


def _vcdb(annotation, lists: Lists) -> _Outcome:
  database = frozenset(annotation.queries) | frozenset(annotation.distractors)
  return _found(annotation.positives, lists, annotation.queries, database)


def _copies(annotation, lists: Lists) -> _Outcome:
  """Average precision, in a list for each query and in one, and recall."""
  return _found(
    annotation.relevant,
    lists,
    tuple(annotation.relevant),
    annotation.database,
    DEPTHS,
  )


def _found(relevant_to, lists: Lists, queries, database, depths=()) -> _Outcome:
  """Plain lists without the query; relevant is what is in the database."""
  by_query, founds, rankings, every = {}, [], [], []
  for found in lists.of(queries, database):
    relevant = lists.available(relevant_to[found.query]) - {found.query}
    if database is not None:
      relevant &= database
    ranking = Ranking(found.drop([found.query]).scores)
    ranks = ranking.ranks(found.at(relevant))
    by_query[found.query] = {
      'mAP': average_precision(ranks, len(relevant)),
      **{f'recall@{k}': recall(ranks, len(relevant), k) for k in depths},
    }
    founds.append(found)
    rankings.append(ranking)
    every.append(relevant)
  if database is None:
    database = frozenset().union(*relevant_to.values())
  more = {'uAP': _micro(rankings, founds, every)} if founds else {}
  return _Outcome(queries, database, by_query, more)


PROTOCOLS = {
  'fivr': _fivr,
  'fivr_s2vs': _fivr_s2vs,
  'cc_web_video': _cc_web_video,
  'evve': _evve,
  'svd': _svd,
  'vcdb': _vcdb,
  'copies': _copies,
}
