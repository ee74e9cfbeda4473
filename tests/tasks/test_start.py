"""What training starts from: every array of a run, or a clear refusal."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import experiment, models, tasks
from deltax.training import Checkpoints, TrainState

SIZE, CLASSES = (64, 128), 11
NETWORKS = {'segmentation': 'ddrnet23_tiny', 'detection': 'efficientdet_tiny'}
# Arrays whose shape depends on the number of classes.
HEADS = {
  'segmentation': {
    'params/final_layer/conv2/kernel',
    'params/final_layer/conv2/bias',
  },
  'detection': {
    f'params/class_net/predict/conv_pw/{part}' for part in ('kernel', 'bias')
  },
}
KINDS = list(NETWORKS)


def make(kind, num_classes=CLASSES, **options):
  if kind == 'detection':
    options['size'] = SIZE
  return tasks.make_task(
    kind,
    **{'model': NETWORKS[kind], 'num_classes': num_classes, **options},
  )


def batch():
  return {'frames': np.zeros((1, 1, *SIZE, 3), np.uint8)}


def drawn(kind, num_classes=CLASSES):
  """Parameters and state, every array of its own value."""
  task = make(kind, num_classes)
  shapes = jax.eval_shape(task.init, jax.random.key(0), batch())
  leaves, structure = jax.tree.flatten(shapes)
  filled = [
    np.full(leaf.shape, 0.01 * i, leaf.dtype) for i, leaf in enumerate(leaves)
  ]
  return jax.tree.unflatten(structure, filled)


def variables(kind, num_classes=CLASSES):
  params, state = drawn(kind, num_classes)
  return {'params': params['teacher'], **state}


def compared(kind, task, given):
  """Names of the arrays that are those given, and of those that are not."""
  params, state = task.init(jax.random.key(1), batch())
  own = {'params': params['teacher'], 'batch_stats': state['batch_stats']}
  same, other = set(), set()
  named = jax.tree_util.tree_leaves_with_path(own)
  for (path, leaf), theirs in zip(named, jax.tree.leaves(given), strict=True):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    (same if np.array_equal(leaf, theirs) else other).add(name)
  return same, other


@pytest.mark.parametrize('kind', KINDS)
def test_a_network_starts_from_every_array_of_a_run(kind):
  given = variables(kind)
  same, other = compared(kind, make(kind, teacher=given), given)
  assert not other
  assert len(same) == len(jax.tree.leaves(given)) > 100


@pytest.mark.parametrize('kind', KINDS)
def test_another_number_of_classes_gets_a_new_head_and_says_so(kind, caplog):
  given = variables(kind, CLASSES + 2)
  with caplog.at_level(logging.WARNING, logger='absl'):
    same, other = compared(kind, make(kind, teacher=given), given)
  assert other == HEADS[kind]
  assert len(same) == len(jax.tree.leaves(given)) - len(other)
  for name in other:
    assert name in caplog.text


@pytest.mark.parametrize('kind', KINDS)
def test_a_run_of_another_network_is_refused(kind):
  given = variables(kind)
  module, leaves = next(iter(given['params'].items()))
  less = {**given, 'params': dict(given['params'])}
  del less['params'][module]
  wider = jax.tree.map(lambda x: np.repeat(x, 2, -1), leaves)
  wide = {**given, 'params': {**given['params'], module: wider}}
  for wrong in (less, wide):
    with pytest.raises(ValueError, match=f'another network: .*{module}'):
      make(kind, teacher=wrong).init(jax.random.key(0), batch())


@pytest.mark.parametrize('kind', KINDS)
def test_a_delta_network_takes_no_teacher_of_other_classes(kind):
  task = make(kind, teacher=variables(kind, CLASSES + 2), delta={})
  with pytest.raises(ValueError, match='another number of classes than 11'):
    task.init(jax.random.key(0), batch())


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('delta', [None, {}])
def test_two_starts_at_once_are_refused(kind, delta):
  with pytest.raises(ValueError, match='beside a teacher'):
    make(
      kind,
      teacher=variables(kind),
      pretrained='efficientnet_lite0',
      delta=delta,
    )


@pytest.mark.parametrize('kind', KINDS)
def test_packaged_weights_are_asked_for_with_a_delta_network_too(kind):
  task = make(kind, pretrained='nothing', delta={})
  with pytest.raises(ValueError, match="no packaged weights for 'nothing'"):
    task.init(jax.random.key(0), batch())


def test_a_teachers_statistics_are_no_option_of_a_delta_network():
  with pytest.raises(ValueError, match=r'delta\.batch_statistics'):
    make('detection', batch_statistics=False, delta={})


@pytest.mark.parametrize('name', list(tasks.TASKS))
def test_an_unknown_option_lists_the_known_ones(name):
  with pytest.raises(
    ValueError, match=r"no option 'colour'; known: .*axis_name"
  ):
    tasks.make_task(name, colour=1)


def saved(folder, params, state):
  with Checkpoints(folder) as checkpoints:
    zero = jnp.zeros((), jnp.int32)
    checkpoints.save(TrainState(zero, params, state, (), jax.random.key(0)))
  return str(folder)


def config_of(run, **task):
  return {
    'teacher': run,
    'task': {'name': 'segmentation', 'num_classes': CLASSES, **task},
    'training': {'parallel': 'jit'},
  }


def test_a_config_that_names_a_run_starts_from_all_its_arrays(tmp_path):
  run = saved(tmp_path / 'run', *drawn('segmentation'))
  config = config_of(run, model=NETWORKS['segmentation'], delta=None)
  given = variables('segmentation')
  same, other = compared('segmentation', experiment.build(config).task, given)
  assert not other and len(same) == len(jax.tree.leaves(given)) > 100


def test_a_task_that_starts_from_no_run_refuses_one():
  config = config_of('runs/any')
  config['task'] = {'name': 'similarity', 'network': 'fine_attention'}
  with pytest.raises(ValueError, match="'similarity' starts from no run"):
    experiment.build(config)


def test_a_run_of_retrieval_is_no_teacher_of_a_network_for_video(tmp_path):
  run = saved(tmp_path / 'run', {'similarity': jnp.ones(3)}, {})
  config = config_of(run, model=NETWORKS['segmentation'], delta=None)
  with pytest.raises(ValueError, match='is no run of a network for video'):
    experiment.build(config)


def test_every_network_knows_its_number_of_classes():
  for name in models.MODELS:
    assert models.create(name, num_classes=CLASSES).num_classes == CLASSES
