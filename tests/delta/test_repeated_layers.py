"""Layers that are called several times a frame, as the heads of a pyramid."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deltax.delta import Full, LowRank, Spec, distill, losses
from deltax.layers import BatchNorm, conv2d, max_pool


class Pyramid(nn.Module):
  """A head on two levels, each with a batch norm of its own."""

  @nn.compact
  def __call__(self, frames, train=False):
    def norm(name):
      return BatchNorm(use_running_average=not train, name=name)

    x = nn.relu(conv2d(8, 3, 2, same=True, bias=True, name='stem')(frames))
    x = conv2d(8, 3, 2, same=True, name='down')(x)
    levels = [x, max_pool(x)]
    head = conv2d(6, 1, bias=True, name='head')
    levels = [norm(f'norm_{i}')(head(x)) for i, x in enumerate(levels)]
    last = conv2d(3, 1, bias=True, name='last')
    outs = [last(nn.silu(x)) for x in levels]
    flat = jnp.concatenate([x.reshape(len(x), -1, 3) for x in outs], 1)
    return {'outs': flat, 'means': [x.mean((1, 2)) for x in levels]}


class NnxPyramid(nnx.Module):
  """The same in nnx, for evaluation: 'SAME' pads as TensorFlow does."""

  def __init__(self, rngs):
    self.stem = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
    self.down = nnx.Conv(8, 8, (3, 3), strides=2, use_bias=False, rngs=rngs)
    self.head = nnx.Conv(8, 6, (1, 1), rngs=rngs)
    self.norm_0 = nnx.BatchNorm(6, rngs=rngs)
    self.norm_1 = nnx.BatchNorm(6, rngs=rngs)
    self.last = nnx.Conv(6, 3, (1, 1), rngs=rngs)

  def __call__(self, frames):
    x = self.down(nnx.relu(self.stem(frames)))
    levels = zip((self.norm_0, self.norm_1), (x, max_pool(x)), strict=True)
    levels = [norm(self.head(x)) for norm, x in levels]
    outs = [self.last(nnx.silu(x)) for x in levels]
    flat = jnp.concatenate([x.reshape(len(x), -1, 3) for x in outs], 1)
    return {'outs': flat, 'means': [x.mean((1, 2)) for x in levels]}


def noise(tree):
  """Every array replaced by noise between 0.5 and 1.5."""
  leaves, structure = jax.tree.flatten(tree)
  draw = np.random.default_rng(0)
  noisy = [jnp.float32(draw.uniform(0.5, 1.5, x.shape)) for x in leaves]
  return jax.tree.unflatten(structure, noisy)


@pytest.fixture(scope='module', params=['linen', 'nnx'])
def case(request):
  clip = jax.random.normal(jax.random.key(0), (2, 5, 16, 24, 3))
  shapes = jax.eval_shape(Pyramid().init, jax.random.key(0), clip[:, 0])
  net = Pyramid() if request.param == 'linen' else NnxPyramid(nnx.Rngs(0))
  delta = distill(net, Spec(lambda layers: layers[1:], (Full(), LowRank(2))))
  # The names are the same in both.
  params = delta.init(jax.random.key(1), noise(shapes), clip[:, 0])
  params['students'] = noise(params['students'])
  return delta, params, clip


def test_every_form_of_the_network_agrees(case):
  delta, params, clip = case
  frozen = delta.freeze(params, clip[:, 0])
  outs = jax.jit(lambda: delta.clip(params, clip, interval=3)[0])()
  rolled = jax.jit(lambda: delta.rollout(params, clip, 3))()
  deployed = jax.jit(lambda: frozen.rollout(frozen.params, clip, 3))()
  assert outs['outs'].shape == (2, 5, 4 * 6 + 2 * 3, 3)
  for other in (rolled, deployed):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4), outs, other
    )


def test_no_norm_is_folded_into_a_convolution_that_others_read_too(case):
  delta, params, clip = case
  frozen = delta.freeze(params, clip[:, 0])
  assert set(frozen.params['variables']['batch_stats']) == {'norm_0', 'norm_1'}


def test_every_call_has_its_place_in_the_distillation_loss(case):
  delta, params, clip = case
  predicted = delta.clip(params, clip)[1].deltas
  target = delta.reference(params, clip)[1]
  errors = losses.distillation(predicted, target)
  assert set(errors) == {'down', 'head', 'head:1', 'last', 'last:1'}
  last = losses.last_calls(errors)
  assert set(last) == {'down', 'head', 'last'}
  assert last['down'] is errors['down'] and last['head'] is errors['head:1']
