"""The detection demo's delta network, distilled from the demo's detector.

Paper: Habibian et al., ECCV 2022, section 4.1. Expected: within 2 points of the
teacher's AP50 at interval 5, for less than half of its multiply-accumulates.

    python train.py --config=configs/demo_detection.py \
      --workdir=runs/demo_detection/delta
"""

from configs import common


def get_config(variant: str = ''):
  config = common.detection(
    title='Delta distillation of a detector on rendered streets',
    teacher='runs/demo_detection/teacher',
    task=dict(
      model='ddrnet23_det',
      num_classes=3,
      size=(128, 256),
      detector=dict(box_weight=100.0),
      delta=dict(intervals=(3, 5, 10), **common.DEMO_OBJECTIVE),
    ),
    data=common.street_boxes(4, 2, worlds=(96, 16), frames=15),
    optimizer=common.DEMO_OPTIMIZER,
    training=dict(
      steps=300, log_every=20, evaluate_every=300, checkpoint_every=50
    ),
  )
  return common.variant(config, variant)
