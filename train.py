"""Trains what a config describes.

    python train.py --config=configs/demo_teacher.py --workdir=runs/teacher

Any value can be overridden: `--config.optimizer.learning_rate=0.01`.
`--config=configs/demo_teacher.py:smoke` is a small variant, for a first look.
A run that was stopped at any moment continues when it is started again.
"""

import pathlib

from absl import app, flags, logging
from ml_collections import config_flags

from deltax import experiment, training

config_flags.DEFINE_config_file('config', None, 'What to train.')
flags.DEFINE_string('workdir', None, 'Folder of checkpoints and metrics.')
flags.mark_flags_as_required(['config', 'workdir'])


def main(_) -> None:
  logging.set_verbosity(logging.INFO)
  config = flags.FLAGS.config.to_dict()
  workdir = pathlib.Path(flags.FLAGS.workdir)
  built = experiment.build(config)
  train_data = experiment.dataset(config, 'train')
  evaluation_data = experiment.dataset(config, 'evaluation')
  experiment.write_json(workdir / 'config.json', config)
  training.train(
    built.task,
    train_data,
    workdir=workdir,
    optimizer=training.make_optimizer(
      steps=config['training']['steps'], **config['optimizer']
    ),
    evaluation_dataset=evaluation_data,
    metadata=config,
    **config['training'],
  )


if __name__ == '__main__':
  app.run(main)
