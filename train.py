"""Trains what a config describes.

    python train.py --config=configs/demo_teacher.py --workdir=runs/teacher

Any value can be overridden: `--config.optimizer.learning_rate=0.01`.
`--config=configs/demo_teacher.py:smoke` is a small variant, for a first look.
A run that was stopped at any moment continues when it is started again.
"""

import pathlib

from absl import app, flags, logging
from ml_collections import config_flags

from deltax import compilation, experiment
from deltax.errors import told_in_one_sentence

config_flags.DEFINE_config_file('config', None, 'What to train.')
flags.DEFINE_string('workdir', None, 'Folder of checkpoints and metrics.')
flags.mark_flags_as_required(['config', 'workdir'])


def main(_) -> None:
  logging.set_verbosity(logging.INFO)
  config = flags.FLAGS.config.to_dict()
  with told_in_one_sentence('train.py'):
    compilation.set_up()
    experiment.train(config, pathlib.Path(flags.FLAGS.workdir))


if __name__ == '__main__':
  app.run(main)
