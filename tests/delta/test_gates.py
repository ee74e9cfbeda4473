"""Gates: samples, gradients, choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import gates


def test_two_candidates_are_the_published_sigmoid_gate():
  noise, tau = jnp.array([0.3, -0.4]), 2 / 3
  for bias in (-1.5, -0.6, 0.2):
    logits = jnp.array([bias])
    value, slope = jax.value_and_grad(
      lambda logits: gates.relax(logits, noise, tau)[0]
    )(logits)
    soft = jax.nn.sigmoid((bias + noise[0] - noise[1]) / tau)
    assert value == (soft >= 0.5)
    np.testing.assert_allclose(slope[0], soft * (1 - soft) / tau, rtol=1e-5)


def test_a_sample_is_exactly_one_of_the_candidates():
  logits = {'a': jnp.array([-1.0]), 'b': jnp.array([0.5, 0.1, -2.0])}
  sample = gates.sample(jax.random.key(0), logits, 2 / 3)
  for path, values in sample.items():
    assert values.shape == (logits[path].size + 1,)
    assert sorted(values.tolist()) == [0.0] * logits[path].size + [1.0]


def test_candidates_are_drawn_as_often_as_their_probability():
  logits = jnp.array([-1.0, 0.5])
  keys = jax.random.split(jax.random.key(1), 4000)
  draws = jax.vmap(lambda k: gates.relax(logits, gates.gumbel(k, 3), 2 / 3))(
    keys
  )
  np.testing.assert_allclose(
    draws.mean(0), gates.probabilities(logits), atol=0.03
  )


def test_the_same_key_gives_the_same_gates_whatever_the_order():
  logits = {'a': jnp.zeros(1), 'b': jnp.zeros(1), 'c': jnp.zeros(1)}
  backwards = dict(reversed(logits.items()))
  key = jax.random.key(4)
  first = gates.sample(key, logits, 1.0)
  again = jax.tree.map(lambda x: x, gates.sample(key, backwards, 1.0))
  jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize(
  ('logits', 'choice'),
  [([0.1], 0), ([0.0], 1), ([-0.1], 1), ([0.2, 0.3], 1), ([-1.0, -2.0], 2)],
)
def test_the_largest_logit_is_chosen_and_the_last_of_equals(logits, choice):
  assert gates.choose(jnp.array(logits)) == choice
