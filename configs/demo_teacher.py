"""The demo's teacher: DDRNet-23-slim on rendered streets.

Paper: Hong et al., 2021 (the network). Expected: mean IoU of at least 0.60 on
held-out worlds. Cost: about 6 minutes on two CPU cores.

    python train.py --config=configs/demo_teacher.py --workdir=runs/demo/teacher
"""

from configs import common


def get_config(variant: str = ''):
  config = common.segmentation(
    title='Delta distillation on rendered streets: the teacher',
    task=dict(
      model='ddrnet23_slim',
      num_classes=11,
      loss=dict(class_weights=common.STREET_WEIGHTS),
      delta=None,
    ),
    data=common.street(8, 1, worlds=(96, 16), frames=15),
    optimizer=dict(
      name='adamw',
      learning_rate=3e-3,
      schedule='poly',
      warmup_steps=50,
      weight_decay=1e-4,
      clip_norm=5.0,
    ),
    training=dict(steps=900, evaluate_every=450, checkpoint_every=100),
  )
  return common.variant(config, variant)
