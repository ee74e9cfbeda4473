"""Delta distillation of EfficientDet-D0 on ImageNet VID, as published.

Paper: Habibian et al., ECCV 2022, section 4.1: 66.0 AP50 for 0.63 GMACs at
interval 10, from a teacher of 69.0 for 2.50. Cost: 7 epochs on four
accelerators. Not run here: the data set is not ours to distribute.

    python train.py --config=configs/imagenet_vid_efficientdet_d0.py \
      --workdir=runs/imagenet_vid --config.data.options.root=/data/ILSVRC \
      --config.teacher=runs/converted_teacher
"""

from configs import common
from deltax.convert import published_spec

STEPS_PER_EPOCH = 2600  # pairs of VID and DET, 32 a batch


def get_config(variant: str = ''):
  config = common.detection(
    title='EfficientDet-D0 and its deltas on ImageNet VID',
    teacher='runs/converted_teacher',
    task=dict(
      model='efficientdet_d0',
      num_classes=30,
      size=(512, 512),
      delta=dict(
        intervals=(10,),
        spec=published_spec('efficientdet_d0'),
        distillation_weight=100.0,
        distillation_steps=2 * STEPS_PER_EPOCH,
        distillation_scale='layer',
        last_call_only=True,
        budget_weight=10.0,
        published_cost=True,
        costs='',  # of `deltax convert --costs`
      ),
    ),
    data=dict(
      name='imagenet_vid',
      options=dict(root='/data/ILSVRC', size=(512, 512)),
      train=dict(split='train', train=True, batch_size=32, clip_length=2),
      evaluation=dict(split='val', train=False, batch_size=1, clip_length=10),
    ),
    optimizer=dict(
      name='sgd',
      learning_rate=1e-4,
      momentum=0.9,
      clip_norm=2.0,
      schedule='step_down',
      groups=(
        ('^teacher/', dict(weight_decay=4e-5)),
        ('^(students|gates)/', dict(learning_rate=1e-1)),
      ),
    ),
    training=dict(
      steps=7 * STEPS_PER_EPOCH,
      evaluate_every=STEPS_PER_EPOCH,
      checkpoint_every=STEPS_PER_EPOCH // 2,
    ),
  )
  return common.variant(config, variant)
