"""DDRNet-23-slim on rendered streets of 256 x 512 pixels.

Paper: Hong et al., 2021 (the network). Expected: RESULTS.md, "Milliseconds at
equal accuracy". Cost: about 25 minutes on two CPU cores.

    python train.py --config=configs/street_large_teacher.py \
        --workdir=runs/street_large/teacher
"""

from configs import common, demo_teacher


def get_config(variant: str = ''):
  config = demo_teacher.get_config()
  config.title = 'DDRNet-23-slim on large rendered streets'
  config.data = common.street(4, 1, worlds=(96, 16), frames=15, size=(256, 512))
  config.training.update(evaluate_every=900)
  return common.variant(config, variant)
