"""The demo's delta network: DDRNet-23-slim, distilled from the demo's teacher.

Paper: Habibian et al., ECCV 2022, section 4.2. Expected: within 2 points of the
teacher's mean IoU at interval 3, for 0.49 of its multiply-accumulates. Cost:
about 4 minutes on two CPU cores.

    python train.py --config=configs/demo_delta.py --workdir=runs/demo/delta
"""

from configs import common


def get_config(variant: str = ''):
  config = common.segmentation(
    title='Delta distillation on rendered streets',
    teacher='runs/demo/teacher',
    task=dict(
      model='ddrnet23_slim',
      num_classes=11,
      loss=dict(class_weights=common.STREET_WEIGHTS),
      delta=common.DEMO_OBJECTIVE,
    ),
    data=common.street(4, 2, worlds=(96, 16), frames=15),
    optimizer=common.DEMO_OPTIMIZER,
    training=dict(
      steps=300, log_every=20, evaluate_every=300, checkpoint_every=50
    ),
  )
  return common.variant(config, variant)
