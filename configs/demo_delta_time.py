"""The demo's delta network, its students searched by measured milliseconds.

Every layer's student is chosen for at most 0.39 of the teacher's time on this
machine, by gates that are settled after a third of the steps; the students
chosen are then trained on. Gates start from their last candidate, the layer
itself.

Paper: Habibian et al., ECCV 2022, sections 3.2 and 4.2, with time in place of
multiply-accumulates and more students. Expected: a later frame 2.6 times as
fast as the teacher (2.0 times when searched by multiply-accumulates), mean IoU
within 1.5 points of the teacher's at interval 5. Cost: about 7 minutes on two
CPU cores, after half a minute of measuring with nothing else running.

    deltax profile ddrnet23_slim --size 128x256 --num-classes 11 --device cpu \
        --candidates skip bottleneck:4 strided low_rank:4 teacher \
        --out runs/demo/latency.json
    python train.py --config=configs/demo_delta_time.py \
        --workdir=runs/demo/delta_time
    python benchmarks/search.py --run runs/demo/delta_time
"""

from configs import common


def get_config(variant: str = ''):
  config = common.segmentation(
    title='Delta distillation on rendered streets, searched by time',
    teacher='runs/demo/teacher',
    task=dict(
      model='ddrnet23_slim',
      num_classes=11,
      loss=dict(class_weights=common.STREET_WEIGHTS),
      delta=common.DEMO_OBJECTIVE
      | dict(
        spec=dict(
          candidates=(
            ('skip',),
            ('bottleneck', 4),
            ('strided',),
            ('low_rank', 4),
            ('teacher',),
          ),
        ),
        latency='runs/demo/latency.json',
        target=0.39,
        search_steps=200,
        budget_weight=1.0,
      ),
    ),
    data=common.street(4, 2, worlds=(96, 16), frames=15),
    optimizer=common.DEMO_OPTIMIZER,
    training=dict(
      steps=600, log_every=20, evaluate_every=600, checkpoint_every=50
    ),
  )
  return common.variant(config, variant)
