"""The demo's fine student with attention, from the teacher's scores.

Paper: Kordopatis-Zilos et al., IJCV 2022.

    python train.py --config=configs/demo_retrieval_attention.py \
      --workdir=runs/demo_retrieval/attention
"""

from configs import common


def get_config(variant: str = ''):
  config = common.demo_student(
    title='Retrieval demo: the fine student with attention',
    task=dict(network='fine_attention', penalty_weight=0.01),
  )
  return common.variant(config, variant)
