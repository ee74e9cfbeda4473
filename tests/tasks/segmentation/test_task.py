"""The delta task: its losses, their switches, and the scores."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deltax import models, tasks
from deltax.delta import gates
from deltax.layers import BatchNorm, conv2d
from deltax.losses.segmentation import divergence
from deltax.tasks.segmentation import parts
from deltax.training import create_state, parallel, train_step

CLASSES, STEPS = 11, 3


class Small(nn.Module):
  """Five convolutions, four with batch norm: quick to compile."""

  num_classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, train=False):
    for i, stride in enumerate((2, 2, 1, 2)):
      x = conv2d(8, stride=stride, name=f'conv{i}')(x)
      norm = BatchNorm(use_running_average=not train, axis_name=self.axis_name)
      x = nn.relu(norm(x))
    return conv2d(self.num_classes, 1, bias=True, name='head')(x)


@pytest.fixture(scope='module', autouse=True)
def small_network():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(models.MODELS, 'small_for_tests', Small)
    yield


def make(axis_name=None, loss=None, **options):
  return tasks.make_task(
    'segmentation',
    model='small_for_tests',
    num_classes=CLASSES,
    loss=loss,
    delta={'intervals': (2,), **options},
    axis_name=axis_name,
  )


def batch_at(i, frames=3):
  draw = np.random.default_rng(i)
  labels = draw.integers(0, CLASSES, (4, frames, 64, 64)).astype(np.uint8)
  labels[0, 0] = 255  # a frame without labels
  labels[1, :, :20] = 255
  return {
    'frames': draw.integers(0, 256, (*labels.shape, 3)).astype(np.uint8),
    'labels': labels,
    'mask': np.float32([1, 0, 1, 1]),
  }


@functools.cache
def start():
  return make().init(jax.random.key(1), batch_at(0))


def evaluate(task, batch, *, key=0, params=None, **state):
  """Terms and next state from a task's start, all in one compiled pass."""
  own, model_state = start()
  return jax.jit(task.losses)(
    params or own, {**model_state, **state}, batch, jax.random.key(key)
  )


# Its state holds the last gradient.
OPTIMIZER = optax.chain(optax.trace(0.0), optax.scale(-0.01))


@functools.cache
def run(name, devices):
  """Three steps: the last state, and the metrics of each."""
  axis_name = parallel.axis_name(name)
  task = make(axis_name, imitation_weight=0.5, distillation_steps=2)
  step = parallel.wrapper(name)(
    functools.partial(
      train_step, task=task, optimizer=OPTIMIZER, axis_name=axis_name
    ),
    jax.devices()[:devices],
  )
  state, history = create_state(task, OPTIMIZER, batch_at(0), seed=1), []
  for i in range(STEPS):
    state, metrics = step(state, batch_at(i))
    history.append(
      {**jax.device_get(metrics), 'gradient': jax.device_get(state.opt_state)}
    )
  return jax.device_get(state._replace(key=())), history


@pytest.mark.parametrize(
  ('name', 'devices'),
  [('pmap', 1), ('pmap', 2), ('pmap', 4), ('jit', 2), ('jit', 4)],
)
def test_training_does_not_depend_on_wrapper_or_devices(name, devices):
  state, history = run(name, devices)
  expected_state, expected = run('jit', 1)
  assert set(history[0]) >= {'task', 'distillation', 'budget', 'imitation'}
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    (state, history),
    (expected_state, expected),
  )


def test_the_distillation_scale_is_fixed_by_the_first_step():
  task, batch = make(distillation_weight=0.25), batch_at(0)
  terms, state = evaluate(task, batch)
  np.testing.assert_allclose(terms['distillation'].mean(), 0.25, rtol=1e-5)
  scale = state['distillation_scale']
  assert scale > 0
  assert state['step'] == 1
  terms, state = evaluate(task, batch_at(1), distillation_scale=2 * scale)
  assert state['distillation_scale'] == 2 * scale
  again, _ = evaluate(task, batch_at(1), distillation_scale=scale)
  np.testing.assert_allclose(
    terms['distillation'], 2 * again['distillation'], rtol=1e-5
  )
  # A later batch is measured by the first one's scale, not by its own.
  assert abs(again['distillation'].mean() - 0.25) > 1e-3


def test_distillation_ends_after_its_steps():
  _, history = run('jit', 1)
  ended = [metrics['distillation'] == 0 for metrics in history]
  assert ended == [False, False, True]


def test_gates_are_sampled_anew_for_every_key():
  task, batch = make(), batch_at(0)
  budgets = {float(evaluate(task, batch, key=i)[0]['budget']) for i in range(8)}
  assert len(budgets) > 1


def test_the_published_cost_prices_full_copies_only():
  # As with every layer open, or shut.
  batch, (params, _) = batch_at(0), start()
  budgets = {}
  for published in (False, True):
    task = make(published_cost=published, budget_weight=2.0)
    for logit in (-99.0, 99.0):
      shut = jax.tree.map(
        lambda x, v=logit: jnp.full_like(x, v), params['gates']
      )
      terms, _ = evaluate(task, batch, params={**params, 'gates': shut})
      budgets[published, logit] = float(terms['budget'])
  assert budgets[True, -99.0] == 0
  assert 0 < budgets[False, -99.0] < 2
  assert budgets[True, 99.0] == budgets[False, 99.0] == pytest.approx(2)


def test_costs_that_are_given_take_the_place_of_the_layers_own():
  batch, (params, _) = batch_at(0), start()
  costs = {path: 0.0 for path in params['students']}
  costs[next(iter(costs))] = 5.0
  opened = jax.tree.map(lambda x: jnp.full_like(x, -99), params['gates'])
  for logit, expected in ((-99.0, 0), (99.0, 2)):
    opened[next(iter(costs))] = jnp.full(1, logit)
    task = make(costs=costs, budget_weight=2.0)
    terms, _ = evaluate(task, batch, params={**params, 'gates': opened})
    assert float(terms['budget']) == pytest.approx(expected)


@pytest.mark.parametrize('name', ['costs', 'start'])
def test_layers_that_the_network_has_not_are_refused(name):
  given = {'conv9': 1.0}
  task = make(**{name: given if name == 'costs' else {'students': given}})
  with pytest.raises(ValueError, match=r'not in both: conv1, .*conv9'):
    task.init(jax.random.key(0), batch_at(0))


def gradient(task, batch):
  params, model_state = start()

  def total(params):
    terms, state = task.losses(params, model_state, batch, jax.random.key(0))
    return sum(term.mean() for term in terms.values()), state

  return jax.jit(jax.grad(total, has_aux=True))(params)


def moved(tree):
  return [bool(jnp.any(leaf)) for leaf in jax.tree.leaves(tree)]


def test_a_teacher_that_is_not_trained_gets_no_gradient():
  grads, state = gradient(make(train_teacher=False), batch_at(0))
  assert not any(moved(grads['teacher']))
  assert all(moved(grads['gates']))
  assert any(moved(grads['students']))
  trained, _ = gradient(make(), batch_at(0))
  assert all(moved(trained['teacher']['conv0']))
  # Its statistics still move, unless that is switched off too.
  before = start()[1]['batch_stats']
  assert all(moved(jax.tree.map(jnp.subtract, state['batch_stats'], before)))
  _, state = gradient(
    make(train_teacher=False, batch_statistics=False), batch_at(0)
  )
  assert not any(
    moved(jax.tree.map(jnp.subtract, state['batch_stats'], before))
  )


@pytest.mark.parametrize('hard', [False, True])
def test_without_any_label_losses_and_gradients_are_finite(hard):
  task = make(loss={'hard': hard, 'min_kept': 100}, imitation_weight=1.0)
  batch = batch_at(0)
  batch['labels'] = np.full_like(batch['labels'], 255)
  terms, state = evaluate(task, batch)
  assert not terms['task'].any()
  grads, _ = gradient(task, batch)
  for leaf in jax.tree.leaves((terms, state, grads)):
    assert np.isfinite(leaf).all()


def test_rolling_through_a_scan_trains_the_same():
  options = dict(batch_statistics=False, imitation_weight=1.0)
  grads, _ = gradient(make(**options), batch_at(0))
  scanned, _ = gradient(make(scan=True, **options), batch_at(0))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
    scanned,
    grads,
  )


def test_computing_the_students_pass_again_changes_no_gradient():
  kept, _ = gradient(make(), batch_at(0))
  again, _ = gradient(make(remat=True), batch_at(0))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
    again,
    kept,
  )


def test_a_scan_with_batch_statistics_is_refused():
  with pytest.raises(ValueError, match='set batch_statistics=False'):
    make(scan=True)


def test_an_unknown_task_lists_the_known_ones():
  with pytest.raises(
    ValueError, match="no task 'sorting'; known: detection, imitation, segm"
  ):
    tasks.make_task('sorting')


def test_training_starts_from_the_teacher_given():
  batch, (params, model_state) = batch_at(0), start()
  given = {
    'params': jax.tree.map(lambda x: x + 1, params['teacher']),
    'batch_stats': model_state['batch_stats'],
  }
  task = tasks.make_task(
    'segmentation',
    model='small_for_tests',
    num_classes=CLASSES,
    delta={},
    teacher=given,
  )
  own, _ = task.init(jax.random.key(5), batch)
  jax.tree.map(np.testing.assert_array_equal, own['teacher'], given['params'])
  kernel = own['students']['conv1']['full']['kernel']
  np.testing.assert_array_equal(kernel, given['params']['conv1']['kernel'])


def test_watched_gates_are_probabilities_of_the_full_copy():
  params, model_state = start()
  watched = make().watch(params, model_state)
  assert set(watched) == {'gate/conv1', 'gate/conv2', 'gate/conv3'}
  for value in watched.values():
    np.testing.assert_allclose(value, gates.probabilities(jnp.array([-1.0]))[0])


def test_imitation_is_the_divergence_from_the_target():
  draw = np.random.default_rng(0).standard_normal
  logits, target = draw((2, 2, 3, 2, 3, 5)).astype(np.float32)
  p, q = (
    np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (target, logits)
  )
  expected = (p * np.log(p / q)).sum(-1).reshape(2, -1).mean(1)
  own = divergence(jnp.array(logits), jnp.array(target))
  np.testing.assert_allclose(own, expected, rtol=1e-4)
  same = divergence(jnp.array(target), jnp.array(target))
  np.testing.assert_allclose(same, 0, atol=1e-6)
  reached = jax.grad(lambda t: divergence(jnp.array(logits), t).sum())
  assert not reached(jnp.array(target)).any()


def slow_miou(confusion):
  scores = []
  for k in range(len(confusion)):
    right = confusion[k, k]
    union = confusion[k].sum() + confusion[:, k].sum() - right
    if union:
      scores.append(right / union)
  return np.mean(scores)


@pytest.mark.parametrize(('frames', 'interval'), [(7, 3), (6, 2), (4, 4)])
def test_scores_are_means_over_the_distance_to_the_key_frame(frames, interval):
  draw = np.random.default_rng(0)
  confusion = draw.integers(0, 50, (frames, 3, 3))
  counts = {'d/confusion': confusion, 'd/kept': 30, 'd/moved': 40}
  scores = parts.scores_of('d', counts, interval)
  expected = []
  for d in range(interval):
    total = sum(confusion[t] for t in range(frames) if t % interval == d)
    expected.append(slow_miou(total))
    assert scores[f'd/miou_{d}'] == pytest.approx(expected[-1])
  assert scores['d/miou'] == pytest.approx(np.mean(expected))
  assert scores['d/consistency'] == 0.75


def test_a_teacher_is_scored_over_all_frames():
  confusion = np.random.default_rng(0).integers(0, 50, (5, 3, 3))
  scores = parts.scores_of('teacher', {'teacher/confusion': confusion})
  assert scores == {'teacher/miou': pytest.approx(slow_miou(confusion.sum(0)))}


def test_evaluation_counts_every_labelled_pixel_of_every_clip():
  task, batch = make(intervals=(2, 3)), batch_at(0)
  counts = jax.jit(task.evaluate)(*start(), batch)
  labelled = (batch['labels'] != 255).sum((2, 3))
  for name in ('teacher', 'delta_2', 'delta_3'):
    confusion = counts[f'{name}/confusion']
    np.testing.assert_array_equal(confusion.sum((2, 3)), labelled)
    # Key frames are the teacher's own.
    np.testing.assert_array_equal(
      confusion[:, 0], counts['teacher/confusion'][:, 0]
    )
  total = {name: np.asarray(value).sum(0) for name, value in counts.items()}
  scores = task.summarise(total)
  assert {'teacher/miou', 'delta_2/miou_1', 'delta_3/miou_2'} <= set(scores)
  assert all(0 <= score <= 1 for score in scores.values())


def test_students_are_solved_for_on_batches_before_the_first_step():
  task, (params, state) = make(), start()
  fitted, errors = task.fit(params, state, [batch_at(0), batch_at(1)])
  assert errors['before'].keys() == errors['after'].keys()
  for path, before in errors['before'].items():
    for name, share in before.items():
      assert errors['after'][path][name] <= share + 1e-6
  jax.tree.map(
    np.testing.assert_array_equal, fitted['teacher'], params['teacher']
  )
  assert jax.tree.structure(fitted) == jax.tree.structure(params)
  unscaled = jnp.ones(())  # else each is divided by its own first batch
  first, solved = (
    evaluate(*(task, batch_at(2)), params=own, distillation_scale=unscaled)[0][
      'distillation'
    ].sum()
    for own in (params, fitted)
  )
  assert solved < first
