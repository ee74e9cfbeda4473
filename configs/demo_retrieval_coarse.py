"""The demo's coarse student, from the teacher's scores.

Paper: Kordopatis-Zilos et al., IJCV 2022.

    python train.py --config=configs/demo_retrieval_coarse.py \
      --workdir=runs/demo_retrieval/coarse
"""

from configs import common


def get_config(variant: str = ''):
  config = common.demo_student(
    title='Retrieval demo: the coarse student',
    task=dict(network='coarse', options=dict(transformer=False, netvlad=False)),
  )
  return common.variant(config, variant)
