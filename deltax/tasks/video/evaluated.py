"""Scores of an evaluation, by network and by distance to the key frame."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltax.data.labels import DataInfo
from deltax.report.contents import Metric, Shot
from deltax.task import Task
from deltax.tasks.video.rivals import Size
from deltax.types import Batch


class Seen(NamedTuple):
  """Outputs on a frame, of batch 1.

  Attributes:
    teacher: of the network itself.
    delta: of the delta network.
    copied: of the network on the key frame before, in place of its own.
  """

  teacher: Any
  delta: Any
  copied: Any


class Kind(NamedTuple):
  """What the report of one kind of task adds.

  Attributes:
    metric: texts about the score.
    score: its name among the scores, such as 'miou'.
    others: `{text: (name, note)}` of scores shown beside it, where they are
      measured, and how.
    notes: on how all else is measured.
    scores: `(name, counts, interval) -> {'<name>/<score>': float}`, and
      '<name>/<score>_<d>' at distance d to the key frame.
    by_class: `(name, counts) -> [K]` scores.
    clips: `(counts, dataset) -> numbers` of the clips to show.
    shot: `(batch, row, t, caption, seen) -> shot`, frame t of a clip for the
      film, from what the networks make of it; None for a frame that does not
      count.
    info: of classes and their colours; None for those of the data set.
    smaller: `size -> Task` that judges the network on frames made smaller,
      None for a size that it does not take; or None, where the run's own task
      judges that too.
  """

  metric: Metric
  score: str
  others: Mapping[str, tuple[str, str]]
  notes: Sequence[str]
  scores: Callable[[str, Mapping, int], dict[str, float]]
  by_class: Callable[[str, Mapping], Sequence[float]]
  clips: Callable[[Mapping, Sequence[Batch]], Sequence[int]]
  shot: Callable[[Batch, int, int, str, Seen], Shot | None]
  info: DataInfo | None = None
  smaller: Callable[[Size], Task | None] | None = None


class Evaluated(NamedTuple):
  """What an evaluation gave, and how the task reads it.

  Attributes:
    kind: of the task.
    scores: by '<network>/<score>'.
    counts: by '<network>/<name>', summed or stacked over clips.
  """

  kind: Kind
  scores: Mapping[str, float]
  counts: Mapping[str, np.ndarray]

  @property
  def intervals(self) -> list[int]:
    """Key-frame intervals that there are counts of, smallest first."""
    names = {name.split('/')[0] for name in self.counts}
    return sorted(
      int(name.removeprefix('delta_'))
      for name in names
      if name.startswith('delta_')
    )

  def row(self, network: str) -> dict[str, Any]:
    """The scores of one network, as rows of `Results` take them."""
    kind = self.kind
    return {
      'score': self.scores[f'{network}/{kind.score}'],
      'by_class': [float(x) for x in kind.by_class(network, self.counts)],
      'others': {
        text: self.scores[f'{network}/{name}']
        for text, (name, _) in kind.others.items()
        if f'{network}/{name}' in self.scores
      },
    }

  def distances(self, interval: int) -> dict[str, Any]:
    """Scores at each distance to the key frame, NaN where clips are shorter."""
    kind = self.kind
    teacher = kind.scores('teacher', self.counts, interval)

    def at(network, scores):
      names = [f'{network}/{kind.score}_{d}' for d in range(interval)]
      return [scores.get(name, math.nan) for name in names]

    found = {
      'teacher_score': teacher[f'teacher/{kind.score}'],
      'per_distance': at(f'delta_{interval}', self.scores),
      'teacher_per_distance': at('teacher', teacher),
    }
    copied = f'copied_{interval}'
    if f'{copied}/{kind.score}' in self.scores:
      found['copied_score'] = self.scores[f'{copied}/{kind.score}']
      found['copied_per_distance'] = at(copied, self.scores)
    return found
