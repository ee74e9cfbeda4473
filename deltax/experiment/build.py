"""From a config's plain values to a task and its data."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deltax import data, plain, tasks, training
from deltax.convert import weights
from deltax.convert.packaged import packaged_weights
from deltax.task import Task
from deltax.tasks import network, parts
from deltax.types import Batch

PACKAGED = 'packaged'  # in place of a file of weights


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
      from, or ''; for imitation perhaps a file of weights, whose names are told
      by `mapping`, or 'packaged': those of `convert.packaged`) and `training`;
      see `configs/`. A delta network starts from the students too of a run that
      has some, such as a converted delta checkpoint. `task.delta.costs` may
      name a file of costs that a checkpoint was converted with.

  Returns:
    The experiment.

  Raises:
    ValueError: an unknown name or option, with the known ones; a teacher for a
      task that starts from none, or one that is no network for video.
    CheckpointError: the teacher's checkpoint is missing or broken.
    FileNotFoundError: the file of costs or of latencies is missing.
  """
  _check_parts(config)
  options = dict(config['task'])
  if options.get('delta') and 'costs' in options['delta']:
    path = options['delta']['costs']
    costs = plain.read_json(path, {str: plain.NUMBER}) if path else None
    options['delta'] = {**options['delta'], 'costs': costs}
  if config['teacher']:
    options |= _start(config, options)
  parallel = config['training']['parallel']
  options['axis_name'] = training.axis_name(parallel)
  return Experiment(
    options,
    tasks.make_task(**options),
  )


def _check_parts(config: Mapping[str, Any]) -> None:
  """Raises a ValueError where an override has put too little into a part."""
  for part, name in (
    ('task', 'name'),
    ('training', 'parallel'),
    ('optimizer', 'learning_rate'),
  ):
    if part in config:
      _require(config, part, name)


def _require(config: Mapping[str, Any], part: str, name: str) -> None:
  if name not in config[part]:
    raise ValueError(f'config.{part} has no {name!r}, which a run needs')


def _start(
  config: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
  """The options that what a config starts from gives to its task."""
  place = pathlib.Path(config['teacher'])
  if config['teacher'] == PACKAGED:
    return {'teacher': packaged_weights(options['model'])}
  if options['name'] != 'imitation' or training.has_checkpoint(place):
    return _from_run(config['teacher'], options)
  return {'teacher': read_teacher(options, place, config.get('mapping', ''))}


def read_teacher(
  options: Mapping[str, Any], path: str | os.PathLike, mapping: str = ''
) -> Any:
  """The variables of a network for imitation, from a file of weights.

  Args:
    options: of the task.
    path: see `deltax.convert.weights.read_arrays`.
    mapping: see `deltax.convert.weights.read_mapping`; '' for none.

  Raises:
    ValueError: lists whatever is missing, left over or of another shape.
    FileNotFoundError: there is no such file.
  """
  brought = network.brought_by(options)
  frame = jnp.zeros((1, *options['size'], 3), jnp.uint8)
  shapes = brought.shapes(jax.eval_shape(brought.prepare, frame))
  return weights.match(
    weights.read_arrays(path),
    shapes,
    weights.read_mapping(mapping) if mapping else None,
    name=options['model'],
  )


def _from_run(run: str, options: Mapping[str, Any]) -> dict[str, Any]:
  """The options that a run to start from gives to a task of some options."""
  name = options['name']
  if name in tasks.TASKS and name not in tasks.WITH_TEACHER:
    raise ValueError(
      f'the task {name!r} starts from no run, got teacher={str(run)!r}; known '
      f'with one: {", ".join(tasks.WITH_TEACHER)}'
    )
  params, model_state = training.restore_params(run)
  if 'teacher' not in params or 'batch_stats' not in model_state:
    raise ValueError(
      f'teacher={str(run)!r} is no run of a network for video; it holds '
      f'{", ".join(sorted(params)) or "nothing"}'
    )
  taken = {'teacher': parts.variables_of(params, model_state)}
  if options.get('delta') and 'students' in params:
    whole = parts.delta_params(params, model_state)
    kept = ('students', 'gates')  # a saved tree has no empty branches
    begun = {name: whole[name] for name in kept if name in whole}
    taken['delta'] = {**options['delta'], 'start': begun}
  return taken


def optimizer(config: Mapping[str, Any]) -> optax.GradientTransformation:
  """What changes the parameters of a run of `training.steps` steps.

  Raises:
    ValueError: the steps are missing; or see `training.make_optimizer`.
  """
  _require(config, 'training', 'steps')
  return training.make_optimizer(
    steps=config['training']['steps'], **config['optimizer']
  )


def dataset(config: Mapping[str, Any], split: str) -> Sequence[Batch]:
  """The data of one split of a config.

  Args:
    config: its `data` has `name`, `options`, and what differs in each split,
      which may be the name too.
    split: 'train' or 'evaluation'.

  Raises:
    ValueError: an unknown name or option.
    FileNotFoundError: files of the data set are missing.
  """
  described = config['data']
  options = {**described['options'], **described[split]}
  name = options.pop('name', described['name'])
  return data.make_dataset(name, **options)
