"""DDRNet-23-slim on rendered streets, trained to the end.

Paper: Hong et al., 2021. RESULTS.md has the figures of the demo, whose training
is shorter. Cost: an hour and a half on two CPU cores, minutes on an
accelerator.

    python train.py --config=configs/street_ddrnet23_slim_teacher.py \
      --workdir=runs/street_ddrnet23_slim_teacher
"""

from configs import common, demo_teacher


def get_config(variant: str = ''):
  config = demo_teacher.get_config()
  config.title = 'DDRNet-23-slim on rendered streets'
  config.data = common.street(16, 1, worlds=(192, 24))
  config.training.update(steps=6000, evaluate_every=1000, checkpoint_every=500)
  return common.variant(config, variant)
