"""A trained network of your own, on videos of your own, without labels.

Paper: Habibian et al., ECCV 2022, section 3; what a later frame should give,
the network itself tells. `deltax distill` fills this in, and starts it.

    python train.py --config=configs/own_videos.py --workdir=runs/mine \
      --config.task.model=examples/hed.py:hed --config.teacher=hed.h5 \
      --config.mapping=examples/hed.py:key \
      --config.task.preparation.function=examples/hed.py:prepare \
      --config.data.options.videos="('videos',)"
"""

import ml_collections

from configs import common
from deltax.tasks.imitation.recipe import SIZE, recipe


def get_config(variant: str = ''):
  # One value: the network sees the frames as the store has them.
  size = ml_collections.FieldReference(SIZE)
  config = ml_collections.ConfigDict(recipe(size), convert_dict=True)
  if variant == 'smoke':
    shorten(config)
  return common.variant(config, variant)


def shorten(config: ml_collections.ConfigDict) -> None:
  """Judges on few frames."""
  config.task.delta.intervals = (2, 3)
  config.data.evaluation.update(clip_length=4, clips_per_video=1)
  config.training.best = 'delta_3/score'
