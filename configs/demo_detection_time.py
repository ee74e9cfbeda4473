"""The detection demo's delta network, its students chosen by milliseconds.

For every layer a student, or for every block and the stem one in place of those
of its layers, for a share of the detector's time on this machine; all are
solved for on a few clips, and then trained, with the key frames' network.

Paper: Habibian et al., ECCV 2022, section 4.1, with time in place of
multiply-accumulates, blocks beside layers, and students that are solved for.
Expected: RESULTS.md, "Detection". Cost: 35 minutes on one CPU core. Nothing
else should run while students are measured, in the first 17 minutes.

    python train.py --config=configs/demo_detection_time.py \
        --workdir=runs/demo_detection/delta_time
    python eval.py --config=configs/demo_detection_time.py \
        --workdir=runs/demo_detection/delta_time
"""

from configs import common, demo_detection, street_large


def get_config(variant: str = ''):
  data = common.street_boxes(4, 2, worlds=(96, 16), frames=15)
  data['train']['max_distance'] = 9
  config = common.detection(
    title='Delta distillation of a detector on rendered streets, by time',
    teacher='runs/demo_detection/teacher',
    task=dict(
      model='ddrnet23_det',
      num_classes=3,
      size=(128, 256),
      detector=dict(box_weight=100.0),
      delta=common.DEMO_OBJECTIVE
      | demo_detection.OBJECTIVE
      | dict(intervals=(3, 5, 10), spec=dict()),
    ),
    fit=dict(
      clips=24,
      target=0.41,
      spans=(('backbone/conv1_0', 'backbone/conv1_3'),),
      **street_large.FIT,
    ),
    data=data,
    optimizer=common.DEMO_OPTIMIZER
    | demo_detection.OPTIMIZER
    | dict(groups=(demo_detection.OPTIMIZER['groups'][0], ('', dict()))),
    training=dict(
      steps=1000, log_every=20, evaluate_every=1000, checkpoint_every=100
    ),
  )
  return common.variant(config, variant)
