"""Runs: trained, evaluated, told."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from deltax import files, tasks, training
from deltax import report as pages
from deltax.experiment.build import build, dataset, optimizer
from deltax.experiment.starts import chosen, errors, fitted
from deltax.progress import wants_bar
from deltax.report.contents import Page
from deltax.systems import folder as retrieval_system
from deltax.systems import runs
from deltax.tasks.retrieval import report


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
  config = chosen(config, workdir)
  built, changes = build(config), optimizer(config)
  train_data = dataset(config, 'train')
  evaluation_data = dataset(config, 'evaluation') if judged else None
  training.train(
    fitted(built.task, config, train_data, workdir),
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
  checkpoint = training.find_checkpoint(workdir)
  built = build(chosen(config, workdir))
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
    fitted=errors(workdir),
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
