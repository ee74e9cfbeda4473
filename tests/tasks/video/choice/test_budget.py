"""What candidates cost, and the two forms of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import delta as delta_wing
from deltax import models
from deltax.delta.search.latency import Entry, Latencies
from deltax.tasks.video.choice.budget import Budget
from deltax.tasks.video.choice.prices import Prices

PRICES = Prices({'a': (8.0, 2.0), 'b': (4.0, 1.0)}, {'a': 8.0, 'b': 4.0}, 4.0)
SPEC = delta_wing.make_spec(candidates=(('full',), ('low_rank', 2, 'out')))


@pytest.fixture(scope='module')
def network():
  net = models.create('ddrnet23_tiny', num_classes=3)
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  teacher = jax.eval_shape(net.init, jax.random.key(0), frame)
  return delta_wing.distill(net, SPEC), teacher, frame


def test_without_a_target_the_loss_is_the_share_as_drawn():
  weights = {'a': jnp.array([0.0, 1.0]), 'b': jnp.array([1.0, 0.0])}
  loss = Budget(0.5).loss(PRICES, weights, {})
  assert float(loss) == pytest.approx(0.5 * (2 + 4) / (8 + 4))


def test_with_a_target_it_is_the_distance_of_the_expected_share():
  logits = {'a': jnp.array([0.0]), 'b': jnp.array([0.0])}  # either, half of it
  share = (5 + 2.5 + 4) / 16
  for target in (0.5, 0.9):
    loss = Budget(2.0, target=target).loss(PRICES, {}, logits)
    assert float(loss) == pytest.approx(2 * abs(share / target - 1))


def test_only_full_copies_have_the_published_price(network):
  delta, teacher, frame = network
  own = Budget().prices(delta, teacher, frame)
  published = Budget(published_cost=True).prices(delta, teacher, frame)
  assert published.teacher == own.teacher
  for path, costs in published.candidates.items():
    assert costs == (own.teacher[path], 0)
    assert own.candidates[path][1] > 0


def test_costs_that_are_given_are_the_prices_of_full_copies(network):
  delta, teacher, frame = network
  paths = Budget().prices(delta, teacher, frame).teacher
  costs = {path: float(i) for i, path in enumerate(paths)}
  prices = Budget(costs=costs).prices(delta, teacher, frame)
  assert prices.teacher == costs
  assert prices.candidates == {path: (cost, 0) for path, cost in costs.items()}


def test_options_that_contradict_each_other_are_refused():
  latencies = Latencies(
    *('small', (1, 8, 8, 3), 'float32', 'cpu', 'any', 2, 20.0),
    teacher={'a': Entry(1.0, 1, 1)},
    candidates={},
  )
  for other in ({'published_cost': True}, {'costs': {'a': 1.0}}):
    with pytest.raises(ValueError, match='give one'):
      Budget(latencies=latencies, **other)
  for target in (0, -1, np.nan):
    with pytest.raises(ValueError, match='a target is a positive share'):
      Budget(target=target)
