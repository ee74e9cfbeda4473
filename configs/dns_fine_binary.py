"""The fine student with binary codes, distilled from a teacher's scores.

Paper: Kordopatis-Zilos et al., IJCV 2022, section 4.2. Expected on FIVR-200K,
as published: 576 bytes a second of video. Cost: 300 epochs of 688 steps.

The features are those of the published HDF5 files, made once by `deltax
extract`; `deltax.data.features.similarities` reads the published scores.

    python train.py --config=configs/dns_fine_binary.py \
      --workdir=runs/dns_fine_binary
"""

from configs import common


def get_config(variant: str = ''):
  config = common.published_student(
    title='Distill-and-select: the fine student with binary codes',
    task=dict(network='fine_binary', penalty_weight=0.032),
    similarities='fg_att_student_iter2.pickle',
    learning_rate=1e-4,
  )
  return common.variant(config, variant)
