"""Delta distillation of DDRNet-23-slim on rendered streets, to the end.

Paper: Habibian et al., ECCV 2022, section 4.2. Meant to lose at most half a
point of mean IoU at interval 3. Cost: hours on two CPU cores, minutes on an
accelerator.

    python train.py --config=configs/street_ddrnet23_slim.py \
      --workdir=runs/street_ddrnet23_slim
"""

from configs import common, demo_delta


def get_config(variant: str = ''):
  config = demo_delta.get_config()
  config.title = 'DDRNet-23-slim and its deltas on rendered streets'
  config.teacher = 'runs/street_ddrnet23_slim_teacher'
  config.data = common.street(8, 3, worlds=(192, 24))
  config.training.update(steps=6000, evaluate_every=1000, checkpoint_every=500)
  return common.variant(config, variant)
