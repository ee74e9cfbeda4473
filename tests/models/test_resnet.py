import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import delta, models
from deltax.models.resnet import ResNet

FRAME = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
TINY = functools.partial(ResNet, blocks=(1, 1, 1, 1), planes=4)


def shapes_of(net):
  return jax.eval_shape(net.init, jax.random.key(0), FRAME)


# Parameters of torchvision's networks; its GFLOPS leave biases out.
@pytest.mark.parametrize(
  ('name', 'parameters', 'gmacs'),
  [('resnet50', 25_557_032, 4.089), ('resnet101', 44_549_160, 7.801)],
)
def test_sizes_and_costs_are_the_published_ones(name, parameters, gmacs):
  net = models.create(name, num_classes=1000)
  shapes = shapes_of(net)
  found = sum(x.size for x in jax.tree.leaves(shapes['params']))
  assert found == parameters
  cost = delta.count(net, shapes, FRAME).key / 1e9
  np.testing.assert_allclose(cost, gmacs, rtol=1e-3)


def test_modules_have_the_names_of_checkpoints():
  params = shapes_of(models.create('resnet50', num_classes=7))['params']
  names = {'conv1', 'bn1', 'fc'}
  for stage, blocks in enumerate((3, 4, 6, 3), start=1):
    names |= {f'layer{stage}_{i}' for i in range(blocks)}
  assert set(params) == names
  first = {f'{kind}{i}' for kind in ('conv', 'bn') for i in (1, 2, 3)}
  assert set(params['layer4_1']) == first
  assert set(params['layer4_0']) == first | {'downsample_0', 'downsample_1'}


def test_a_stage_halves_the_size_or_dilates():
  def sizes(**options):
    net = ResNet(blocks=(1, 1, 1, 1), **options)
    return [
      x.shape[1:] for x in jax.eval_shape(net.apply, shapes_of(net), FRAME)
    ]

  assert sizes() == [
    (56, 56, 256),
    (28, 28, 512),
    (14, 14, 1024),
    (7, 7, 2048),
  ]
  dilated = sizes(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
  assert dilated[3] == (14, 14, 2048)


@pytest.fixture(scope='module')
def frames():
  return jax.random.normal(jax.random.key(1), (2, 48, 56, 3))


@pytest.fixture(scope='module')
def variables(frames):
  return jax.jit(TINY(num_classes=3).init)(jax.random.key(0), frames)


def test_one_set_of_variables_serves_both_forms(variables, frames):
  scores = jax.jit(TINY(num_classes=3).apply)(variables, frames)
  stages = jax.jit(TINY().apply)(variables, frames)
  last = stages[-1].mean((1, 2)) @ variables['params']['fc']['kernel']
  np.testing.assert_allclose(scores, last, atol=1e-5)


def test_statistics_move_unless_they_are_frozen(variables, frames):
  @functools.partial(jax.jit, static_argnums=0)
  def moved(net):
    _, updates = net.apply(
      variables, frames, train=True, mutable=['batch_stats']
    )
    old, new = variables['batch_stats'], updates['batch_stats']
    changes = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), old, new)
    return jnp.stack(jax.tree.leaves(changes))

  assert (moved(TINY()) > 1e-3).any()
  assert (moved(TINY(frozen_norm=True)) == 0).all()


def test_no_gradient_reaches_a_frozen_stem(variables, frames):
  @functools.partial(jax.jit, static_argnums=0)
  @functools.partial(jax.grad, argnums=1)
  def gradient(net, params):
    return net.apply({**variables, 'params': params}, frames)[-1].sum()

  def largest(tree):
    return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))

  params = variables['params']
  free, frozen = (gradient(TINY(frozen_stem=f), params) for f in (False, True))
  for name in ('conv1', 'bn1'):
    assert largest(frozen[name]) == 0 < largest(free[name])
  assert largest(frozen['layer1_0']) > 0
