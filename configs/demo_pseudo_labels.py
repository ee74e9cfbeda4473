"""The demo's teacher from labels of one frame in twenty, and pseudo-labels.

Paper: Habibian et al., ECCV 2022, section 4.2, trains on pseudo-labels of the
frame-based teacher. Expected: 0.52 on the labels alone, no more with
pseudo-labels (RESULTS.md says why). Cost: about 4 minutes on two CPU
cores, of each of the two trainings.

    python train.py --config=configs/demo_pseudo_labels.py \
      --workdir=runs/labels/sparse --config.data.train.pseudo_labels=
    deltax label runs/labels/sparse street --out runs/labels/pseudo
    python train.py --config=configs/demo_pseudo_labels.py \
      --workdir=runs/labels/student
"""

from configs import common, demo_teacher


def get_config(variant: str = ''):
  config = demo_teacher.get_config()
  config.title = 'Rendered streets, one labelled frame in twenty'
  with config.unlocked():
    config.data.train.update(
      labelled_frames=20,
      labelled_worlds=1,
      pseudo_labels='runs/labels/pseudo',
    )
  config.training.update(steps=400, evaluate_every=400)
  return common.variant(config, variant)
