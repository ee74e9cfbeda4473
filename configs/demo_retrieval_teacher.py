"""The teacher of the retrieval demo: ViSiL on labelled copies.

Paper: Kordopatis-Zilos et al., ICCV 2019.

    python train.py --config=configs/demo_retrieval_teacher.py \
      --workdir=runs/demo_retrieval/teacher
"""

from configs import common


def get_config(variant: str = ''):
  config = common.demo_student(
    title='Retrieval demo: the teacher',
    task=dict(network='visil', objective='triplet', penalty_weight=0.01),
    similarities='copies/train_pairs.json',
  )
  return common.variant(config, variant)
