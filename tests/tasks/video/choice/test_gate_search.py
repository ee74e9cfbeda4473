"""The stages of a gate search alone: open, seen once more, settled."""

import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import gates
from deltax.tasks.video.choice.gate_search import GateSearch
from deltax.tasks.video.choice.prices import Prices

PRICES = Prices({'a': (8.0, 2.0), 'b': (8.0, 2.0)}, {'a': 8.0, 'b': 8.0})
LOGITS = {'a': jnp.array([2.0]), 'b': jnp.array([1.0])}
DRAWN = {'a': jnp.array([0.75, 0.25]), 'b': jnp.array([0.5, 0.5])}
KEPT = {'a': jnp.array([-100.0]), 'b': jnp.array([-100.0])}


def signs(logits):
  return {path: float(np.sign(own[0])) for path, own in logits.items()}


def test_without_steps_and_target_nothing_settles():
  search = GateSearch()
  assert not search.settles
  assert search.start(LOGITS, PRICES) == {}
  assert search.stage(9, DRAWN, LOGITS, {}, PRICES) == (DRAWN, {}, True)


def test_a_target_alone_settles_a_choice_beside_open_gates():
  search = GateSearch(target=0.7)
  assert signs(search.start(LOGITS, PRICES)) == {'a': 1, 'b': -1}
  stage = search.stage(9, DRAWN, LOGITS, KEPT, PRICES)
  assert stage.weights == DRAWN and stage.is_open is True
  assert signs(stage.chosen) == {'a': 1, 'b': -1}


@pytest.mark.parametrize(
  ('step', 'is_open', 'chosen'),
  [
    (1, True, {'a': 1, 'b': 1}),
    (2, False, {'a': 1, 'b': 1}),  # what the last update of the search left
    (3, False, {'a': -1, 'b': -1}),
  ],
)
def test_after_its_steps_the_choice_stays(step, is_open, chosen):
  search = GateSearch(steps=2)
  stage = search.stage(step, DRAWN, LOGITS, KEPT, PRICES)
  assert bool(stage.is_open) == is_open
  assert signs(stage.chosen) == chosen
  for path, weights in stage.weights.items():
    hard = [1.0, 0.0] if chosen[path] > 0 else [0.0, 1.0]
    np.testing.assert_allclose(weights, DRAWN[path] if is_open else hard)


def test_settled_gates_are_watched_in_place_of_logits_that_drift():
  search = GateSearch(steps=2)
  during, after = (search.watched(step, LOGITS, KEPT) for step in (1, 2))
  for path, own in LOGITS.items():
    assert during[f'gate/{path}'] == gates.probabilities(own)[0]
    assert after[f'gate/{path}'] < 1e-6
  assert set(during) == set(after) == {'gate/a', 'gate/b'}
