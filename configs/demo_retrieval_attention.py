"""The demo's fine student with attention, from the teacher's scores.

Paper: Kordopatis-Zilos et al., IJCV 2022.

    python train.py --config=configs/demo_retrieval_attention.py \
      --workdir=runs/demo_retrieval/attention
"""

from configs import common


def get_config(variant: str = ''):
  config = common.retrieval(
    title='Retrieval demo: the fine student with attention',
    task=dict(network='fine_attention', penalty_weight=0.01),
    data=common.triplets(
      batch_size=8,
      frames=24,
      features='runs/demo_retrieval/features',
      similarities='runs/demo_retrieval/teacher.json',
      evaluated='runs/demo_retrieval/features',
      annotations='runs/demo_retrieval/copies/test.json',
    ),
    optimizer=dict(learning_rate=1e-3, schedule='cosine', warmup_steps=20),
    training=dict(
      steps=300, log_every=20, evaluate_every=300, checkpoint_every=300
    ),
    judge=dict(
      features='runs/demo_retrieval/features',
      annotation='runs/demo_retrieval/copies/test.json',
    ),
  )
  return common.variant(config, variant)
