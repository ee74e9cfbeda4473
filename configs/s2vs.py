"""Self-supervised similarity: no teacher, no labels, only videos.

Paper: Kordopatis-Zilos et al., CVPR workshops 2023. Views differ in time; views
that differ in their pictures are made before features are extracted.

    python train.py --config=configs/s2vs.py --workdir=runs/s2vs
"""

from configs import common


def get_config(variant: str = ''):
  config = common.retrieval(
    title='S2VS: self-supervised video similarity',
    task=dict(network='s2vs', objective='self_supervised', penalty_weight=1.0),
    data=common.triplets(
      batch_size=64,
      frames=32,
      features='dns_100k.hdf5',
      similarities='',
      evaluated='fivr_5k.hdf5',
      annotations='fivr.pickle',
      views=True,
    ),
    optimizer=dict(
      learning_rate=5e-5,
      schedule='cosine',
      warmup_steps=1000,
      weight_decay=0.01,
    ),
    training=dict(
      steps=30000, log_every=50, evaluate_every=3440, checkpoint_every=3440
    ),
    judge=common.FIVR,
  )
  return common.variant(config, variant)
