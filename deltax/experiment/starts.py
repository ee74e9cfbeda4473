"""What is chosen and solved for before the first step of a run."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import logging

from deltax import files, plain, training
from deltax.experiment.build import build, dataset
from deltax.progress import counted
from deltax.task import Task
from deltax.types import Batch

FITTED = 'fit.json'  # of a run whose students were solved for
PIXELS = 3_000_000  # of all frames that they are solved for on


def chosen(
  config: Mapping[str, Any], workdir: str | os.PathLike
) -> Mapping[str, Any]:
  """A config whose students are chosen, where `fit.target` asks for that.

  A run keeps to its choice, which is in its config.json.

  Args:
    config: its `fit` has `target`, and perhaps what else
      `deltax.tasks.video.choosing.choose` is to know.
    workdir: of the run.

  Raises:
    ValueError: see `choose`.
  """
  target = (config.get('fit') or {}).get('target')
  if not target:
    return config
  begun = pathlib.Path(workdir) / 'config.json'
  if begun.exists():
    config_there = plain.read_json(begun, {'task': plain.DICT})
    spec = (config_there['task'].get('delta') or {}).get('spec')
  else:
    (spec,) = choose(config, build(config).task, [target])
  delta = {**config['task']['delta'], 'spec': spec}
  return {**config, 'task': {**config['task'], 'delta': delta}}


def choose(
  config: Mapping[str, Any], task: Task, targets: Sequence[float]
) -> list[dict[str, Any]]:
  """Options of `make_spec` whose later frames cost so much.

  Args:
    config: of a delta network; see `chosen`.
    task: built from it.
    targets: shares of the network's frame.

  Raises:
    ValueError: no delta network; several processes, which would measure
      different milliseconds; or see `deltax.tasks.video.choosing.choose`.
  """
  if task.choose is None:
    raise ValueError('fit.target is of delta networks, and this is none')
  wishes = {
    name: value
    for name, value in config['fit'].items()
    if name not in ('clips', 'target')
  }
  if wishes.get('by') == 'time' and jax.process_count() > 1:
    raise ValueError(
      'students are chosen by time in one process; start the run there, with '
      'training.steps=0'
    )
  batches = dataset(config, 'train')
  first = batches[0]
  params, model_state = task.init(jax.random.key(0), first)
  size = dataset(config, 'evaluation')[0]['frames'].shape[2:4]
  with counted('measuring', 'program') as progress:
    return task.choose(
      *(params, model_state, fit_batches(config, batches)),
      *(config['task']['delta'].get('spec') or {}, size, targets),
      progress=progress,
      **wishes,
    )


def fitted(
  task: Task,
  config: Mapping[str, Any],
  batches: Sequence[Batch],
  workdir: str | os.PathLike,
) -> Task:
  """A task that starts from what can be solved for on `fit.clips` clips.

  The errors before and after are written to fit.json of the run. One that goes
  on has started already.
  """
  wanted = (config.get('fit') or {}).get('clips')
  if not wanted or task.fit is None or training.has_checkpoint(workdir):
    return task

  def init(key, batch):
    params, model_state = task.init(key, batch)
    params, errors = task.fit(params, model_state, fit_batches(config, batches))
    logging.info('solved: %s', FITTED)
    if jax.process_index() == 0:
      pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
      files.write_json(pathlib.Path(workdir) / FITTED, errors)
    return params, model_state

  return task._replace(init=init)


def fit_batches(
  config: Mapping[str, Any], batches: Sequence[Batch]
) -> list[Batch]:
  """The clips that students are solved for on: `fit.clips` of a config.

  Every process has the same ones, and so comes to the same students. Of large
  frames there are fewer, since all are in memory at once, with their maps.

  Args:
    config: of a run.
    batches: of its training.

  Returns:
    Batches of 'frames' alone; four clips or more.
  """
  whole, found, count = batches.of_all_processes(), [], 0
  wanted = config['fit']['clips']
  while count < wanted:
    frames = whole[len(found)]['frames']
    most = max(4, PIXELS // math.prod(frames.shape[1:4]))
    wanted = min(wanted, most)
    found.append({'frames': frames[: wanted - count]})
    count += len(found[-1]['frames'])
  logging.info('solving for the students on %d clips', count)
  return found


def errors(workdir: str | os.PathLike) -> dict[str, Any]:
  """What the students missed before they were fitted and after; or nothing."""
  path = pathlib.Path(workdir) / FITTED
  form = {str: {str: plain.NUMBER}}
  return plain.read_json(path, {str: form}) if path.exists() else {}
