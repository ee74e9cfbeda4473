"""From a config's plain values to a task and its data."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import logging

from deltax import data, files, plain, tasks, training
from deltax import report as pages
from deltax.convert import weights
from deltax.progress import wants_bar
from deltax.report.contents import Page
from deltax.systems import folder as retrieval_system
from deltax.systems import runs
from deltax.task import Task
from deltax.tasks import network, parts
from deltax.tasks.retrieval import report
from deltax.types import Batch

FITTED = 'fit.json'  # of a run whose students were solved for
PIXELS = 1_500_000  # of all frames that they are solved for on


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
      by `mapping`) and `training`; see `configs/`. A delta network starts from
      the students too of a run that has some, such as a converted delta
      checkpoint. `task.delta.costs` may name a file of costs that a checkpoint
      was converted with.

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


def train(
  config: Mapping[str, Any],
  workdir: str | os.PathLike,
  *,
  judged: bool = True,
) -> None:
  """Trains what a config describes, or continues it.

  Args:
    config: see `configs/`.
    workdir: the run's folder; the config is written there too.
    judged: whether to evaluate on the way and at the end.

  Raises:
    ValueError: see `build` and `dataset`.
    FileNotFoundError: see `dataset`.
    CheckpointError: see `build`; or the run there is of another task: it stays
      as it is, and so does its config.
    WorkdirError: another run holds the folder, or it cannot be written.
  """
  built, changes = build(config), optimizer(config)
  train_data = dataset(config, 'train')
  evaluation_data = dataset(config, 'evaluation') if judged else None
  training.train(
    _fitted(built.task, config, train_data, workdir),
    train_data,
    workdir=workdir,
    optimizer=changes,
    evaluation_dataset=evaluation_data,
    metadata=config,
    # Not before: a config that does not go on with the run there is not its.
    begun=lambda: files.write_json(
      pathlib.Path(workdir) / 'config.json', config
    ),
    **config['training'],
  )


def _fitted(
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


def _errors(workdir: str | os.PathLike) -> dict[str, Any]:
  """What the students missed before they were fitted and after; or nothing."""
  path = pathlib.Path(workdir) / FITTED
  form = {str: {str: plain.NUMBER}}
  return plain.read_json(path, {str: form}) if path.exists() else {}


def evaluate(config: Mapping[str, Any], workdir: str | os.PathLike) -> Page:
  """The page of a run on video; all processes take part in the evaluation.

  Args:
    config: of the run.
    workdir: of the run.

  Raises:
    CheckpointError: the run has no checkpoint, or a broken one.
    ValueError: see `build` and `dataset`.
    FileNotFoundError: see `dataset`.
  """
  built = build(config)
  checkpoint = training.find_checkpoint(workdir)
  logging.info('evaluating %s', checkpoint)
  batches = dataset(config, 'evaluation')

  def scored(task, params, model_state, whole_dataset):
    del whole_dataset
    return training.evaluate(
      *(task, params, model_state, batches), progress=wants_bar()
    )

  return tasks.make_report(
    *training.restore_params(checkpoint),
    title=config['title'],
    options=built.options,
    task=built.task,
    evaluate=scored,
    dataset=batches.of_all_processes(),
    data_name=config['data']['name'],
    metrics=training.read_metrics(workdir),
    fitted=_errors(workdir),
  )


def write_page(
  page: Page, workdir: str | os.PathLike, path: str | os.PathLike
) -> None:
  """Writes and prints what an evaluation of a run on video found.

  Args:
    page: from `evaluate`.
    workdir: of the run, where results.json goes.
    path: of the page.
  """
  files.write_json(
    pathlib.Path(workdir) / 'results.json', pages.to_json(page.results)
  )
  pages.write(path, page)
  print(pages.table(page.results))
  print(f'\n{pages.details(page.results)}')
  print(f'\nThe page: {path}')


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


def judged(
  config: Mapping[str, Any], workdir: str | os.PathLike
) -> report.Judged:
  """What the evaluation of a retrieval run compares.

  Args:
    config: with `judge`: `features`, `annotation`, `benchmark` and its
      `options`, and folders of runs: `coarse`, and `fine` by name. Where one is
      '', what needs no training stands in.
    workdir: of the run itself: a student, or the selector of the last of
      `fine`.

  Raises:
    CheckpointError: a run has no checkpoint, or a broken one.
    ValueError: a run trained something else.
  """
  judge = config['judge']
  untrained = retrieval_system.UNTRAINED

  def part(folder, role):
    return runs.read_part(folder) if folder else untrained[role]

  coarse = part(judge['coarse'], 'coarse')
  fine = {name: part(run, 'fine') for name, run in judge['fine'].items()}
  own, selectors = runs.read_part(workdir), {}
  if own.name == 'selector':
    selectors = {list(fine)[-1]: own}
  elif own.name == 'coarse':
    coarse = own
  else:
    fine = {own.name: own}
  return report.Judged(
    coarse,
    fine,
    selectors,
    **{
      name: judge[name]
      for name in ('features', 'annotation', 'benchmark', 'options')
    },
  )
