"""The detection demo's teacher: DDRNet with anchors, on rendered streets.

Its finest level has a stride of 4, for the people of the street are small.
Paper: Hong et al., 2021 (the backbone). Boxes whose shorter side is below 8
pixels are no objects here. Expected: AP50 of about 0.60 on held-out worlds.
Cost: 9 minutes on two CPU cores.

    python train.py --config=configs/demo_detection_teacher.py \
      --workdir=runs/demo_detection/teacher
"""

from configs import common


def get_config(variant: str = ''):
  config = common.detection(
    title='Delta distillation of a detector on rendered streets: the teacher',
    task=dict(
      model='ddrnet23_det',
      num_classes=3,
      size=(128, 256),
      detector=dict(box_weight=100.0),
      delta=None,
    ),
    data=common.street_boxes(4, 1, worlds=(96, 16), frames=15),
    optimizer=dict(
      name='adamw',
      learning_rate=3e-3,
      schedule='poly',
      warmup_steps=50,
      weight_decay=1e-4,
      clip_norm=5.0,
    ),
    training=dict(steps=1800, evaluate_every=900, checkpoint_every=100),
  )
  return common.variant(config, variant)
