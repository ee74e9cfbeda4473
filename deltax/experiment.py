"""From a config's plain values to a task and its data."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deltax import data, tasks, training
from deltax.task import Task
from deltax.tasks import parts
from deltax.types import Batch


class Experiment(NamedTuple):
  """What a config stands for.

  Attributes:
    options: keyword arguments of the task, teacher included.
    task: built from them.
  """

  options: dict[str, Any]
  task: Task


def build(config: Mapping[str, Any]) -> Experiment:
  """Builds what a config describes, before anything is trained.

  Args:
    config: `task` (its name and options), `teacher` (folder of a run to start
      from, or '') and `training`; see `configs/`. A run that has students, such
      as a converted delta checkpoint, gives those too. `task.delta.costs` may
      name a file of costs that a checkpoint was converted with.

  Returns:
    The experiment.

  Raises:
    ValueError: an unknown name or option, with the known ones.
    CheckpointError: the teacher's checkpoint is missing or broken.
    FileNotFoundError: the file of costs is missing.
  """
  options = dict(config['task'])
  if options.get('delta') and 'costs' in options['delta']:
    path = options['delta']['costs']
    costs = json.loads(pathlib.Path(path).read_text()) if path else None
    options['delta'] = {**options['delta'], 'costs': costs}
  if config['teacher']:
    params, model_state = training.restore_params(config['teacher'])
    options['teacher'] = parts.variables_of(params, model_state)
    if options.get('delta') and 'students' in params:
      start = {name: params[name] for name in ('students', 'gates')}
      options['delta'] = {**options['delta'], 'start': start}
  parallel = config['training']['parallel']
  options['axis_name'] = training.axis_name(parallel)
  return Experiment(
    options,
    tasks.make_task(**options),
  )


def dataset(config: Mapping[str, Any], split: str) -> Sequence[Batch]:
  """The data of one split of a config.

  Args:
    config: its `data` has `name`, `options`, and what differs in each split.
    split: 'train' or 'evaluation'.

  Raises:
    ValueError: an unknown name or option.
    FileNotFoundError: files of the data set are missing.
  """
  described = config['data']
  return data.make_dataset(
    described['name'], **{**described['options'], **described[split]}
  )


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes JSON beside the file and renames it, so that none is ever cut."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(path.name + '.tmp')
  beside.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
  os.replace(beside, path)
