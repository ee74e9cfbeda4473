"""The demo's selector, and the whole: what re-ranking costs and brings.

Paper: Kordopatis-Zilos et al., IJCV 2022, section 3.4. Expected: with a fifth
of the pairs re-ranked, 98.5% of the fine student's mAP (85.1 of 86.4).

    python train.py --config=configs/demo_retrieval_selector.py \
      --workdir=runs/demo_retrieval/selector
"""

from configs import common

# Scores of the small students differ by 0.1 on pairs that have nothing in
# common (fine above coarse); a threshold of 0.2 makes the selector find those.
THRESHOLD = 0.3


def get_config(variant: str = ''):
  config = common.retrieval(
    title='Distill-and-select on edited copies of real and rendered clips',
    task=dict(name='selection', threshold=THRESHOLD),
    data=common.scored_pairs(
      batch_size=64,
      frames=24,
      features='runs/demo_retrieval/features',
      fine='runs/demo_retrieval/binary.json',
      coarse='runs/demo_retrieval/coarse.json',
      threshold=THRESHOLD,
    ),
    optimizer=dict(learning_rate=1e-3, schedule='cosine', warmup_steps=20),
    training=dict(
      steps=300, log_every=20, evaluate_every=300, checkpoint_every=300
    ),
    judge=dict(
      coarse='runs/demo_retrieval/coarse',
      fine=dict(
        attention='runs/demo_retrieval/attention',
        binary='runs/demo_retrieval/binary',
      ),
      features='runs/demo_retrieval/features',
      annotation='runs/demo_retrieval/copies/test.json',
    ),
  )
  return common.variant(config, variant)
