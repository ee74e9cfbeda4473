"""DDRNet-23-slim on the stills of CamVid, frame by frame.

Paper: Hong et al., 2021. Cost: hours on two CPU cores.

    python train.py --config=configs/camvid_ddrnet23_slim_teacher.py \
      --workdir=runs/camvid_teacher --config.data.options.root=/data/camvid
"""

from configs import camvid_ddrnet23_slim, common, demo_teacher


def get_config(variant: str = ''):
  config = demo_teacher.get_config()
  config.title = 'DDRNet-23-slim on CamVid'
  config.data = camvid_ddrnet23_slim.get_config().data
  config.data.train.update(batch_size=8, clip_length=1)
  config.training.update(steps=4000)
  return common.variant(config, variant)
