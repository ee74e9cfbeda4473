"""The demo's fine student with binary codes, from the teacher's scores.

Paper: Kordopatis-Zilos et al., IJCV 2022.

    python train.py --config=configs/demo_retrieval_binary.py \
      --workdir=runs/demo_retrieval/binary
"""

from configs import common


def get_config(variant: str = ''):
  config = common.demo_student(
    title='Retrieval demo: the fine student with binary codes',
    task=dict(network='fine_binary', penalty_weight=0.01),
  )
  return common.variant(config, variant)
