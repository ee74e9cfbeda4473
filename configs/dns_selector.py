"""The selector, from the scores of both students on the same pairs.

Paper: Kordopatis-Zilos et al., IJCV 2022, section 3.4. Scores of a trained
student are written by `deltax score`.

    python train.py --config=configs/dns_selector.py --workdir=runs/dns_selector
"""

from configs import common


def get_config(variant: str = ''):
  config = common.retrieval(
    title='Distill-and-select: the selector',
    task=dict(name='selection'),
    data=common.scored_pairs(
      batch_size=64,
      frames=300,
      features='dns_100k.hdf5',
      fine='runs/dns_fine_binary/similarities.json',
      coarse='runs/dns_coarse/similarities.json',
    ),
    optimizer=dict(learning_rate=1e-4),
    training=dict(steps=15700, evaluate_every=1570, checkpoint_every=1570),
    judge=dict(
      coarse='runs/dns_coarse',
      fine=dict(binary='runs/dns_fine_binary'),
      **common.FIVR,
    ),
  )
  return common.variant(config, variant)
