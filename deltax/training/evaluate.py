"""Scores of a task over a whole data set."""

from collections.abc import Sequence

import jax
import numpy as np
import tqdm

from deltax.task import Task
from deltax.training.parallel import from_all_processes, gathered, spread
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
  """Sums or stacks what a task gives for the real examples of a data set.

  With several processes, each evaluates its stretch of every batch and all get
  the whole.

  Args:
    task: its `evaluate` runs compiled, spread over devices; `summarise` does
      not.
    params: of the network.
    model_state: of the network.
    dataset: finite; examples whose mask is 0 do not count, whatever they give.
    devices: those of all processes by default.
    progress: whether to draw a bar.

  Returns:
    `(scores, counts)`. Sums are float64, so that whole numbers stay exact up to
    2 ** 53; what a task stacks keeps its type, in the order of the data set.

  Raises:
    ValueError: a data set without batches, or a count whose first axis is not
      that of the batch.
  """
  # Imported here: `deltax.data` brings readers that only data sets need.
  from deltax import data

  if not len(dataset):
    raise ValueError('the data set to evaluate on has no batches')
  run = spread(task.evaluate, devices)
  params, model_state = gathered((params, model_state))
  masks, counted = [], {}
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
    masks.append(real)
    for name, value in run(params, model_state, batch).items():
      if value.shape[:1] != real.shape:
        raise ValueError(
          f'count {name!r} of shape {value.shape}: expected the batch first, '
          f'[{len(real)}, ...]'
        )
      value = np.asarray(value)
      if task.stack:
        counted.setdefault(name, []).append(value)
      else:
        total = value[real].astype(np.float64).sum(axis=0)
        counted[name] = counted.get(name, 0) + total
  if task.stack:
    real = _in_order(masks)
    counts = {name: _in_order(rows)[real] for name, rows in counted.items()}
  else:
    counts = {name: from_all_processes(x).sum(0) for name, x in counted.items()}
  scores = {k: float(v) for k, v in task.summarise(counts).items()}
  return scores, counts


def _in_order(batches: Sequence[np.ndarray]) -> np.ndarray:
  """`[N, ...]`, the rows of all processes in the order of the data set.

  Of each batch, every process has a stretch, those of process 0 first.
  """
  rows = from_all_processes(np.stack(batches))
  return rows.swapaxes(0, 1).reshape(-1, *rows.shape[3:])
