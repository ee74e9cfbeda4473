"""Trains what a config describes.

    python train.py --config=configs/demo_teacher.py --workdir=runs/teacher

Any value can be overridden: `--config.optimizer.learning_rate=0.01`.
`--config=configs/demo_teacher.py:smoke` is a small variant, for a first look.
A run that was stopped at any moment continues when it is started again.
Several processes train together: see `docs/clusters.md`.
"""

import pathlib

from absl import app, flags, logging
from ml_collections import config_flags

from deltax import experiment, processes
from deltax.errors import parse_flags

config_flags.DEFINE_config_file('config', None, 'What to train.')
flags.DEFINE_string('workdir', None, 'Folder of checkpoints and metrics.')
processes.define_flags()
flags.mark_flags_as_required(['config', 'workdir'])


def main(_) -> None:
  logging.set_verbosity(logging.INFO)
  config = flags.FLAGS.config.to_dict()
  with processes.together('train.py', *processes.given()):
    experiment.train(config, pathlib.Path(flags.FLAGS.workdir))


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
