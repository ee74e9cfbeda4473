"""Delta distillation of DDRNet-23-slim on Cityscapes video, as published.

Paper: Habibian et al., ECCV 2022, section 4.2: 76.22 mean IoU (over distances 0
to 2) for 17.67 GMACs, from a teacher of 76.1 for 36.6. Cost: 484 epochs on four
accelerators. Not run here: the data set is not ours to distribute.

    python train.py --config=configs/cityscapes_ddrnet23_slim.py \
      --workdir=runs/cityscapes --config.data.options.root=/data/cityscapes \
      --config.teacher=runs/converted_teacher
"""

from configs import common
from deltax.losses.segmentation import CITYSCAPES_WEIGHTS

STEPS_PER_EPOCH = 148  # 2,975 clips, 20 a batch


def get_config(variant: str = ''):
  return published('ddrnet23_slim', 'DDRNet-23-slim', variant)


def published(model: str, title: str, variant: str):
  """The recipe that all four networks were published with."""
  config = common.segmentation(
    title=f'{title} and its deltas on Cityscapes',
    teacher='runs/converted_teacher',
    task=dict(
      model=model,
      num_classes=19,
      loss=dict(
        hard=True,
        threshold=0.9,
        min_kept=131072,
        class_weights=CITYSCAPES_WEIGHTS,
      ),
      delta=dict(
        intervals=(3,),
        distillation_weight=0.01,
        distillation_steps=162 * STEPS_PER_EPOCH,
        budget_weight=0.1,
        published_cost=True,
        costs='',  # of `deltax convert --costs`
        judge_last=True,
      ),
    ),
    data=dict(
      name='cityscapes_video',
      options=dict(root='/data/cityscapes'),
      train=dict(
        split='train',
        train=True,
        batch_size=20,
        clip_length=2,
        max_distance=5,
        crop=(512, 1024),
        pseudo_labels='',  # of `deltax label`; the paper trained on some
      ),
      evaluation=dict(split='val', train=False, batch_size=1, clip_length=3),
    ),
    optimizer=dict(
      name='sgd',
      learning_rate=1e-3,
      momentum=0.9,
      schedule='poly',
      groups=(
        ('^teacher/', dict()),
        ('^(students|gates)/', dict(learning_rate=1e-2)),
      ),
    ),
    training=dict(
      steps=484 * STEPS_PER_EPOCH,
      evaluate_every=10 * STEPS_PER_EPOCH,
      checkpoint_every=STEPS_PER_EPOCH,
    ),
  )
  return common.variant(config, variant)
