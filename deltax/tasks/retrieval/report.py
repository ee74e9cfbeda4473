"""What `eval.py` says of retrieval: each network, and what re-ranking costs."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from deltax import retrieval
from deltax.data.features import annotations
from deltax.data.features.extraction import read_failures
from deltax.data.features.made import open_or_make
from deltax.metrics import protocols
from deltax.report.retrieval.contents import (
  RetrievalResults,
  Share,
  Student,
)
from deltax.retrieval.search import rerank
from deltax.retrieval.system import Network, System
from deltax.systems.folder import Part
from deltax.systems.scoring import Scores, score_all

# How an annotation is read, and the score of its protocol that is plotted.
BENCHMARKS: dict[str, tuple[Callable[..., Any], str]] = {
  'copies': (annotations.read_copies, 'mAP'),
  'fivr': (annotations.read_fivr, 'DSVR'),
  'cc_web_video': (annotations.read_cc_web_video, 'mAP'),
  'svd': (annotations.read_svd, 'mAP'),
  'evve': (annotations.read_evve, 'mAP'),
  'vcdb': (annotations.read_vcdb, 'mAP'),
}


class Judged(NamedTuple):
  """What is compared, and on what.

  Attributes:
    coarse: the coarse student.
    fine: networks that compare frames, by a name for each.
    selectors: by the same names; without one the coarse scores say what is
      re-ranked.
    features: path of the features of all videos; '' for made ones.
    annotation: path of the annotation; of no use with made features.
    benchmark: one of `BENCHMARKS`.
    options: of its reader, such as FIVR's `version`.
  """

  coarse: Part
  fine: Mapping[str, Part]
  selectors: Mapping[str, Part]
  features: str | os.PathLike
  annotation: str | os.PathLike
  benchmark: str = 'copies'
  options: Mapping[str, Any] = {}


def make_report(
  judged: Judged, *, title: str, progress: bool = False
) -> RetrievalResults:
  """Scores every query with every video, by each network and mixed.

  Args:
    judged: what is compared, and on what.
    title: of the page.
    progress: whether to draw bars.

  Returns:
    What its page shows.

  Raises:
    ValueError: an unknown benchmark, or no query has features.
    FileNotFoundError: features or the annotation are missing.
  """
  features, made, annotation, metric = _opened(judged)
  known = list(getattr(features, 'names', features))
  asked, database = _names(annotation, known)
  queries = [name for name in asked if name in features]
  videos = [name for name in database if name in features]
  if not queries:
    raise ValueError(
      f'none of the {len(asked)} queries of {judged.annotation} has features '
      f'in {judged.features}'
    )

  def outcome(rows):
    scores = dict(zip(queries, rows, strict=True))
    return protocols.evaluate(annotation, scores, targets=videos)

  students, curves, last = [], {}, {}
  for name, fine in judged.fine.items():
    selector = judged.selectors.get(name)
    system = _system(judged.coarse, fine, selector)
    scores = score_all(system, features, queries, videos, progress=progress)
    if not students:
      students.append(_student('coarse', outcome(scores.coarse), scores))
    last = outcome(scores.fine)
    student = _student('fine', last, scores)
    students.append(student._replace(name=name))
    rows = rerank.trade_off(
      annotation,
      scores.coarse,
      scores.selector,
      scores.fine,
      queries=queries,
      targets=videos,
      seconds=scores.seconds,
      bytes_per_video=sum(scores.bytes.values()),
    )
    curves[name] = [Share(**row) for row in rows]
  return RetrievalResults(
    title=title,
    device=f'{jax.devices()[0].device_kind}, {os.cpu_count()} cores',
    notes=NOTES,
    metric=metric,
    queries=len(queries),
    videos=len(videos),
    students=students,
    trade_off=curves,
    by_query=last['by_query'],
    judged=f'{list(judged.fine)[-1]}, all pairs',
    missing=last['missing'],
    empty=last['empty'],
    unscored=last['unscored'],
    failed={} if made else read_failures(features),
  )


def _opened(judged: Judged) -> tuple[Any, Any, Any, str]:
  """Features, what they were made from, annotation, and the score to plot."""
  if judged.benchmark not in BENCHMARKS:
    raise ValueError(
      f'no benchmark {judged.benchmark!r}; known: {", ".join(BENCHMARKS)}'
    )
  read, metric = BENCHMARKS[judged.benchmark]
  features, made = open_or_make(judged.features)
  if made is None:
    return features, None, read(judged.annotation, **judged.options), metric
  alike = {query: frozenset(both[0]) for query, both in made.pairs.items()}
  return features, made, annotations.Copies(alike), 'mAP'


NOTES = [
  'Every query is compared with every video; a part of the pairs, those that '
  'the selector puts first (without a selector, those of the highest coarse '
  'scores), has the score of the fine student, the others that of the coarse '
  'one. That is the published rule; a search puts what it compared frame by '
  'frame before the rest.',
  'Times are wall time of one query against all videos, medians over the '
  'queries, features extracted before.',
  'Queries without features are listed and count nowhere.',
]


def _student(kind: str, outcome: Mapping[str, Any], scores: Scores) -> Student:
  return Student(
    kind, outcome['scores'], scores.bytes[kind], scores.seconds[kind]
  )


def _system(coarse: Part, fine: Part, selector: Part | None) -> System:
  def network(part):
    net = retrieval.create(part.name, **part.options)
    return Network(net, part.variables)

  return System(
    extract=_no_frames,
    coarse=network(coarse),
    fine=network(fine),
    selector=selector and network(selector),
    description={},
    fingerprint='',
  )


def _no_frames(frames: np.ndarray) -> np.ndarray:
  raise ValueError('this system starts from features, not from frames')


def _names(
  annotation: Any, known: Sequence[str]
) -> tuple[list[str], list[str]]:
  """Queries, and the videos searched."""
  match annotation:
    case annotations.Copies():
      queries, database = annotation.relevant, annotation.database or known
    case annotations.CcWebVideo():
      queries, database = annotation.queries, annotation.videos
    case annotations.Svd():
      queries = annotation.labels
      labelled = {name for row in queries.values() for name in row}
      database = labelled | set(annotation.unlabelled)
    case annotations.Vcdb():
      queries = annotation.queries
      database = [*queries, *annotation.distractors]
    case _:
      queries, database = annotation.queries, annotation.database
  return sorted(queries), sorted(set(database))
