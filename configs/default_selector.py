"""The system that is shipped: the selector.

Paper: Kordopatis-Zilos et al., IJCV 2022, section 3.4. `make default-system`
runs it.

    python train.py --config=configs/default_selector.py \
      --workdir=runs/default_system/selector
"""

from configs import common

FOLDER = common.DEFAULT_SYSTEM
THRESHOLD = 0.3  # as of the demo


def get_config(variant: str = ''):
  config = common.retrieval(
    title='The system that is shipped: the selector',
    task=dict(name='selection', threshold=THRESHOLD),
    data=common.scored_pairs(
      batch_size=64,
      frames=24,
      features=f'{FOLDER}/features',
      fine=f'{FOLDER}/binary.json',
      coarse=f'{FOLDER}/coarse.json',
      threshold=THRESHOLD,
    ),
    optimizer=dict(learning_rate=1e-3, schedule='cosine', warmup_steps=20),
    training=dict(
      steps=600, log_every=20, evaluate_every=600, checkpoint_every=600
    ),
    judge=dict(
      coarse=f'{FOLDER}/coarse',
      fine=dict(
        attention=f'{FOLDER}/attention',
        binary=f'{FOLDER}/binary',
      ),
      features=f'{FOLDER}/features',
      annotation=f'{FOLDER}/copies/test.json',
    ),
  )
  return common.variant(config, variant)
