"""From a config's plain values to what it stands for, and to a run of it."""

from deltax.experiment.build import (
  Experiment,
  build,
  dataset,
  optimizer,
  read_teacher,
)
from deltax.experiment.extractor import read_extractor
from deltax.experiment.run import evaluate, judged, train, write_page
from deltax.experiment.starts import choose, chosen, fit_batches

__all__ = [
  'Experiment',
  'build',
  'choose',
  'chosen',
  'dataset',
  'evaluate',
  'fit_batches',
  'judged',
  'optimizer',
  'read_extractor',
  'read_teacher',
  'train',
  'write_page',
]
