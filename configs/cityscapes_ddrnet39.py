"""Delta distillation of DDRNet-39 on Cityscapes video, as published.

Paper: Habibian et al., ECCV 2022, section 4.2: 79.94 mean IoU (over distances 0
to 2) for 139.37 GMACs, from a teacher of 79.5 for 282. Cost: 484 epochs on four
accelerators. Not run here: the data set is not ours to distribute.

    python train.py --config=configs/cityscapes_ddrnet39.py \
      --workdir=runs/cityscapes_ddrnet39 \
      --config.data.options.root=/data/cityscapes \
      --config.teacher=runs/converted_teacher
"""

from configs import cityscapes_ddrnet23_slim


def get_config(variant: str = ''):
  return cityscapes_ddrnet23_slim.published('ddrnet39', 'DDRNet-39', variant)
