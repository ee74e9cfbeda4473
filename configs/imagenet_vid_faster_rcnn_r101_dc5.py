"""Delta distillation of Faster R-CNN R101-DC5 on ImageNet VID, as published.

Paper: Habibian et al., ECCV 2022, section 4.1: 73.5 AP50 for 28.81 GMACs at
interval 10, from a teacher of 74.5 for 149.1. Cost: 7 epochs on four
accelerators. Not run here: the data set is not ours to distribute.

    python train.py --config=configs/imagenet_vid_faster_rcnn_r101_dc5.py \
      --workdir=runs/faster_rcnn --config.data.options.root=/data/ILSVRC \
      --config.teacher=runs/converted_teacher
"""

from configs import common
from deltax.convert import published_spec

STEPS_PER_EPOCH = 28000  # pairs of VID and DET, 4 a batch


def get_config(variant: str = ''):
  size = (608, 1008)  # holds pictures of at most 600 x 1000, either way round
  config = common.detection(
    title='Faster R-CNN R101-DC5 and its deltas on ImageNet VID',
    teacher='runs/converted_teacher',
    task=dict(
      model='faster_rcnn_r101_dc5',
      num_classes=30,
      size=size,
      delta=dict(
        intervals=(10,),
        spec=published_spec('faster_rcnn_r101_dc5'),
        distillation_weight=1000.0,
        distillation_steps=2 * STEPS_PER_EPOCH,
        distillation_scale='none',
        budget_weight=10.0,
        published_cost=True,
        costs='',  # of `deltax convert --costs`
      ),
    ),
    data=dict(
      name='imagenet_vid',
      options=dict(root='/data/ILSVRC', size=size),
      train=dict(
        split='train',
        train=True,
        batch_size=4,
        clip_length=2,
        pairs='anchor_first',
      ),
      evaluation=dict(split='val', train=False, batch_size=1, clip_length=10),
    ),
    optimizer=dict(
      name='sgd',
      learning_rate=5e-5,
      momentum=0.9,
      clip_norm=3.0,
      schedule='step_down',
      groups=(
        ('^teacher/backbone/(conv1|bn1)/', 'frozen'),
        ('^teacher/', dict(weight_decay=1e-4)),
        ('^(students|gates)/', dict(learning_rate=1e-1)),
      ),
    ),
    training=dict(
      steps=7 * STEPS_PER_EPOCH,
      evaluate_every=STEPS_PER_EPOCH,
      checkpoint_every=STEPS_PER_EPOCH // 4,
    ),
  )
  return common.variant(config, variant)
