"""The extractor of an index, distilled: EfficientNet-Lite0, 4 frames a second.

Every inverted residual has one student instead of its layers; they are solved
for on some clips and trained to give what the network itself gives, on videos
without labels. `deltax bundle --extractor` takes the run.

Paper: Habibian et al., ECCV 2022, section 3.2; Kordopatis-Zilos et al., IJCV
2022, section 3 (what the features are for). Expected: RESULTS.md, "Reading
cheaper". Cost: about 20 minutes on two CPU cores.

    python train.py --config=configs/extractor.py --workdir=runs/extractor \
      --config.data.options.videos="('videos',)"
"""

from configs import common, own_videos

# The stages whose maps are pooled into regions; the last says most.
STAGES = {'6': 'features', '4': 'features', '2': 'features', '1': 'features'}


def get_config(variant: str = ''):
  config = own_videos.get_config()
  config.title = 'The extractor of an index, between its key frames'
  config.teacher = 'packaged'
  config.task.update(model='efficientnet_lite0', options={'num_classes': None})
  config.data.options.update(fps=4.0, max_distance=8)
  config.data.train.update(batch_size=4, clip_length=3)
  with config.unlocked():
    config.task.outputs = STAGES
    config.task.delta.spec = {
      'blocks': ('InvertedResidual',),
      'block_candidates': (('residual', 4, 1),),
      'candidates': (('teacher',),),
    }
  config.task.size = 224, 224
  config.task.delta.intervals = 2, 4, 8
  config.data.evaluation.update(clip_length=16)
  config.training.best = 'delta_8/score'
  if variant == 'smoke':
    own_videos.shorten(config)
  return common.variant(config, variant)
