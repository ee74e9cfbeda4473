"""Scores of a task over a whole data set."""

from collections.abc import Sequence

import jax
import numpy as np
import tqdm

from deltax.task import Task
from deltax.training.parallel import spread
from deltax.types import Batch, ModelState, Params


def evaluate(
  task: Task,
  params: Params,
  model_state: ModelState,
  dataset: Sequence[Batch],
  *,
  devices: Sequence[jax.Device] | None = None,
  progress: bool = False,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """Sums a task's counts over the real examples of a data set.

  Args:
    task: its `evaluate` runs compiled, spread over devices; `summarise` does
      not.
    params: of the network.
    model_state: of the network.
    dataset: finite; examples whose mask is 0 do not count, whatever they give.
    devices: all local devices by default.
    progress: whether to draw a bar.

  Returns:
    `(scores, counts)`. The counts are float64, so that whole numbers stay exact
    up to 2 ** 53.

  Raises:
    ValueError: a data set without batches, or a count whose first axis is not
      that of the batch.
  """
  # Imported here: the data floor brings readers that only data sets need.
  from deltax import data

  if not len(dataset):
    raise ValueError('the data set to evaluate on has no batches')
  count = spread(task.evaluate, devices)
  counts = {}
  batches = data.prefetch(dataset, 0, len(dataset))
  for batch in tqdm.tqdm(
    batches,
    'evaluation',
    len(dataset),
    leave=False,
    unit='batch',
    dynamic_ncols=True,
    disable=not progress,
  ):
    real = np.asarray(batch['mask']) > 0
    for name, value in count(params, model_state, batch).items():
      if value.shape[:1] != real.shape:
        raise ValueError(
          f'count {name!r} of shape {value.shape}: expected the batch first, '
          f'[{len(real)}, ...]'
        )
      total = np.asarray(value, np.float64)[real].sum(axis=0)
      counts[name] = counts.get(name, 0) + total
  scores = {k: float(v) for k, v in task.summarise(counts).items()}
  return scores, counts
