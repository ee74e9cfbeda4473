"""A step, its wrappers, and the promise that devices do not matter."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deltax.layers.noise import Dropout
from deltax.task import Task
from deltax.training import (
  create_state,
  jit_step,
  make_optimizer,
  parallel,
  pmap_step,
  train_step,
)

# The first device of four holds padding only, and no two hold the same number.
MASKS = np.array(
  [[0, 0, 1, 0, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0, 0, 0], [1] * 8], np.float32
)


def batch_at(i: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(i)
  x = rng.normal(size=(8, 3)).astype(np.float32)
  return {'x': x, 'y': x @ np.float32([1, -2, 3]), 'mask': MASKS[i % 3]}


def normalising_task(axis_name: str | None) -> Task:
  """A regression with batch norm, noise, statistics and a penalty."""

  def init(key, batch):
    params = {
      'w': jax.random.normal(key, (3,)),
      'gates': {'g': jnp.ones(2)},
    }
    return params, {'mean': jnp.zeros(3), 'seen': jnp.int32(0)}

  def losses(params, state, batch, key):
    mean = batch['x'].mean(0)
    if axis_name is not None:
      mean = jax.lax.pmean(mean, axis_name)
    gate = jax.nn.sigmoid(params['gates']['g'] + jax.random.normal(key, (2,)))
    x = batch['x'] - (mean * gate[0])[None]
    error = (x @ params['w'] - batch['y']) ** 2
    return (
      {'task': error, 'ridge': gate.sum() * (params['w'] ** 2).sum()},
      {
        'mean': 0.9 * state['mean'] + 0.1 * batch['x'].mean(0),
        'seen': state['seen'] + 1,
      },
    )

  return Task(init, losses, None, None)


def optimizer():
  return make_optimizer(
    'adamw',
    learning_rate=0.1,
    steps=10,
    weight_decay=0.01,
    clip_norm=5.0,
    groups=(('^w', {}), ('^gates/', {'learning_rate': 0.3})),
  )


def run(name: str, devices: int, steps: int = 3):
  task = normalising_task(parallel.axis_name(name))
  step = parallel.wrapper(name)(
    functools.partial(
      train_step,
      task=task,
      optimizer=optimizer(),
      axis_name=parallel.axis_name(name),
    ),
    jax.devices()[:devices],
  )
  state = create_state(task, optimizer(), batch_at(0), seed=1)
  history = []
  for i in range(steps):
    state, metrics = step(state, batch_at(i))
    history.append(jax.device_get(metrics))
  return state._replace(key=jax.random.key_data(state.key)), history


@functools.cache
def on_one_device():
  return run('jit', 1)


@pytest.mark.parametrize('devices', [1, 2, 4])
@pytest.mark.parametrize('name', ['pmap', 'jit'])
def test_training_does_not_depend_on_wrapper_or_devices(name, devices):
  assert len(jax.devices()) >= devices
  state, history = run(name, devices)
  expected_state, expected_history = on_one_device()
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-6),
    (state, history),
    (expected_state, expected_history),
  )
  assert state.params['w'].shape == (3,), 'a device axis came out'


def test_a_step_is_the_gradient_of_the_masked_mean_over_the_whole_batch():
  batch = batch_at(0)
  w = np.float32([0.5, 0.5, 0.5])
  task = Task(
    lambda key, batch: ({'w': w}, {}),
    lambda params, state, batch, key: (
      {
        'task': (batch['x'] @ params['w'] - batch['y']) ** 2,
        'ridge': (params['w'] ** 2).sum(),
      },
      state,
    ),
    None,
    None,
  )
  sgd = optax.sgd(0.1)
  step = parallel.pmap_step(
    functools.partial(
      train_step, task=task, optimizer=sgd, axis_name=parallel.AXIS_NAME
    )
  )
  state, metrics = step(create_state(task, sgd, batch, 0), batch)
  real = batch['mask'] > 0
  x, y = batch['x'][real], batch['y'][real]
  error = x @ w - y
  gradient = 2 * x.T @ error / real.sum() + 2 * w
  np.testing.assert_allclose(state.params['w'], w - 0.1 * gradient, rtol=1e-5)
  np.testing.assert_allclose(metrics['task'], (error**2).mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics['ridge'], (w**2).sum(), rtol=1e-6)
  np.testing.assert_allclose(
    metrics['loss'], metrics['task'] + metrics['ridge'], rtol=1e-6
  )
  np.testing.assert_allclose(
    metrics['gradient_norm'], np.linalg.norm(gradient), rtol=1e-5
  )
  assert state.step == 1


def linear_task(losses) -> Task:
  """Also with a weakly typed leaf, which must not cost a second compilation."""
  return Task(
    lambda key, batch: ({'w': jnp.ones(3)}, {'scale': jnp.asarray(1.0)}),
    losses,
    None,
    None,
  )


@pytest.mark.parametrize('name', ['pmap', 'jit'])
@pytest.mark.parametrize('devices', [1, 4])
def test_a_step_compiles_once(name, devices):
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: (
      compiled.append(event)
      if event == '/jax/core/compile/backend_compile_duration'
      else None
    )
  )

  def losses(params, state, batch, key):
    scale = 0.9 * state['scale'] + batch['x'].mean()
    return {'task': batch['x'] @ params['w']}, {'scale': scale}

  task, sgd = linear_task(losses), make_optimizer(learning_rate=0.1, steps=9)
  step = parallel.wrapper(name)(
    functools.partial(
      train_step,
      task=task,
      optimizer=sgd,
      axis_name=parallel.axis_name(name),
    ),
    jax.devices()[:devices],
  )
  state = create_state(task, sgd, batch_at(0), 0)
  counts = []
  for i in range(4):
    compiled.clear()
    state, metrics = step(state, batch_at(i))
    jax.block_until_ready(metrics)
    counts.append(len(compiled))
  assert counts[0] >= 1 and counts[1:] == [0, 0, 0]


def test_the_key_differs_by_step_and_not_by_device():
  def losses(params, state, batch, key):
    noise = jax.random.uniform(key, ())
    return {'noise': noise + 0 * params['w'].sum()}, state

  def noises(devices):
    task = linear_task(losses)
    step = parallel.pmap_step(
      functools.partial(
        train_step,
        task=task,
        optimizer=optax.sgd(0.0),
        axis_name=parallel.AXIS_NAME,
      ),
      jax.devices()[:devices],
    )
    state = create_state(task, optax.sgd(0.0), batch_at(0), 0)
    for i in range(3):
      state, metrics = step(state, batch_at(i))
      yield float(metrics['noise'])

  # A mean over four devices equals one device's draw only if all drew the same.
  one, four = list(noises(1)), list(noises(4))
  np.testing.assert_allclose(one, four, rtol=1e-6)
  assert len(set(one)) == 3


def test_a_masked_example_never_counts_even_when_its_loss_is_not_finite():
  def losses(params, state, batch, key):
    return {'task': batch['x'] @ params['w']}, state

  task = linear_task(losses)
  batch = batch_at(0)
  batch['x'][batch['mask'] == 0] = np.inf
  step = jit_step(
    functools.partial(train_step, task=task, optimizer=optax.sgd(0.1))
  )
  _, metrics = step(create_state(task, optax.sgd(0.1), batch, 0), batch)
  expected = batch['x'][batch['mask'] > 0].sum(1).mean()
  np.testing.assert_allclose(metrics['task'], expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['pmap', 'jit'])
def test_a_batch_that_does_not_divide_is_an_error_that_says_so(name):
  step = parallel.wrapper(name)(lambda state, batch: (state, {}), None)
  batch = jax.tree.map(lambda x: x[:6], batch_at(0))
  with pytest.raises(ValueError, match=r'batch of 6 .* 4 devices'):
    step(None, batch)


@pytest.mark.parametrize(
  ('losses', 'said'),
  [
    (lambda p, s, b, k: ({'pixels': jnp.ones((8, 2))}, s), r"'pixels'.*\(8, 2"),
    (lambda p, s, b, k: ({'loss': jnp.ones(8)}, s), "name other than 'loss'"),
  ],
)
def test_a_loss_of_wrong_form_is_named(losses, said):
  task = linear_task(losses)
  state = create_state(task, optax.sgd(0.1), batch_at(0), 0)
  with pytest.raises(ValueError, match=said):
    train_step(state, batch_at(0), task=task, optimizer=optax.sgd(0.1))


def test_an_unknown_wrapper_lists_the_known_ones():
  with pytest.raises(ValueError, match="'jit', 'pmap'"):
    parallel.wrapper('shard')


PLAIN = make_optimizer('adamw', learning_rate=0.1, steps=10, clip_norm=5.0)


def test_large_arrays_are_shared_out_and_train_the_same():
  """And each device holds a quarter of them, in the state that comes back."""
  rng = np.random.default_rng(0)
  batch = {
    'x': rng.normal(size=(8, 64)).astype(np.float32),
    'mask': MASKS[0],
  }

  def init(key, batch):
    return {'w': jax.random.normal(key, (64, 32)), 'b': jnp.zeros(32)}, {}

  def losses(params, state, batch, key):
    out = jnp.tanh(batch['x'] @ params['w'] + params['b'][None])
    return {'task': (out**2).mean(1)}, state

  task, states, kept = Task(init, losses, None, None), {}, {}
  for shard in ('', 'optimizer', 'parameters'):
    step = jit_step(
      functools.partial(train_step, task=task, optimizer=PLAIN),
      jax.devices()[:4],
      shard,
    )
    state = create_state(task, PLAIN, batch, seed=1)
    for _ in range(3):
      state, _ = step(state, batch)
    shapes = jax.tree.map(lambda x: x.addressable_data(0).shape, state)
    kept[shard] = (
      shapes.params['w'],
      {s for s in jax.tree.leaves(shapes.opt_state, is_leaf=is_shape) if s},
      shapes.params['b'],
    )
    states[shard] = parallel.gathered(state).params
  whole, part, small = (64, 32), (16, 32), (32,)
  assert kept[''] == (whole, {whole, small}, small)
  assert kept['optimizer'] == (whole, {part, small}, small)
  assert kept['parameters'] == (part, {part, small}, small)
  for shard in ('optimizer', 'parameters'):
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-6),
      states[shard],
      states[''],
    )


def is_shape(x):
  return isinstance(x, tuple) and all(isinstance(size, int) for size in x)


def test_a_mapped_step_refuses_to_share_out_the_state():
  with pytest.raises(ValueError, match="shard='optimizer' needs parallel"):
    pmap_step(lambda state, batch: (state, {}), shard='optimizer')


def test_an_unknown_part_of_the_state_lists_the_known_ones():
  with pytest.raises(ValueError, match=r"known: \['', 'optimizer', 'param"):
    jit_step(lambda state, batch: (state, {}), shard='params')


class Dropping(nn.Module):
  """Two frames an example; noise of every unit, and no statistics."""

  @nn.compact
  def __call__(self, x, train):
    rows = jnp.repeat(x, 2, 0)
    rows = Dropout(0.5)(nn.Dense(16)(rows), train)
    return nn.Dense(1)(rows)[:, 0].reshape(-1, 2).mean(1)


def dropping_task() -> Task:
  net = Dropping()

  def init(key, batch):
    return net.init(key, batch['x'], False)['params'], {'seen': jnp.int32(0)}

  def losses(params, state, batch, key):
    gate = jax.nn.sigmoid(jax.random.normal(key, ()))
    out = net.apply(
      {'params': params},
      batch['x'],
      True,
      rngs={'dropout': jax.random.fold_in(key, 1)},
    )
    return (
      {'task': (gate * out - batch['y']) ** 2, 'gate': gate * out.sum() * 0},
      {'seen': state['seen'] + 1},
    )

  return Task(init, losses, None, None)


@pytest.mark.parametrize(
  ('name', 'devices', 'accumulate'),
  [
    ('pmap', 2, 1),
    ('pmap', 4, 1),
    ('pmap', 2, 2),
    ('pmap', 1, 8),
    ('jit', 4, 1),
    ('jit', 1, 4),
    ('jit', 2, 4),
  ],
)
def test_noise_is_that_of_the_example_wherever_it_is(name, devices, accumulate):
  """However a batch is split over devices, and over time."""

  def train(name, devices, accumulate):
    task = dropping_task()
    step = parallel.wrapper(name)(
      functools.partial(
        train_step,
        task=task,
        optimizer=PLAIN,
        axis_name=parallel.axis_name(name),
        accumulate=accumulate,
      ),
      jax.devices()[:devices],
    )
    state = create_state(task, PLAIN, batch_at(0), seed=1)
    for i in range(3):
      state, metrics = step(state, batch_at(i))
    return state.params, state.model_state, metrics

  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6),
    train(name, devices, accumulate),
    train('jit', 1, 1),
  )


def test_parts_that_do_not_divide_a_batch_are_an_error():
  task = dropping_task()
  step = jit_step(
    functools.partial(train_step, task=task, optimizer=PLAIN, accumulate=3),
    jax.devices()[:1],
  )
  state = create_state(task, PLAIN, batch_at(0), seed=1)
  with pytest.raises(ValueError, match=r'8 on a device .* accumulate=3'):
    step(state, batch_at(0))
