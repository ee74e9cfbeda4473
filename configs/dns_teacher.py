"""ViSiL, from triplets: labelled pairs with scores of 1 and -1.

Paper: Kordopatis-Zilos et al., ICCV 2019. Its training code was not published;
margin, penalty, rate and length are those of the paper's authors. Expected on
FIVR-200K, as published: DSVR 0.899, CSVR 0.854, ISVR 0.723.

    python train.py --config=configs/dns_teacher.py --workdir=runs/dns_teacher
"""

from configs import common


def get_config(variant: str = ''):
  config = common.retrieval(
    title='ViSiL, the teacher of distill-and-select',
    task=dict(network='visil', objective='triplet', penalty_weight=0.1),
    data=common.triplets(
      batch_size=8,
      frames=64,
      features='vcdb.hdf5',
      similarities='vcdb_pairs.json',
      evaluated='fivr_5k.hdf5',
      annotations='fivr.pickle',
    ),
    optimizer=dict(learning_rate=1e-5),
    training=dict(
      steps=100000, log_every=50, evaluate_every=3440, checkpoint_every=3440
    ),
    judge=common.FIVR,
  )
  return common.variant(config, variant)
