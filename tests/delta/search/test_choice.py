"""Choices within a budget against all choices there are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.delta import Full, LowRank, Spec, distill, gates
from deltax.delta.search.choice import evolve, settle, total, within
from deltax.delta.search.sensitivity import errors


def tables(seed, layers=6):
  """Values and costs of a few layers with one to four candidates."""
  draw = np.random.default_rng(seed)
  sizes = {f'layer{i}': draw.integers(1, 5) for i in range(layers)}
  # Small whole numbers, so that many are equal.
  values = {p: tuple(draw.integers(-5, 6, n) / 2) for p, n in sizes.items()}
  costs = {p: tuple(draw.integers(0, 20, n).tolist()) for p, n in sizes.items()}
  return values, costs


def every_choice(costs):
  for indices in itertools.product(*(range(len(c)) for c in costs.values())):
    yield dict(zip(costs, indices, strict=True))


def limits(costs):
  least = sum(map(min, costs.values()))
  most = sum(map(max, costs.values()))
  return [least + share * (most - least) for share in (0, 0.1, 0.35, 0.6, 1)]


@pytest.mark.parametrize('seed', range(20))
def test_a_choice_is_within_one_layer_of_the_best(seed):
  values, costs = tables(seed)
  one_layer = max(max(own) - min(own) for own in values.values())
  exact = 0
  for limit in limits(costs):
    chosen = within(values, costs, limit)
    assert total(costs, chosen) <= limit
    best = max(
      total(values, each)
      for each in every_choice(costs)
      if total(costs, each) <= limit
    )
    found = total(values, chosen)
    assert best - one_layer <= found <= best
    exact += found == best
    # What is left of the limit is too little for any gain.
    for path, own in costs.items():
      for index in range(len(own)):
        other = {**chosen, path: index}
        if total(costs, other) <= limit:
          assert total(values, other) <= found
  assert exact >= 2  # without a limit, and at the lowest


def test_a_choice_is_nearly_always_the_best():
  ratios = []
  for seed in range(40):
    draw = np.random.default_rng(seed)
    values = {i: draw.random(3) for i in 'abcdefg'}
    costs = {i: draw.random(3) for i in values}
    limit = limits(costs)[2]
    best = max(
      total(values, each)
      for each in every_choice(costs)
      if total(costs, each) <= limit
    )
    ratios.append(total(values, within(values, costs, limit)) / best)
  assert np.mean(ratios) > 0.97


def test_without_a_limit_the_most_valuable_is_chosen():
  values = {'a': (1.0, 3.0, 2.0), 'b': (0.5, 0.5)}
  costs = {'a': (1, 5, 9), 'b': (4, 2)}
  assert within(values, costs, 1e9) == {'a': 1, 'b': 1}
  assert within(values, costs, np.inf) == {'a': 1, 'b': 1}


def test_the_unit_of_costs_and_values_does_not_matter():
  values, costs = tables(3, layers=12)
  limit = limits(costs)[2] + 0.5
  chosen = within(values, costs, limit)
  for unit in (1e-6, 1e9):
    scaled = {p: tuple(unit * c for c in own) for p, own in costs.items()}
    assert within(values, scaled, unit * limit) == chosen
    scaled = {p: tuple(unit * v for v in own) for p, own in values.items()}
    assert within(scaled, costs, limit) == chosen


def test_a_limit_out_of_reach_is_refused():
  costs = {'a': (8, 3), 'b': (5, 4)}
  message = r'cheapest choice costs 7, 1\.5 more than the limit of 5\.5'
  with pytest.raises(ValueError, match=message):
    within({'a': (1, 0), 'b': (1, 0)}, costs, 5.5)
  with pytest.raises(ValueError, match=message):
    evolve(lambda choices: [0.0] * len(choices), costs, 5.5)


@pytest.mark.parametrize(
  ('values', 'costs'),
  [
    ({'a': (1, 2)}, {'b': (1, 2)}),
    ({'a': (1, 2)}, {'a': (1, 2, 3)}),
    ({'a': (1, 2)}, {'a': (1, 2), 'b': (1,)}),
    ({'a': (1, 2), 'b': (1,)}, {'a': (1, 2)}),
  ],
)
def test_tables_of_other_layers_are_refused(values, costs):
  with pytest.raises(ValueError, match=r"'[ab]' has . candidates with values"):
    within(values, costs, 100)
  logits = {path: jnp.zeros(len(own) - 1) for path, own in values.items()}
  with pytest.raises(ValueError, match=r"'[ab]' has . candidates with values"):
    settle(logits, costs, 100)


def test_no_layers_have_one_choice():
  assert within({}, {}, 1.0) == {}
  assert settle({}, {}, 1.0) == {}


def prices(name, size, spec):
  net = models.create(name, num_classes=19)
  frame = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  delta = distill(net, spec)
  params = {'teacher': variables}
  return delta.costs(params, frame)


@pytest.mark.parametrize('share', [0.35, 0.5, 0.8])
def test_a_target_of_a_real_network_is_reached_within_5_percent(share):
  costs, teacher = prices(
    'ddrnet23_slim', (512, 1024), Spec(candidates=(Full(), LowRank(4)))
  )
  limit = share * sum(teacher.values())
  settled = jax.jit(lambda logits: settle(logits, costs, limit))
  for seed in range(5):
    keys = jax.random.split(jax.random.key(seed), len(costs))
    logits = {
      path: jax.random.normal(key, (1,)) + 3.0
      for key, path in zip(keys, costs, strict=True)
    }
    values = {
      path: np.log(gates.probabilities(own)) for path, own in logits.items()
    }
    found = total(costs, within(values, costs, limit))
    assert 0.95 * limit <= found <= limit
    hard = settled(logits)
    found = total(costs, {path: int(w.argmax()) for path, w in hard.items()})
    assert 0.95 * limit <= found <= limit * (1 + 1e-6)


@pytest.mark.parametrize('seed', range(4))
def test_gates_settle_as_their_probabilities_are_chosen(seed):
  draw = np.random.default_rng(seed)
  sizes = {f'layer{i}': int(draw.integers(1, 5)) for i in range(12)}
  costs = {p: tuple(draw.uniform(1e6, 9e8, n)) for p, n in sizes.items()}
  logits = {p: jnp.float32(draw.normal(size=n - 1)) for p, n in sizes.items()}
  values = {p: np.log(gates.probabilities(x)) for p, x in logits.items()}
  settled = jax.jit(lambda limit: settle(logits, costs, limit))
  for limit in limits(costs)[1:]:
    hard = settled(limit)
    for path, weights in hard.items():
      assert weights.shape == (sizes[path],)
      assert sorted(weights.tolist()) == [*[0.0] * (sizes[path] - 1), 1.0]
    found = {path: int(weights.argmax()) for path, weights in hard.items()}
    assert found == within(values, costs, limit)


@pytest.mark.parametrize('seed', range(4))
def test_what_is_left_of_a_limit_is_spent_until_nothing_dearer_fits(seed):
  draw = np.random.default_rng(seed)
  sizes = {f'layer{i}': int(draw.integers(2, 5)) for i in range(12)}
  costs = {p: tuple(draw.uniform(1, 9, n)) for p, n in sizes.items()}
  logits = {p: jnp.float32(draw.normal(size=n - 1)) for p, n in sizes.items()}
  limit = limits(costs)[3]

  def chosen(**options):
    hard = settle(logits, costs, limit, **options)
    return {path: int(w.argmax()) for path, w in hard.items()}

  spent = chosen(spend=True)
  paid = total(costs, spent)
  assert total(costs, chosen()) <= paid <= limit * (1 + 1e-6)
  for path, index in spent.items():
    dearer = [c - costs[path][index] for c in costs[path]]
    assert all(extra > limit - paid for extra in dearer if extra > 1e-4)


def test_gates_within_the_limit_choose_as_ever():
  logits = {'a': jnp.array([0.0]), 'b': jnp.array([1.0]), 'c': jnp.zeros(2)}
  costs = {'a': (1, 2), 'b': (3, 1), 'c': (1, 2, 3)}
  hard = settle(logits, costs, 8.1)
  assert {p: int(w.argmax()) for p, w in hard.items()} == {
    p: int(gates.choose(own)) for p, own in logits.items()
  }


def test_gates_beyond_reach_are_the_cheapest():
  logits = {'a': jnp.array([9.0]), 'b': jnp.array([9.0, 3.0])}
  hard = settle(logits, {'a': (4, 2), 'b': (8, 1, 3)}, 1.0)
  assert {p: int(w.argmax()) for p, w in hard.items()} == {'a': 1, 'b': 1}


def test_no_gradient_flows_through_settled_gates():
  costs = {'a': (4, 2), 'b': (8, 1)}

  def loss(logits):
    hard = settle(logits, costs, 9.0)
    return sum(w @ jnp.array([1.0, 2.0]) for w in hard.values())

  gradients = jax.grad(loss)({'a': jnp.array([1.0]), 'b': jnp.array([0.5])})
  assert all(float(g[0]) == 0.0 for g in gradients.values())


def test_evolution_finds_the_best_of_a_small_problem():
  values, costs = tables(1)
  limit = limits(costs)[2]
  asked = []

  def score(choices):
    asked.extend(tuple(each.items()) for each in choices)
    return [total(values, each) for each in choices]

  found = evolve(score, costs, limit, population=24, generations=25)
  best = max(
    total(values, each)
    for each in every_choice(costs)
    if total(costs, each) <= limit
  )
  assert total(values, found) == best
  assert all(total(costs, dict(each)) <= limit for each in asked)
  assert len(set(asked)) == len(asked)


def test_evolution_is_the_same_for_a_seed():
  values, costs = tables(2, layers=20)
  limit = limits(costs)[1]

  def found(seed):
    seen = []

    def score(choices):
      seen.extend(tuple(each.items()) for each in choices)
      return [total(values, each) for each in choices]

    best = evolve(score, costs, limit, seed=seed, population=8, generations=4)
    return best, seen

  assert found(0) == found(0)
  assert found(0)[1] != found(1)[1]


def test_evolution_of_a_single_choice_ends():
  costs = {'a': (1,), 'b': (2,)}
  assert evolve(lambda c: [1.0] * len(c), costs, 3.0) == {'a': 0, 'b': 0}
  with pytest.raises(ValueError, match='two or more, got 1'):
    evolve(lambda c: [1.0] * len(c), costs, 3.0, population=1)


@pytest.mark.parametrize('reference', ['key', 'previous'])
def test_errors_are_those_of_each_candidate_alone(reference, make_case):
  def candidates(layer):
    only = layer.path == 'wide'
    return (Full(),) if only else (Full(), LowRank(2), LowRank(6))

  case = make_case(
    Spec(lambda x: x[1:], candidates, reference=reference), frames=3
  )
  found = errors(case.delta, case.params, case.clip)
  assert {p: len(own) for p, own in found.items()} == {
    p: len(own) for p, own in case.params['students'].items()
  }
  _, target = case.delta.reference(case.params, case.clip)
  for index in range(3):
    weights = {p: jnp.eye(3)[index] for p in case.params['gates']}
    _, aux = case.delta.clip(case.params, case.clip, gates=weights)
    calls = {}
    for name in target:
      calls.setdefault(name.partition(':')[0], []).append(name)
    for path, names in calls.items():
      if index >= len(found[path]):
        continue
      missed = sum(np.square(aux.deltas[n] - target[n]).sum() for n in names)
      energy = sum(np.square(target[n]).sum() for n in names)
      np.testing.assert_allclose(found[path][index], missed / energy, rtol=1e-4)
  assert any(':' in name for name in target)


def test_students_equal_to_the_teacher_miss_nothing(make_case):
  case = make_case(Spec(lambda x: x[1:], (LowRank(2), Full())), frames=3)
  teacher = case.params['teacher']['params']
  for path, own in case.params['students'].items():
    own['full'] = {'kernel': teacher[path]['kernel']}
  found = errors(case.delta, case.params, case.clip)
  for share in found.values():
    assert share[1] < 1e-9 < share[0]
  values = {path: -share for path, share in found.items()}
  costs, own = case.delta.costs(case.params, case.clip[:, 0])
  assert set(within(values, costs, sum(own.values())).values()) == {1}


def test_a_layer_within_a_span_has_no_error_of_its_own(make_case):
  case = make_case(Spec(spans=(('down', 'wide'),)), frames=2)
  found = errors(case.delta, case.params, case.clip)
  assert set(found) == set(case.params['students'])
  assert found['down'].tolist() == [0.0] and found['down-wide'][0] > 0
  costs, _ = case.delta.costs(case.params, case.clip[:, 0])
  within({path: -share for path, share in found.items()}, costs, 1e9)


def test_errors_need_a_later_frame(make_case):
  case = make_case(frames=1)
  with pytest.raises(ValueError, match='has no later frame to compare'):
    errors(case.delta, case.params, case.clip)
