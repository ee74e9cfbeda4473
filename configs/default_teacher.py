"""The system that is shipped: the teacher, ViSiL without labels.

Which videos are copies is known because they were made (self-supervision by
edited views, as S2VS has it). `make default-system` runs it.
Paper: Kordopatis-Zilos et al., ICCV 2019, and CVPR workshops 2023.

    python train.py --config=configs/default_teacher.py \
      --workdir=runs/default_system/teacher
"""

from configs import common


def get_config(variant: str = ''):
  config = common.default_student(
    title='The system that is shipped: the teacher',
    task=dict(network='visil', objective='triplet', penalty_weight=0.01),
    steps=2000,
    similarities='copies/train_pairs.json',
  )
  return common.variant(config, variant)
