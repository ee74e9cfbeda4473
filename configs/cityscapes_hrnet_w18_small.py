"""Delta distillation of HRNet-w18-small on Cityscapes video, as published.

Paper: Habibian et al., ECCV 2022, section 4.2: 75.72 mean IoU (over distances 0
to 2) for 43.0 GMACs, from a teacher of 76.1 for 77.9. Cost: 484 epochs on four
accelerators. Not run here: the data set is not ours to distribute.

    python train.py --config=configs/cityscapes_hrnet_w18_small.py \
      --workdir=runs/cityscapes_hrnet_w18_small \
      --config.data.options.root=/data/cityscapes \
      --config.teacher=runs/converted_teacher
"""

from configs import cityscapes_ddrnet23_slim


def get_config(variant: str = ''):
  return cityscapes_ddrnet23_slim.published(
    'hrnet_w18_small', 'HRNet-w18-small', variant
  )
