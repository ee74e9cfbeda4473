"""What a page about a retrieval evaluation is made of, and its form on disk.

Scores are shares, 0 to 1; what was not measured is None or NaN.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deltax.report.stored import fields_of

Scores = Mapping[str, float | None]


class Student(NamedTuple):
  """A network that compares every query with every video.

  Attributes:
    name: of the network.
    scores: by their names.
    bytes: stored for a video.
    seconds: that a query takes, compared with all videos.
  """

  name: str
  scores: Scores
  bytes: float | None
  seconds: float | None


class Share(NamedTuple):
  """What re-ranking a share of the pairs gives, and costs.

  Attributes:
    share: of the pairs that the fine student compares, 0 to 1.
    pairs: the same as a count, the mean over queries.
    scores: by their names.
    seconds: of a query.
    bytes: stored for a video.
  """

  share: float
  pairs: float
  scores: Scores
  seconds: float | None
  bytes: float | None


class RetrievalResults(NamedTuple):
  """What an evaluation measured; `results.json` of a retrieval run holds it.

  Attributes:
    title: of the page.
    device: that the times are from.
    notes: sentences on how all this was measured.
    metric: name of the score that is plotted; one of those of every student.
    queries: how many.
    videos: how many are searched.
    students: the coarse one, then those that compare frames.
    trade_off: by a name for each, a row for every share that is re-ranked, from
      the smallest to the whole.
    by_query: of each query that has any, its scores.
    judged: text: whose scores those are.
    missing: queries without features.
    empty: queries to which nothing is relevant.
    unscored: how many videos have no score.
    failed: why videos could not be read, by their names.
  """

  title: str
  device: str
  notes: Sequence[str]
  metric: str
  queries: int
  videos: int
  students: Sequence[Student]
  trade_off: Mapping[str, Sequence[Share]]
  by_query: Mapping[str, Scores]
  judged: str
  missing: Sequence[str]
  empty: Sequence[str]
  unscored: int
  failed: Mapping[str, str]


def retrieval_from_json(given: Mapping[str, Any]) -> RetrievalResults:
  """The results that `deltax.report.to_json` wrote, or an earlier version.

  Args:
    given: what `results.json` of a retrieval run holds.

  Raises:
    ValueError: names what is missing.
  """
  results = fields_of(RetrievalResults, 'results', given)
  results['students'] = [
    Student(**fields_of(Student, 'a student', row))
    for row in results['students']
  ]
  results['trade_off'] = {
    name: [
      Share(**fields_of(Share, 'a row of a trade-off', row)) for row in rows
    ]
    for name, rows in results['trade_off'].items()
  }
  return RetrievalResults(**results)
