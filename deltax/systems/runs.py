"""Trained retrieval networks, from the folders of their runs."""

import os

from deltax.systems.folder import Part


def read_part(run: str | os.PathLike) -> Part:
  """The network that a run trained.

  Args:
    run: folder of a run of the task 'similarity' or 'selection'.

  Returns:
    Its name, options and variables.

  Raises:
    CheckpointError: there is no checkpoint, or a broken one.
    ValueError: the run trained something else.
  """
  # The checkpointer takes a third of a second to import; a search has no run.
  from deltax import training

  task = training.read_metadata(run).get('task', {})
  kind = task.get('name')
  if kind not in ('similarity', 'selection'):
    raise ValueError(f'{run} is a run of the task {kind!r}, not of retrieval')
  params, model_state = training.restore_params(run)
  name = task['network'] if kind == 'similarity' else 'selector'
  return Part(
    name, task.get('options') or {}, {'params': params, **model_state}
  )
