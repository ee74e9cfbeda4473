"""Delta distillation of DDRNet-23 on Cityscapes video, as published.

Paper: Habibian et al., ECCV 2022, section 4.2: 78.94 mean IoU (over distances 0
to 2) for 71.39 GMACs, from a teacher of 78.7 for 143.7. Cost: 484 epochs on
four accelerators. Not run here: the data set is not ours to distribute.

    python train.py --config=configs/cityscapes_ddrnet23.py \
      --workdir=runs/cityscapes_ddrnet23 \
      --config.data.options.root=/data/cityscapes \
      --config.teacher=runs/converted_teacher
"""

from configs import cityscapes_ddrnet23_slim


def get_config(variant: str = ''):
  return cityscapes_ddrnet23_slim.published('ddrnet23', 'DDRNet-23', variant)
