"""Gate searches within a target: what is paid, what is settled, what stays."""

import functools
import json
import pathlib
import runpy
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deltax import delta as delta_wing
from deltax import experiment, models, tasks
from deltax.delta import gates
from deltax.delta.search import latency
from deltax.layers import conv2d
from deltax.tasks.parts import delta_params
from deltax.tasks.video.choice.gate_search import one_hot, settled
from deltax.tasks.video.choice.prices import Prices
from deltax.training import (
  Checkpoints,
  TrainState,
  create_state,
  parallel,
  train_step,
)

ROOT = pathlib.Path(__file__).parents[3]
CLASSES, SEARCH, STEPS, TARGET = 11, 3, 6, 0.5
SPEC = {
  'candidates': (
    ('low_rank', 2),
    ('bottleneck', 2),
    ('strided',),
    ('skip',),
    ('teacher',),
  )
}
LAYERS = ('conv1', 'conv2', 'conv3')


class Small(nn.Module):
  """Five convolutions, three of them with students."""

  num_classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, train=False):
    for i, stride in enumerate((2, 2, 1, 2)):
      x = nn.relu(conv2d(8, stride=stride, bias=True, name=f'conv{i}')(x))
    # The tasks pool batch statistics, of which there must be some.
    self.variable('batch_stats', 'unused', jnp.zeros, ())
    return conv2d(self.num_classes, 1, bias=True, name='head')(x)


@pytest.fixture(scope='module', autouse=True)
def small_network():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(models.MODELS, 'small_for_search', Small)
    yield


def make(axis_name=None, **options):
  options = {'spec': SPEC, 'target': TARGET, 'search_steps': SEARCH, **options}
  return tasks.make_task(
    'segmentation',
    model='small_for_search',
    num_classes=CLASSES,
    delta={'intervals': (2,), 'budget_weight': 2.0, **options},
    axis_name=axis_name,
  )


def batch_at(i):
  draw = np.random.default_rng(i)
  labels = draw.integers(0, CLASSES, (4, 2, 32, 32)).astype(np.uint8)
  frames = draw.integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
  return {'frames': frames, 'labels': labels, 'mask': np.ones(4, np.float32)}


def distilled():
  return delta_wing.distill(Small(CLASSES), delta_wing.make_spec(**SPEC))


def macs():
  delta = distilled()
  params, state = make().init(jax.random.key(0), batch_at(0))
  frame = jnp.zeros((1, 32, 32, 3))
  return Prices(*delta.costs(delta_params(params, state), frame))


def share_of(prices, logits):
  """What a choice costs, by a loop."""
  paid = prices.rest + sum(
    costs[int(gates.choose(logits[path])) if path in logits else 0]
    for path, costs in prices.candidates.items()
  )
  return paid / (prices.rest + sum(prices.teacher.values()))


def drawn(seed, layers=40):
  """Prices of layers of all sizes, some of them without a choice."""
  draw = np.random.default_rng(seed)
  teacher = {
    f'layer{i}': float(x) for i, x in enumerate(draw.exponential(1, layers))
  }
  candidates = {
    path: (0.3 * own,)
    if i < 5
    else tuple(own * np.sort(draw.uniform(0, 1.1, 4))[::-1])
    for i, (path, own) in enumerate(teacher.items())
  }
  logits = {p: jnp.zeros(3) for p, own in candidates.items() if len(own) > 1}
  return Prices(candidates, teacher, 0.1 * sum(teacher.values())), logits


@pytest.mark.parametrize('seed', range(3))
def test_a_target_is_reached_by_the_gates_and_kept_by_their_choice(seed):
  prices, logits = drawn(seed)
  draw = np.random.default_rng(seed)
  logits = {p: jnp.float32(draw.normal(size=3)) for p in logits}
  optimizer = optax.adam(2e-2)

  def loss(logits):
    share = prices.share(jax.tree.map(gates.probabilities, logits))
    return jnp.abs(share / TARGET - 1)

  @jax.jit
  def descend(logits):
    def step(carry, _):
      logits, state = carry
      updates, state = optimizer.update(jax.grad(loss)(logits), state)
      return (optax.apply_updates(logits, updates), state), None

    start = logits, optimizer.init(logits)
    return jax.lax.scan(step, start, length=200)[0][0]

  found = descend(logits)
  assert loss(logits) > 0.05
  assert loss(found) < 0.05
  for given in (logits, found):
    chosen = jax.jit(functools.partial(settled, prices=prices, target=TARGET))(
      given
    )
    assert 0.95 * TARGET < share_of(prices, chosen) <= TARGET * (1 + 1e-6)


def test_the_expected_share_is_that_of_the_sum_over_all_layers():
  prices, logits = drawn(0)
  draw = np.random.default_rng(1)
  weights = {p: draw.dirichlet(np.ones(4)).astype(np.float32) for p in logits}
  paid = prices.rest
  for path, costs in prices.candidates.items():
    paid += np.dot(weights.get(path, [1]), costs)
  expected = paid / (prices.rest + sum(prices.teacher.values()))
  assert float(prices.share(weights)) == pytest.approx(expected, rel=1e-5)


def test_without_a_target_every_gate_takes_its_likeliest():
  prices, logits = drawn(0)
  draw = np.random.default_rng(1)
  logits = {p: jnp.float32(draw.normal(size=3)) for p in logits}
  chosen = settled(logits, prices, None)
  for path, own in logits.items():
    assert gates.choose(chosen[path]) == gates.choose(own)
    probabilities = gates.probabilities(chosen[path])
    np.testing.assert_array_equal(probabilities, one_hot(own))


def test_a_target_that_no_choice_reaches_is_refused():
  prices, logits = drawn(0)
  with pytest.raises(ValueError, match=r'target=0.05 .* cheapest choice costs'):
    prices.limit(0.05, logits)
  task = make(spec={'candidates': (('teacher',), ('low_rank', 8))}, target=1e-3)
  with pytest.raises(ValueError, match=r'target=0\.001'):
    task.init(jax.random.key(0), batch_at(0))


@functools.cache
def run(name, devices):
  """A search and what follows it: the states after every step, the metrics."""
  axis_name = parallel.axis_name(name)
  task, optimizer = make(axis_name), optax.sgd(0.1, 0.9)
  step = parallel.wrapper(name)(
    functools.partial(
      train_step, task=task, optimizer=optimizer, axis_name=axis_name
    ),
    jax.devices()[:devices],
  )
  state = create_state(task, optimizer, batch_at(0), seed=1)
  states, history = [jax.device_get(state._replace(key=()))], []
  for i in range(STEPS):
    state, metrics = step(state, batch_at(i))
    states.append(jax.device_get(state._replace(key=())))
    history.append(jax.device_get(metrics))
  return states, history


def test_a_choice_is_settled_once_and_stays_while_momentum_moves_the_gates():
  states, history = run('jit', 1)
  prices = macs()
  kept = [state.model_state['gates'] for state in states]
  # What a step leaves was settled from the logits that it began with: at first
  # all alike, so that any candidate will do.
  assert share_of(prices, kept[1]) <= TARGET
  for i in range(1, SEARCH + 1):
    own = settled(states[i].params['gates'], prices, TARGET)
    jax.tree.map(np.testing.assert_array_equal, kept[i + 1], own)
    assert share_of(prices, kept[i + 1]) <= TARGET
  for later in kept[SEARCH + 1 :]:
    jax.tree.map(np.testing.assert_array_equal, later, kept[SEARCH + 1])
  last = states[SEARCH].params['gates'], states[STEPS].params['gates']
  assert all(jax.tree.leaves(jax.tree.map(lambda x, y: (x != y).any(), *last)))
  budgets = [metrics['budget'] > 0 for metrics in history]
  assert budgets == [i < SEARCH for i in range(STEPS)]


def test_a_search_does_not_depend_on_the_number_of_devices():
  states, _ = run('pmap', 2)
  expected, _ = run('jit', 1)
  for own, other in zip(states[2:], expected[2:], strict=True):
    jax.tree.map(
      np.testing.assert_array_equal,
      own.model_state['gates'],
      other.model_state['gates'],
    )


def test_the_budget_loss_is_the_distance_of_the_expected_share_to_the_target():
  states, history = run('jit', 1)
  prices = macs()
  for state, metrics in zip(states[:SEARCH], history, strict=False):
    probabilities = jax.tree.map(gates.probabilities, state.params['gates'])
    share = float(prices.share(probabilities))
    expected = 2.0 * abs(share - TARGET) / TARGET
    assert float(metrics['budget']) == pytest.approx(expected, rel=1e-5)


def test_after_the_search_there_is_no_noise_and_only_the_chosen_are_trained():
  task, batch = make(), batch_at(0)
  params, state = task.init(jax.random.key(1), batch)
  params['gates'] = {p: jnp.array([2.0, 1.0, 0.5, 0.2]) for p in LAYERS}

  @jax.jit
  def gradient(step, key):
    def total(params):
      terms, after = task.losses(params, {**state, 'step': step}, batch, key)
      return sum(term.mean() for term in terms.values()), after

    return jax.value_and_grad(total, has_aux=True)(params)

  keys = [jax.random.key(i) for i in range(4)]
  during = [gradient(0, key)[0][0] for key in keys]
  assert len({float(x) for x in during}) > 1
  after = [gradient(SEARCH, key) for key in keys]
  assert len({float(loss) for (loss, _), _ in after}) == 1
  (_, later), grads = after[0]
  assert not any(leaf.any() for leaf in jax.tree.leaves(grads['gates']))
  chosen = distilled().choose(delta_params(params, later))
  names = [each[0] for each in SPEC['candidates']]
  trained = 0
  for path, own in grads['students'].items():
    for name, leaves in own.items():
      moved = any(leaf.any() for leaf in jax.tree.leaves(leaves))
      is_chosen = name.startswith(names[chosen[path]])
      assert moved <= is_chosen
      trained += moved
  assert trained


def test_evaluation_takes_the_settled_choice_and_not_each_gates_own():
  task, batch = make(), batch_at(0)
  params, state = task.init(jax.random.key(1), batch)
  params['gates'] = {p: jnp.full(4, -9.0) for p in LAYERS}  # the layers as are
  run = jax.jit(task.evaluate)
  chosen = settled(params['gates'], macs(), TARGET)
  within = run(params, {**state, 'gates': chosen}, batch)
  free = {name: own for name, own in state.items() if name != 'gates'}
  expected = run({**params, 'gates': chosen}, free, batch)
  jax.tree.map(np.testing.assert_array_equal, within, expected)
  alone = run(params, free, batch)
  name = 'delta_2/confusion'
  np.testing.assert_array_equal(alone[name], alone['teacher/confusion'])
  assert (within[name] != alone[name]).any()
  watched = task.watch(params, {**state, 'gates': chosen, 'step': SEARCH})
  first = {f'gate/{p}': chosen[p][0] > 0 for p in LAYERS}
  assert watched == first


def measured(tmp_path, **changes):
  """A file of latencies, of which each layer takes its own time."""
  names = [c.name for c in delta_wing.make_spec(**SPEC).candidates]

  def entry(ms):
    return latency.Entry(ms, 1, 1)

  found = latency.Latencies(
    *('small', (1, 512, 1024, 3), 'float32', 'cpu', 'made up', 2),
    frame=20.0,
    teacher={p: entry(4.0 + i) for i, p in enumerate(LAYERS)},
    candidates={
      p: {n: entry((4.0 + i) * k / 4) for k, n in enumerate(names)}
      for i, p in enumerate(LAYERS)
    },
  )
  latency.write(tmp_path / 'latency.json', found._replace(**changes))
  return str(tmp_path / 'latency.json')


def test_a_target_of_time_includes_the_rest_of_the_frame(tmp_path):
  # 5 of 20 ms are no layer's: the layers have 0.6 * 20 - 5 = 7 of their 15.
  task = make(latency=measured(tmp_path), target=0.6)
  params, state = task.init(jax.random.key(1), batch_at(0))
  prices = [4.0 + i for i in range(3)]
  chosen = [int(gates.choose(state['gates'][p])) for p in LAYERS]
  paid = sum(k / 4 * ms for k, ms in zip(chosen, prices, strict=True))
  assert 0 < paid <= 7
  terms, _ = jax.jit(task.losses)(params, state, batch_at(0), jax.random.key(0))
  chances = gates.probabilities(jnp.full(4, -1.0))
  expected = sum(float(chances[k]) * k / 4 for k in range(5)) * 15 + 5
  budget = 2.0 * abs(expected / 20 - 0.6) / 0.6
  assert float(terms['budget']) == pytest.approx(budget, rel=1e-5)
  with pytest.raises(ValueError, match=r'cheapest choice costs 0.25 of it'):
    make(latency=measured(tmp_path), target=0.2).init(
      jax.random.key(1), batch_at(0)
    )


def test_time_without_a_target_is_the_budget_of_the_sampled_gates(tmp_path):
  file = measured(tmp_path)
  task = make(latency=file, target=None, search_steps=None)
  params, state = task.init(jax.random.key(1), batch_at(0))
  assert 'gates' not in state
  logits = {p: jnp.full(4, -99.0) for p in LAYERS}
  terms, _ = jax.jit(task.losses)(
    {**params, 'gates': logits}, state, batch_at(0), jax.random.key(0)
  )
  assert float(terms['budget']) == pytest.approx(2.0)


def test_latencies_of_another_network_or_spec_are_refused(tmp_path):
  file = measured(tmp_path, candidates={})
  with pytest.raises(ValueError, match="no layer or block 'conv1'"):
    make(latency=file).init(jax.random.key(0), batch_at(0))
  with pytest.raises(FileNotFoundError, match='deltax profile'):
    make(latency=str(tmp_path / 'nothing.json'))
  with pytest.raises(ValueError, match='give one'):
    make(latency=file, published_cost=True)
  with pytest.raises(ValueError, match='a target is a positive share, got 0'):
    make(target=0)


def config_of(folder, **task):
  return {
    'title': 'made up',
    'teacher': '',
    'task': {
      'name': 'segmentation',
      'model': 'small_for_search',
      'num_classes': CLASSES,
      'delta': {'spec': SPEC, **task},
    },
    'data': {
      'name': 'street',
      'options': {
        'worlds': (2, 2),
        'size': (32, 64),
        'frames': 4,
        'data_dir': str(folder / 'data'),
      },
      'train': {'split': 'train', 'train': True, 'batch_size': 4}
      | {'clip_length': 2, 'max_distance': 2},
      'evaluation': {'split': 'validation', 'train': False, 'batch_size': 1}
      | {'clip_length': None},
    },
    'optimizer': {
      'name': 'adamw',
      'learning_rate': 1e-3,
      'groups': (
        ('^teacher/', 'frozen'),
        ('^students/', {}),
        ('^gates/', {'learning_rate': 1e-2}),
      ),
    },
    'training': {
      'steps': 2,
      'seed': 0,
      'parallel': 'jit',
      'log_every': 1,
      'evaluate_every': 2,
      'checkpoint_every': 1,
      'best': 'delta_2/miou',
    },
  }


def test_a_run_that_starts_from_a_searched_one_has_its_settled_gates(tmp_path):
  params, state = make().init(jax.random.key(1), batch_at(0))
  params['gates'] = {p: jnp.full(4, 7.0) for p in LAYERS}
  with Checkpoints(tmp_path / 'run') as checkpoints:
    zero = jnp.zeros((), jnp.int32)
    checkpoints.save(TrainState(zero, params, state, (), jax.random.key(0)))
  config = config_of(tmp_path) | {'teacher': str(tmp_path / 'run')}
  task = experiment.build(config).task
  own, _ = task.init(jax.random.key(2), batch_at(0))
  jax.tree.map(np.testing.assert_array_equal, own['gates'], state['gates'])


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
  """A finished run whose gates chose within a target."""
  folder = tmp_path_factory.mktemp('searched')
  options = {'target': TARGET, 'search_steps': 1, 'intervals': (2,)}
  config = config_of(
    folder, **options, train_teacher=False, batch_statistics=False
  )
  experiment.train(config, folder / 'run')
  return folder / 'run'


def benchmark(name, monkeypatch, *arguments, **changes):
  """Calls one as a command, with other values of its constants."""
  monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
  main = runpy.run_path(str(ROOT / 'benchmarks' / name))['main']
  main.__globals__.update(changes)
  main()


def test_other_choices_within_the_same_limit_stand_beside_a_run(
  searched, tmp_path, monkeypatch, capsys
):
  out = tmp_path / 'found'
  arguments = '--run', searched, '--clips', 3, '--out', out
  small = {'POPULATION': 4, 'GENERATIONS': 1}
  benchmark('search.py', monkeypatch, *arguments, **small)
  lines = capsys.readouterr().out.splitlines()
  found = json.loads(out.read_text())
  assert list(found) == ['gradient', 'greedy', 'evolved']
  for name, own in found.items():
    assert set(own['choice']) == set(LAYERS)
    assert 0 < own['share'] <= TARGET
    assert any(line.startswith(f'{name}: delta_2/miou 0.') for line in lines)


def test_schedules_are_compared_on_a_finished_run(
  searched, tmp_path, monkeypatch
):
  out = tmp_path / 'found'
  benchmark(
    *('schedules.py', monkeypatch, '--run', searched, '--layers', 'conv1'),
    *('--intervals', 3, '--longest', 5, '--streams', 2, '--ticks', 4),
    *('--out', out),
  )
  found = json.loads(out.read_text())
  assert list(found) == [
    *('street', 'street, stop and go', 'street, cuts', 'streams')
  ]
  every, third, *_ = found['street']
  assert every['key_share'] == every['agreement'] == 1
  assert third['key_share'] < 1
  assert third['gmacs'] < every['gmacs']
  assert [row['phases'] for row in found['streams']] == ['at once', 'staggered']
