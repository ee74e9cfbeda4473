"""The system that is shipped: the fine student with binary codes.

From the teacher's scores. `make default-system` runs it.
Paper: Kordopatis-Zilos et al., IJCV 2022.

    python train.py --config=configs/default_binary.py \
      --workdir=runs/default_system/binary
"""

from configs import common


def get_config(variant: str = ''):
  config = common.default_student(
    title='The system that is shipped: the fine student with binary codes',
    task=dict(network='fine_binary', penalty_weight=0.01),
    steps=5000,
  )
  return common.variant(config, variant)
