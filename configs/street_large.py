"""Students of layers and of blocks for a target of milliseconds.

For every layer a student, or for every block one in place of those of its
layers: what of all that does least to the outputs within a share of the
network's time on this machine. All are solved for on a few clips, then trained
together.

Paper: Habibian et al., ECCV 2022, section 4.2, with time in place of
multiply-accumulates, blocks beside layers, and students that are solved for.
Expected: RESULTS.md, "Milliseconds at equal accuracy". Cost: about 40 minutes
on two CPU cores, the first ten of them with nothing else running.

    python train.py --config=configs/street_large.py \
        --workdir=runs/street_large/joint
    python eval.py --config=configs/street_large.py \
        --workdir=runs/street_large/joint
"""

from configs import common

# Students chosen by time before any training, then trained beside a teacher
# that stays as it is.
FIT = dict(
  by='time',
  candidates=(
    ('skip',),
    *(('low_rank', part) for part in (8, 4, 2)),
    ('teacher',),
  ),
  blocks=('BasicBlock', 'Bottleneck', 'PyramidPooling'),
  block_candidates=(
    ('skip',),
    *(('residual', part, 2) for part in (8, 4, 2, 1)),
    *(('residual', part, 1) for part in (4, 2)),
    ('teacher',),
  ),
)
OPTIMIZER = common.DEMO_OPTIMIZER | dict(
  groups=(('^teacher/', 'frozen'), ('', dict())),
)


def get_config(variant: str = ''):
  config = common.segmentation(
    title='Delta distillation on large rendered streets, by time',
    teacher='runs/street_large/teacher',
    task=dict(
      model='ddrnet23_slim',
      num_classes=11,
      loss=dict(class_weights=common.STREET_WEIGHTS),
      delta=common.DEMO_OBJECTIVE | dict(intervals=(3, 5, 10, 30), spec=dict()),
    ),
    fit=dict(
      clips=16,
      target=0.17,
      spans=(('conv1_0', 'conv1_3'),),
      **FIT,
    ),
    data=common.street(
      2, 2, worlds=(96, 16), frames=15, size=(256, 512), max_distance=9
    ),
    optimizer=OPTIMIZER,
    training=dict(
      steps=1400, log_every=20, evaluate_every=1400, checkpoint_every=100
    ),
  )
  with config.unlocked():  # to a distance of 29
    config.data.evaluation.update(frames=30, worlds=(1, 16))
  return common.variant(config, variant)
