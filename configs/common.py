"""What the segmentation configs share: the shape of a config, and its smoke."""

import ml_collections


def segmentation(
  *,
  title: str,
  data: dict,
  task: dict,
  optimizer: dict,
  training: dict,
  teacher: str = '',
) -> ml_collections.ConfigDict:
  """A config of all its parts; `training` overrides the defaults below."""
  defaults = dict(
    steps=0,
    seed=0,
    parallel='pmap',
    log_every=50,
    evaluate_every=500,
    checkpoint_every=500,
    best='delta_3/miou' if task.get('delta') else 'teacher/miou',
    keep=1,
  )
  return ml_collections.ConfigDict(
    dict(
      title=title,
      teacher=teacher,
      task=dict(name='segmentation', **task),
      data=data,
      optimizer=optimizer,
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
  max_distance: int = 5,
) -> dict:
  """Rendered streets of 128 x 256 pixels; evaluation on whole worlds."""
  return dict(
    name='street',
    options=dict(worlds=worlds, size=(128, 256), frames=frames),
    train=dict(
      split='train',
      train=True,
      batch_size=batch_size,
      clip_length=clip_length,
      max_distance=max_distance,
      jitter=0.3,
    ),
    evaluation=dict(
      split='validation',
      train=False,
      batch_size=1,
      clip_length=None,
      flow=True,
    ),
  )


def small(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The smoke variant: two steps of a tiny network, from nothing."""
  config.task.model = 'ddrnet23_tiny'
  config.training.update(
    steps=2, log_every=1, evaluate_every=2, checkpoint_every=1
  )
  if config.data.name == 'street':
    config.data.options.update(worlds=(2, 2), size=(64, 128), frames=10)
  else:
    config.data.train.update(batch_size=2, crop=(64, 128))
  config.teacher = ''
  return config


def variant(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """The config itself for '', `small` of it for 'smoke'."""
  known = {'': lambda config: config, 'smoke': small}
  if name not in known:
    raise ValueError(f"no variant {name!r}; known: '' (none), 'smoke'")
  return known[name](config)
