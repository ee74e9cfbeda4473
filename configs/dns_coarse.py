"""The coarse student, one vector a video.

Paper: Kordopatis-Zilos et al., IJCV 2022, section 4.2. Expected on FIVR-200K,
as published: DSVR 0.574, CSVR 0.558, ISVR 0.476. Cost: 300 epochs of 688 steps.

The features are those of the published HDF5 files, made once by `deltax
extract`; `deltax.data.features.similarities` reads the published scores.

    python train.py --config=configs/dns_coarse.py --workdir=runs/dns_coarse
"""

from configs import common


def get_config(variant: str = ''):
  config = common.published_student(
    title='Distill-and-select: the coarse student',
    task=dict(network='coarse'),
    similarities='fg_att_student_iter2.pickle',
    learning_rate=1e-5,
  )
  return common.variant(config, variant)
