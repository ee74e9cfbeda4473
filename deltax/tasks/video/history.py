"""What a run's metrics say of its training, for a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from deltax.report.contents import Curves, GateHistory

Metrics = Sequence[Mapping[str, Any]]
# Of a line of metrics, what is no loss: by the start of the name.
NO_LOSSES = ('learning_rate', 'gradient_norm', 'steps_per_second')


def curves(metrics: Metrics) -> Curves:
  """The losses over training.

  Args:
    metrics: lines of the run's metrics, as `deltax.training.read_metrics` gives
      them.
  """
  rows = [row for row in metrics if row['split'] == 'train']
  names = sorted(
    {name for row in rows for name in row if not name.startswith(NO_LOSSES)}
    - {'step', 'split'}
  )
  return Curves(
    [row['step'] for row in rows],
    {name: [row.get(name) for row in rows] for name in names},
  )


def gates(metrics: Metrics, paths: Sequence[str]) -> GateHistory:
  """The gates over training.

  Args:
    metrics: lines of the run's metrics.
    paths: of layers and blocks in order of depth; those without a gate are
      left out.
  """
  rows = [row for row in metrics if row['split'] == 'watch']
  logged = [path for path in paths if rows and f'gate/{path}' in rows[0]]
  return GateHistory(
    [row['step'] for row in rows],
    {path: [row[f'gate/{path}'] for row in rows] for path in logged},
  )
