"""Extractors of retrieval whose backbone was distilled on somebody's videos."""

import os

import jax.numpy as jnp

from deltax import training
from deltax.models.inputs import make_preparation, normalise
from deltax.systems import extractors
from deltax.systems.extractors import Extractor
from deltax.tasks.parts import delta_params


def read_extractor(
  run: str | os.PathLike,
  interval: int | None = None,
  whitening: str | os.PathLike | None = None,
) -> Extractor:
  """The extractor whose backbone a run has distilled.

  Args:
    run: folder of a run of `deltax distill` on one of `extractors.EXTRACTORS`
      without classes, whose frames were prepared as an extractor does.
    interval: frames from one key frame to the next; None takes the shortest
      that the run was judged at.
    whitening: file that `deltax whiten` wrote.

  Returns:
    The extractor.

  Raises:
    CheckpointError: there is no checkpoint, or a broken one.
    ValueError: the run distilled something else, or prepared frames otherwise;
      or see `extractors.make_delta_extractor`.
  """
  task = training.read_metadata(run).get('task') or {}
  name = task.get('model')
  if task.get('name') != 'imitation' or name not in extractors.EXTRACTORS:
    raise ValueError(
      f'{run} is no run of `deltax distill` on one of '
      f'{", ".join(extractors.EXTRACTORS)}, but on {name}'
    )
  if (task.get('options') or {}).get('num_classes', 0) is not None:
    raise ValueError(
      f'{run} has distilled a classifier; expected the maps of the stages, '
      'num_classes=None'
    )
  probe = jnp.arange(0, 255, 5, jnp.uint8).reshape(1, 1, 17, 3)
  prepare = make_preparation(**(task.get('preparation') or {}))
  if not jnp.allclose(prepare(probe), normalise(probe), atol=1e-5):
    raise ValueError(
      f'{run} was shown frames that an extractor prepares otherwise; expected '
      'no --prepare, --mean and the like'
    )
  return extractors.make_delta_extractor(
    *(name, delta_params(*training.restore_params(run))),
    spec=task['delta'].get('spec') or {},
    interval=interval or min(task['delta']['intervals']),
    whitening=whitening,
  )
