"""The detection demo's delta network, distilled from the demo's detector.

Paper: Habibian et al., ECCV 2022, section 4.1. Expected: within 2 points of the
teacher's AP50 at interval 5, for less than half of its multiply-accumulates.
Cost: 6 minutes on two CPU cores.

    python train.py --config=configs/demo_detection.py \
      --workdir=runs/demo_detection/delta
"""

from configs import common

# The key frames' network moves along, towards changes that are easy to predict.
OBJECTIVE = dict(imitation_weight=2.0, budget_weight=0.1, train_teacher=True)
OPTIMIZER = dict(
  learning_rate=2e-3,
  groups=(
    ('^teacher/', dict(learning_rate=5e-4)),
    *common.DEMO_OPTIMIZER['groups'][1:],
  ),
)


def get_config(variant: str = ''):
  data = common.street_boxes(4, 2, worlds=(96, 16), frames=15)
  data['train']['max_distance'] = 4
  config = common.detection(
    title='Delta distillation of a detector on rendered streets',
    teacher='runs/demo_detection/teacher',
    task=dict(
      model='ddrnet23_det',
      num_classes=3,
      size=(128, 256),
      detector=dict(box_weight=100.0),
      delta=dict(
        intervals=(3, 5, 10),
        **{**common.DEMO_OBJECTIVE, **OBJECTIVE},
      ),
    ),
    data=data,
    optimizer={**common.DEMO_OPTIMIZER, **OPTIMIZER},
    training=dict(
      steps=360, log_every=20, evaluate_every=360, checkpoint_every=50
    ),
  )
  return common.variant(config, variant)
