"""Optimizers against slow definitions in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deltax.training import learning_rates, make_optimizer, make_schedule

PARAMS = {
  'teacher': {'kernel': jnp.array([1.0, -2.0])},
  'students': {'a/b': {'kernel': jnp.array([0.5])}},
  'gates': {'g': jnp.array([3.0])},
}
GROUPS = (
  ('^teacher/', {'learning_rate': 1e-3}),
  ('^(students|gates)/', {'learning_rate': 1e-2, 'weight_decay': 0.1}),
)


def descend(optimizer, params, gradients):
  state = optimizer.init(params)
  for gradient in gradients:
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def same(actual, expected):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-6), actual, expected
  )


@pytest.mark.parametrize('nesterov', [False, True])
def test_sgd_is_momentum_on_the_decayed_gradient(nesterov):
  optimizer = make_optimizer(
    'sgd',
    learning_rate=0.1,
    steps=4,
    nesterov=nesterov,
    weight_decay=0.2,
  )
  gradients = [np.float32([1.0, 2.0]), np.float32([-3.0, 0.5])] * 2
  params, _ = descend(optimizer, jnp.array([1.0, -2.0]), gradients)
  expected, buffer = np.array([1.0, -2.0]), 0
  for step, gradient in enumerate(gradients):
    gradient = gradient + 0.2 * expected
    buffer = 0.9 * buffer + gradient
    move = gradient + 0.9 * buffer if nesterov else buffer
    expected = expected - 0.1 * (1 - max(step - 1, 0) / 4) ** 0.9 * move
  same(params, expected)


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_adam_decays_through_its_moments_and_adamw_beside_them(name):
  optimizer = make_optimizer(
    name, learning_rate=0.1, steps=3, schedule='constant', weight_decay=0.2
  )
  gradients = [np.float32([1.0, 2.0]), np.float32([-3.0, 0.5])]
  params, _ = descend(optimizer, jnp.array([1.0, -2.0]), gradients)
  x, m, v = np.array([1.0, -2.0]), 0, 0
  for step, g in enumerate(gradients, 1):
    if name == 'adam':
      g = g + 0.2 * x
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    move = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    x = x - 0.1 * (move + 0.2 * x * (name == 'adamw'))
  np.testing.assert_allclose(params, x, rtol=1e-5)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('poly', [1.0, 1.0, (3 / 4) ** 0.9, (2 / 4) ** 0.9]),
    ('cosine', [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
    ('constant', [1.0, 1.0, 1.0, 1.0]),
  ],
)
def test_schedules_follow_their_formula(name, expected):
  rate = make_schedule(name, 2.0, 4)
  same([rate(jnp.int32(s)) for s in range(4)], [2.0 * x for x in expected])
  warm = make_schedule(name, 2.0, 4, warmup_steps=2)
  rising = [0.5, 1.0, 1.0, 1.0]
  same(
    [warm(jnp.int32(s)) for s in range(4)],
    [2.0 * x * r for x, r in zip(expected, rising, strict=True)],
  )


def test_each_group_has_its_own_rate_and_decay():
  optimizer = make_optimizer(learning_rate=9.0, steps=10, groups=GROUPS)
  gradient = jax.tree.map(jnp.ones_like, PARAMS)
  params, state = descend(optimizer, PARAMS, [gradient])
  same(params['teacher']['kernel'], [1 - 1e-3, -2 - 1e-3])
  same(params['students']['a/b']['kernel'], [0.5 - 1e-2 * (1 + 0.05)])
  same(params['gates']['g'], [3 - 1e-2 * (1 + 0.3)])
  same(
    learning_rates(state),
    {'learning_rate/teacher': 1e-3, 'learning_rate/students_gates': 1e-2},
  )


def test_the_first_matching_group_counts():
  optimizer = make_optimizer(
    learning_rate=1.0,
    steps=10,
    groups=(('gates', {'learning_rate': 0.5}), ('', {})),
  )
  params, state = descend(
    optimizer, PARAMS, [jax.tree.map(jnp.ones_like, PARAMS)]
  )
  same(params['gates']['g'], [2.5])
  same(params['teacher']['kernel'], [0.0, -3.0])
  same(
    learning_rates(state),
    {'learning_rate/gates': 0.5, 'learning_rate': 1.0},
  )


def test_whatever_is_left_may_be_nothing():
  optimizer = make_optimizer(
    learning_rate=1.0,
    steps=10,
    clip_norm=1.0,
    groups=(('^teacher/', 'frozen'), ('', {})),
  )
  teacher = {'teacher': PARAMS['teacher']}
  params, _ = descend(
    optimizer, teacher, [jax.tree.map(jnp.ones_like, teacher)]
  )
  same(params, teacher)


def test_a_frozen_group_stays_and_does_not_count_in_the_clipped_norm():
  optimizer = make_optimizer(
    learning_rate=1.0,
    steps=10,
    weight_decay=0.5,
    clip_norm=1.0,
    groups=(
      ('^teacher/', 'frozen'),
      ('', {'weight_decay': 0.0}),
    ),
  )
  gradient = {
    'teacher': {'kernel': jnp.array([1e6, 1e6])},
    'students': {'a/b': {'kernel': jnp.array([3.0])}},
    'gates': {'g': jnp.array([4.0])},
  }
  params, _ = descend(optimizer, PARAMS, [gradient])
  same(params['teacher'], PARAMS['teacher'])
  same(params['students']['a/b']['kernel'], [0.5 - 3 / 5])
  same(params['gates']['g'], [3 - 4 / 5])


@pytest.mark.parametrize(
  ('groups', 'said'),
  [
    ((('^teacher/', {}),), "no parameter group matches 'gates/g', 'students/"),
    ((('', {}), ('^tutor', {})), r"match no parameter: '\^tutor'; parameters"),
    ((('', {'lr': 1.0}),), "unknown 'lr'; known: 'learning_rate', 'weight_d"),
  ],
)
def test_a_group_that_cannot_be_meant_is_an_error_with_names(groups, said):
  with pytest.raises(ValueError, match=said):
    make_optimizer(learning_rate=1.0, steps=1, groups=groups).init(PARAMS)


def test_unknown_names_list_the_known_ones():
  with pytest.raises(ValueError, match="'lion'; known: 'adam', 'adamw', 'sgd'"):
    make_optimizer('lion', learning_rate=1.0, steps=1)
  with pytest.raises(ValueError, match="known: 'constant', 'cosine', 'poly'"):
    make_optimizer(learning_rate=1.0, steps=1, schedule='step')


@pytest.mark.parametrize('groups', [(1,), ('abc',), (('', {}, 3),), ((),)])
def test_groups_are_pairs(groups):
  with pytest.raises(ValueError, match='expected pairs of a pattern and what'):
    make_optimizer(learning_rate=1.0, steps=1, groups=groups)
