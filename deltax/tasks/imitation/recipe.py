"""How a network is distilled on videos without labels, as plain values."""

from collections.abc import Sequence
from typing import Any

SIZE = 240, 320
OPTIMIZER = {
  'name': 'adamw',
  'learning_rate': 5e-4,
  'schedule': 'cosine',
  'warmup_steps': 10,
  'weight_decay': 0.0,
  'clip_norm': 5.0,
  'groups': (
    ('^teacher/', 'frozen'),
    ('', {}),  # a student that skips its layer has no parameters
  ),
}
TRAINING = {
  'steps': 400,
  'seed': 0,
  'parallel': 'pmap',
  'shard': '',
  'accumulate': 1,
  'log_every': 20,
  'evaluate_every': 400,
  'checkpoint_every': 50,
  'best': 'delta_10/score',
  'keep': 1,
}


def recipe(size: Sequence[int] = SIZE) -> dict[str, Any]:
  """A whole config, as `deltax.experiment` takes it, to be filled in.

  Args:
    size: rows and columns of the frames, in the store, in evaluation and, where
      there is no crop, in training.

  Returns:
    The config. `teacher`, `mapping`, `task.model`, `task.preparation` and
    `data.options.videos` are somebody's own.
  """
  return {
    'title': 'A network and its deltas, on videos without labels',
    'teacher': '',
    'mapping': '',
    'fit': {
      'clips': 24,
      'target': 0.0,
      'by': 'macs',
      'blocks': (),
      'spans': (),
    },
    'task': {
      'name': 'imitation',
      'model': 'ddrnet23_slim',
      'size': size,
      'options': {'num_classes': 19},
      'preparation': {
        'function': '',
        'mean': None,
        'std': None,
        'scale': None,
        'bgr': False,
      },
      'outputs': {},
      'draw': '',
      'delta': {
        'intervals': (10, 30),
        'imitation_weight': 1.0,
        'distillation_weight': 0.1,
        'budget_weight': 0.0,
        'spec': {'candidates': (('low_rank', 8),), 'choices': {}},
      },
    },
    'data': _data(size),
    'optimizer': dict(OPTIMIZER),
    'training': dict(TRAINING),
  }


def _data(size: Sequence[int]) -> dict[str, Any]:
  return {
    'name': 'own_videos',
    'options': {
      'videos': (),
      'size': size,
      'fit': 'cover',
      'fps': None,
      'max_distance': 10,
      'held_out': (),
      'max_bytes': 16 << 30,
    },
    'train': {
      'split': 'train',
      'train': True,
      'batch_size': 4,
      'clip_length': 3,
      'crop': None,
      'jitter': 0.1,
    },
    'evaluation': {
      'split': 'validation',
      'train': False,
      'batch_size': 1,
      'clip_length': 31,
      'clips_per_video': 2,
      'flow': True,
    },
  }
