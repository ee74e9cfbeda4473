"""Training: one loop for every task.

`train` runs a `deltax.task.Task`; the rest are its parts, each usable alone.
"""

from deltax.progress import wants_bar
from deltax.training.checkpoints import (
  CheckpointError,
  Checkpoints,
  find_checkpoint,
  has_checkpoint,
  read_metadata,
  restore,
  restore_params,
)
from deltax.training.evaluate import evaluate
from deltax.training.loop import train
from deltax.training.optimizers import (
  group_of,
  learning_rates,
  make_optimizer,
  make_schedule,
)
from deltax.training.parallel import (
  AXIS_NAME,
  axis_name,
  jit_step,
  pmap_step,
)
from deltax.training.state import TrainState, create_state
from deltax.training.step import train_step
from deltax.training.workdir import WorkdirError
from deltax.training.writers import Writer, read_metrics

__all__ = [
  'AXIS_NAME',
  'CheckpointError',
  'Checkpoints',
  'TrainState',
  'WorkdirError',
  'Writer',
  'axis_name',
  'create_state',
  'evaluate',
  'find_checkpoint',
  'group_of',
  'has_checkpoint',
  'jit_step',
  'learning_rates',
  'make_optimizer',
  'make_schedule',
  'pmap_step',
  'read_metadata',
  'read_metrics',
  'restore',
  'restore_params',
  'train',
  'train_step',
  'wants_bar',
]
