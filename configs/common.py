"""What the configs share: their shape, their data, their smoke variant."""

import ml_collections

from deltax import models


def segmentation(*, task: dict, **parts) -> ml_collections.ConfigDict:
  """A config for segmentation; `parts` as `experiment` takes them."""
  best = 'delta_3/miou' if task.get('delta') else 'teacher/miou'
  return experiment(task=dict(name='segmentation', **task), best=best, **parts)


def detection(*, task: dict, **parts) -> ml_collections.ConfigDict:
  """A config for detection; `parts` as `experiment` takes them."""
  best = 'teacher/ap50'
  if task.get('delta'):
    best = f'delta_{task["delta"]["intervals"][-1]}/ap50'
  return experiment(task=dict(name='detection', **task), best=best, **parts)


def retrieval(
  *, task: dict, data: dict, optimizer: dict, judge: dict | None = None, **parts
) -> ml_collections.ConfigDict:
  """A config for retrieval; the rest of `parts` as `experiment` takes them.

  Args:
    task: 'similarity' or 'selection', and its options.
    data: options of training and evaluation, see `triplets_of` and `pairs_of`.
    optimizer: overrides Adam without decay, as published.
    judge: what `eval.py` compares the run with.
  """
  name = task.get('name', 'similarity')
  config = experiment(
    task=dict(name=name, **{k: v for k, v in task.items() if k != 'name'}),
    data=data,
    optimizer=dict(
      name='adamw',
      schedule='constant',
      warmup_steps=0,
      weight_decay=0.0,
    )
    | optimizer,
    best='f1' if name == 'selection' else 'map',
    **parts,
  )
  default = dict(
    coarse='',
    fine=dict(untrained=''),
    features='',
    annotation='',
    benchmark='copies',
    options=dict(),
  )
  with config.unlocked():
    config.judge = ml_collections.ConfigDict(default | (judge or {}))
  return config


def triplets(
  *,
  batch_size: int,
  frames: int,
  features: str,
  similarities: str,
  evaluated: str,
  annotations: str,
  views: bool = False,
) -> dict:
  """Training on triplets of videos, evaluation on all pairs.

  Args:
    batch_size: triplets of a step.
    frames: that every video is cut or padded to.
    features: of the training videos.
    similarities: a teacher's scores of pairs of them.
    evaluated: features of the videos to evaluate on.
    annotations: of those.
    views: whether two views of each video take the place of triplets.
  """
  return dict(
    name='triplets',
    options=dict(frames=frames),
    train=dict(
      split='train',
      train=True,
      batch_size=batch_size,
      features=features,
      similarities=similarities,
      views=views,
    ),
    evaluation=dict(
      name='pairs',
      split='test',
      train=False,
      batch_size=32,
      features=evaluated,
      annotations=annotations,
    ),
  )


FIVR = dict(
  features='fivr_5k.hdf5',
  annotation='fivr.pickle',
  benchmark='fivr',
  options=dict(version='5k'),
)


def published_student(
  *, title: str, task: dict, similarities: str, learning_rate: float
) -> ml_collections.ConfigDict:
  """A student as published: 300 epochs of 688 steps, judged on FIVR-5K."""
  return retrieval(
    title=title,
    task=task,
    data=triplets(
      batch_size=32,
      frames=300,
      features='dns_100k.hdf5',
      similarities=similarities,
      evaluated=FIVR['features'],
      annotations=FIVR['annotation'],
    ),
    optimizer=dict(learning_rate=learning_rate),
    training=dict(
      steps=206400, log_every=50, evaluate_every=3440, checkpoint_every=3440
    ),
    judge=FIVR,
  )


DEMO_RETRIEVAL = 'runs/demo_retrieval'


def demo_student(
  *, title: str, task: dict, similarities: str = 'teacher.json'
) -> ml_collections.ConfigDict:
  """A network of the retrieval demo, from scores in the demo's folder."""
  return _small_student(
    title, task, DEMO_RETRIEVAL, similarities, batch_size=8, steps=300
  )


DEFAULT_SYSTEM = 'runs/default_system'


def default_student(
  *,
  title: str,
  task: dict,
  steps: int,
  similarities: str = 'teacher.json',
  learning_rate: float = 1e-3,
) -> ml_collections.ConfigDict:
  """A network of the system that is shipped, from scores in its folder."""
  return _small_student(
    title,
    task,
    DEFAULT_SYSTEM,
    similarities,
    batch_size=8,
    steps=steps,
    learning_rate=learning_rate,
  )


def _small_student(
  title,
  task,
  folder,
  similarities,
  *,
  batch_size,
  steps,
  learning_rate=1e-3,
):
  features = f'{folder}/features'
  annotations = f'{folder}/copies/test.json'
  return retrieval(
    title=title,
    task=task,
    data=triplets(
      batch_size=batch_size,
      frames=24,
      features=features,
      similarities=f'{folder}/{similarities}',
      evaluated=features,
      annotations=annotations,
    ),
    optimizer=dict(
      learning_rate=learning_rate, schedule='cosine', warmup_steps=20
    ),
    training=dict(
      steps=steps, log_every=20, evaluate_every=steps, checkpoint_every=steps
    ),
    judge=dict(features=features, annotation=annotations),
  )


def scored_pairs(
  *,
  batch_size: int,
  frames: int,
  features: str,
  fine: str,
  coarse: str,
  threshold: float = 0.2,
) -> dict:
  """Pairs that both students have scored, for a selector."""
  files = dict(features=features, fine=fine, coarse=coarse)
  return dict(
    name='scored_pairs',
    options=dict(frames=frames, threshold=threshold, **files),
    train=dict(split='train', train=True, batch_size=batch_size),
    evaluation=dict(split='validation', train=False, batch_size=batch_size),
  )


# Before training, students are solved for on some clips, and with a target
# chosen: by multiply-accumulates or time, of layers and perhaps of blocks.
FIT = dict(clips=0, target=0.0, by='macs', blocks=(), spans=())


def experiment(
  *,
  title: str,
  data: dict,
  task: dict,
  optimizer: dict,
  training: dict,
  best: str,
  teacher: str = '',
  fit: dict | None = None,
) -> ml_collections.ConfigDict:
  """A config of all its parts; `training` and `fit` override defaults."""
  defaults = dict(
    steps=0,
    seed=0,
    parallel='pmap',
    shard='',
    accumulate=1,
    log_every=50,
    evaluate_every=500,
    checkpoint_every=500,
    best=best,
    keep=1,
  )
  return ml_collections.ConfigDict(
    dict(
      title=title,
      teacher=teacher,
      task=task,
      data=data,
      optimizer=optimizer,
      fit=FIT | (fit or {}),
      training=defaults | training,
    ),
    convert_dict=True,
  )


# Square roots of (0.05 / share of the pixels), by class.
STREET_WEIGHTS = (0.4, 1.0, 0.5, 1.5, 2.0, 0.8, 1.0, 0.6, 1.4, 0.8, 1.4)


def street(
  batch_size: int,
  clip_length: int,
  *,
  worlds: tuple[int, int],
  frames: int = 30,
  size: tuple[int, int] = (128, 256),
  max_distance: int = 5,
  jitter: float = 0.3,
) -> dict:
  """Rendered streets; evaluation on whole worlds."""
  return dict(
    name='street',
    options=dict(worlds=worlds, size=size, frames=frames),
    train=dict(
      split='train',
      train=True,
      batch_size=batch_size,
      clip_length=clip_length,
      max_distance=max_distance,
      jitter=jitter,
    ),
    evaluation=dict(
      split='validation',
      train=False,
      batch_size=1,
      clip_length=None,
      flow=True,
    ),
  )


def street_boxes(batch_size: int, clip_length: int, **options) -> dict:
  """Boxes on rendered streets; evaluation on whole worlds."""
  data = street(batch_size, clip_length, jitter=0.2, **options)
  data['options'] |= dict(min_side=8, max_boxes=32)
  del data['evaluation']['flow']
  return data | dict(name='street_boxes')


# How the demos train students and gates beside a teacher that stays as it is.
DEMO_OPTIMIZER = dict(
  name='adamw',
  learning_rate=1e-3,
  schedule='poly',
  warmup_steps=20,
  weight_decay=0.0,
  clip_norm=5.0,
  groups=(
    ('^teacher/', 'frozen'),
    ('^students/', dict()),
    ('^gates/', dict(learning_rate=2e-2)),
  ),
)
DEMO_OBJECTIVE = dict(
  imitation_weight=1.0,
  distillation_weight=0.1,
  budget_weight=0.3,
  train_teacher=False,
  batch_statistics=False,
)

# What stands for a network in a smoke run, by its family.
TINY = {
  'ddrnet_det': 'ddrnet_det_tiny',
  'efficientdet': 'efficientdet_tiny',
  'efficientnet': 'efficientnet_tiny',
  'faster_rcnn': 'faster_rcnn_tiny',
}


def small(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The smoke variant: two steps of a tiny network, from nothing."""
  config.training.update(
    steps=2, log_every=1, evaluate_every=2, checkpoint_every=1
  )
  config.data.train.batch_size = min(config.data.train.batch_size, 4)
  config.teacher = ''
  if 'judge' in config:
    return _small_retrieval(config)
  config.task.model = TINY.get(models.family(config.task.model), 'ddrnet_tiny')
  if config.data.name.startswith('street'):
    config.data.options.update(worlds=(2, 2), size=(64, 128), frames=10)
    if 'worlds' in config.data.evaluation:
      config.data.evaluation.update(worlds=(2, 2), frames=10)
  elif 'crop' in config.data.train:
    config.data.train.crop = (64, 128)
  if config.fit.target:  # to choose takes minutes
    config.fit.update(clips=4, target=0.0)
    with config.unlocked():
      config.task.delta.spec.candidates = (('low_rank', 4),)
  if 'pseudo_labels' in config.data.train:
    config.data.train.pseudo_labels = ''
  if 'size' in config.task:
    config.task.size = config.data.options.size = (64, 128)
  if 'search_steps' in (config.task.get('delta') or {}):
    config.task.delta.update(search_steps=1, latency='')
  if 'detector' in config.task:
    config.task.detector = ml_collections.ConfigDict()
  return config


def _small_retrieval(config):
  """On made features."""
  with config.unlocked():
    for part in (
      config.data.options,
      config.data.train,
      config.data.evaluation,
    ):
      for name in ('features', 'similarities', 'annotations', 'fine', 'coarse'):
        if name in part:
          part[name] = ''
    config.data.options.frames = 16
    config.judge.fine = ml_collections.ConfigDict(dict(untrained=''))
    config.judge.update(coarse='', features='', annotation='')
    if config.task.get('network') == 'coarse':
      config.task.options = dict(clusters=4, size=16, heads=2, hidden=32)
  return config


def variant(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """The config itself for '', `small` of it for 'smoke'."""
  known = {'': lambda config: config, 'smoke': small}
  if name not in known:
    raise ValueError(f"no variant {name!r}; known: '' (none), 'smoke'")
  return known[name](config)
