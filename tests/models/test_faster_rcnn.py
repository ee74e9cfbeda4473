import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.convert import published_spec
from deltax.delta import Delta, distill, make_spec

SPEC = make_spec(**published_spec('faster_rcnn_r101_dc5'))
BOXES = jnp.array([[[3.0, 5, 40, 30], [0, 0, 64, 48], [60, 40, 90, 70]]])


@dataclasses.dataclass
class Case:
  net: Any
  delta: Delta
  params: Any
  clip: jax.Array
  rolled: dict[str, jax.Array]


@pytest.fixture(scope='module')
def case():
  """The tiny network; students that are not its own convolutions."""
  net = models.create('faster_rcnn_tiny', num_classes=5)
  keys = jax.random.split(jax.random.key(0), 3)
  clip = jax.random.normal(keys[0], (1, 3, 48, 64, 3))
  variables = jax.jit(net.init)(keys[1], clip[:, 0])
  delta = distill(net, SPEC)
  params = jax.jit(delta.init)(keys[2], variables, clip[:, 0])
  params['students'] = jax.tree.map(lambda x: 0.9 * x, params['students'])
  gates = params['gates']
  for i, path in enumerate(gates):
    gates[path] = jnp.full_like(gates[path], 1.0 if i % 2 else -1.0)
  rolled = jax.jit(delta.rollout)(params, clip, 3)
  return Case(net, delta, params, clip, rolled)


def test_outputs_are_on_one_map_of_a_sixteenth(case):
  frames = jnp.zeros((2, 50, 65, 3))
  outs = jax.eval_shape(case.net.apply, case.params['teacher'], frames)
  shapes = {name: array.shape for name, array in outs.items()}
  assert shapes == {
    'features': (2, 4, 5, 32),
    'objectness': (2, 4, 5, 12),
    'codes': (2, 4, 5, 48),
  }


def heads(case, variables, features, boxes):
  return case.net.apply(variables, features, boxes, method='heads')


def test_heads_score_every_box(case):
  features = jax.random.normal(jax.random.key(1), (1, 3, 4, 32))
  both = jnp.concatenate([BOXES, BOXES[:, ::-1]], 1)
  scores, codes = heads(case, case.params['teacher'], features, both)
  assert scores.shape == (1, 6, 6) and codes.shape == (1, 6, 20)
  for array in (scores, codes):
    np.testing.assert_allclose(array[:, :3], array[:, 5:2:-1], atol=1e-5)
    assert jnp.abs(array[:, 0] - array[:, 2]).max() > 1e-4


def test_training_changes_no_statistics(case):
  variables = case.params['teacher']

  @jax.jit
  def train(frames):
    return case.net.apply(
      variables, frames, train=True, mutable=['batch_stats']
    )

  outs, updates = train(case.clip[:, 0])
  for name, array in outs.items():
    np.testing.assert_allclose(array, case.rolled[name][:, 0], atol=1e-5)
  jax.tree.map(
    np.testing.assert_array_equal,
    updates['batch_stats'],
    variables['batch_stats'],
  )


def test_the_loss_of_heads_trains_the_backbone(case):
  variables = case.params['teacher']

  @jax.jit
  @jax.grad
  def gradient(params):
    own = {**variables, 'params': params}
    features = case.net.apply(own, case.clip[:, 0])['features']
    scores, _ = heads(case, own, features, BOXES)
    return jnp.square(scores).sum()

  found = gradient(variables['params'])
  assert jnp.abs(found['backbone']['layer1_0']['conv1']['kernel']).max() > 0
  assert jnp.abs(found['backbone']['conv1']['kernel']).max() == 0


def test_the_delta_network_steps_as_it_rolls(case):
  delta, params, clip = case.delta, case.params, case.clip
  ends = {'backbone/conv1', 'rpn_head/rpn_cls', 'rpn_head/rpn_reg'}
  assert not ends & set(params['students'])
  carry, out = jax.jit(delta.keyframe)(params, clip[:, 0])
  outs, step = [out], jax.jit(delta.step)
  for t in (1, 2):
    carry, out = step(params, carry, clip[:, t])
    outs.append(out)
  outs = jax.tree.map(lambda *x: jnp.stack(x, 1), *outs)
  for name, array in outs.items():
    rolled = case.rolled[name]
    np.testing.assert_allclose(rolled, array, atol=1e-5, err_msg=name)
    assert jnp.abs(array[:, 1] - array[:, 0]).max() > 1e-4


def test_the_frozen_form_gives_the_same_outputs_and_keeps_the_heads(case):
  frozen = case.delta.freeze(case.params)
  rolled = jax.jit(frozen.rollout)(frozen.params, case.clip, 3)
  for name, array in case.rolled.items():
    np.testing.assert_allclose(rolled[name], array, atol=1e-5, err_msg=name)
  features = case.rolled['features'][:, 2]
  found = heads(case, frozen.params['variables'], features, BOXES)
  expected = heads(case, case.params['teacher'], features, BOXES)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
