"""The system that is shipped: the coarse student.

From the teacher's scores. `make default-system` runs it.
Paper: Kordopatis-Zilos et al., IJCV 2022.

    python train.py --config=configs/default_coarse.py \
      --workdir=runs/default_system/coarse
"""

from configs import common


def get_config(variant: str = ''):
  config = common.default_student(
    title='The system that is shipped: the coarse student',
    task=dict(network='coarse', options=dict(transformer=False, netvlad=False)),
    steps=1500,
  )
  return common.variant(config, variant)
