"""Delta distillation of DDRNet-23-slim on CamVid: real driving, 11 classes.

Training pairs are stills under small motion; the held-out clip is real video,
labelled in every frame. Paper: Habibian et al., ECCV 2022. Cost: hours on two
CPU cores.

    python train.py --config=configs/camvid_ddrnet23_slim.py \
      --workdir=runs/camvid --config.data.options.root=/data/camvid \
      --config.teacher=runs/camvid_teacher
"""

from configs import common, demo_delta


def get_config(variant: str = ''):
  config = demo_delta.get_config()
  config.title = 'DDRNet-23-slim and its deltas on CamVid'
  config.teacher = 'runs/camvid_teacher'
  config.data = dict(
    name='camvid',
    options=dict(root='/data/camvid'),
    train=dict(
      split='train',
      train=True,
      batch_size=4,
      clip_length=2,
      max_distance=5,
      crop=(256, 352),
    ),
    evaluation=dict(
      split='val', train=False, batch_size=1, clip_length=10, flow=True
    ),
  )
  config.training.update(steps=4000, evaluate_every=1000)
  return common.variant(config, variant)
