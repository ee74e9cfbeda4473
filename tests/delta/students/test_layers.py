"""Every candidate of a layer: what it starts as, computes and costs."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from deltax.delta.students.coarse import Strided
from deltax.delta.students.layers import Full, LowRank, Skip, Teacher
from deltax.delta.students.narrow import Bottleneck, Depthwise
from deltax.delta.survey import survey
from deltax.layers import conv2d, forms

NARROW = (LowRank(4), Bottleneck(2), Depthwise())
ALL = (Full(), LowRank(2), Bottleneck(4), Depthwise(), Strided(), Skip())


def layer_of(module, size=(16, 24), channels=8):
  """A convolution of a network, its kernel, and an input."""
  x = jax.random.normal(jax.random.key(1), (2, *size, channels))
  net = nn.Sequential([module])
  variables = jax.jit(net.init)(jax.random.key(0), x)
  kernel = jax.tree.leaves(variables['params'])[-1]
  return survey(net, variables, x).layers[0], kernel, x


SHAPES = {
  '3x3': lambda: conv2d(12),
  'stride': lambda: conv2d(12, stride=2),
  'dilation': lambda: conv2d(12, dilation=2),
  'tensorflow': lambda: conv2d(12, stride=2, same=True),
  '1x1': lambda: conv2d(12, 1),
  '1x1 stride': lambda: conv2d(12, 1, 2),
  'long': lambda: nn.Conv(6, (1, 5), use_bias=False),
}
CASES = [
  (shape, candidate)
  for shape, candidate in itertools.product(SHAPES, ALL)
  if not (shape.startswith('1x1') and isinstance(candidate, Depthwise))
]


@pytest.mark.parametrize(('shape', 'candidate'), CASES)
def test_a_candidate_gives_the_layers_shape_and_is_linear(shape, candidate):
  layer, kernel, x = layer_of(SHAPES[shape]())
  params = candidate.init(kernel, layer)
  apply = jax.jit(lambda p, x: candidate.apply(p, x, layer))
  out = apply(params, x)
  assert out.shape == (2, *layer.outputs)
  other = jnp.roll(x, 3, 1)
  np.testing.assert_allclose(
    apply(params, 2 * x - other), 2 * out - apply(params, other), atol=2e-4
  )
  factor = jnp.linspace(-1, 2, layer.outputs[-1])
  scaled = candidate.scale(params, factor)
  np.testing.assert_allclose(
    apply(scaled, x), out * factor[None, None, None], atol=2e-4
  )


@pytest.mark.parametrize(('shape', 'candidate'), CASES)
def test_macs_are_those_of_the_convolutions_that_run(shape, candidate):
  layer, kernel, x = layer_of(SHAPES[shape]())
  params = candidate.init(kernel, layer)

  class Counted(nn.Module):
    """The same convolutions as a network, to be counted by another count."""

    @nn.compact
    def __call__(self, x):
      return candidate.apply(params, x, layer)

  with forms.forms_for(forms.PLAIN):  # others multiply more, to be faster
    jaxpr = jax.make_jaxpr(lambda x: Counted().apply({}, x))(x[:1])
  assert candidate.macs(layer) == products(jaxpr.jaxpr, candidate)


def products(jaxpr, candidate):
  """Multiply-accumulates of the convolutions and matrix products inside."""
  total = 0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'conv_general_dilated':
      kernel = eqn.invars[1].aval.shape
      total += eqn.outvars[0].aval.size * int(np.prod(kernel[:3]))
    elif eqn.primitive.name == 'dot_general':
      total += eqn.outvars[0].aval.size * eqn.invars[0].aval.shape[-1]
    elif eqn.primitive.name == 'mul' and isinstance(candidate, Depthwise):
      total += eqn.outvars[0].aval.size
    for inner in jaxprs_in_params(eqn.params):
      total += products(inner, candidate)
  return total


@pytest.mark.parametrize('candidate', [Bottleneck(1), Full()])
def test_a_candidate_that_can_be_the_layer_starts_as_it(candidate):
  layer, kernel, x = layer_of(conv2d(8, dilation=2))
  own = candidate.apply(candidate.init(kernel, layer), x, layer)
  expected = Full().apply({'kernel': kernel}, x, layer)
  np.testing.assert_allclose(own, expected, atol=1e-4)


def kernel_of(candidate, layer, params):
  """The `[kh, kw, C, N]` kernel that a narrow candidate amounts to."""
  kh, kw, channels, _ = layer.kernel
  impulse = jnp.eye(channels)[:, None, None]
  x = jnp.zeros((channels, 2 * kh + 1, 2 * kw + 1, channels))
  x = x.at[:, kh : kh + 1, kw : kw + 1].set(impulse)
  return candidate.apply(params, x, layer)


@pytest.mark.parametrize('candidate', NARROW)
def test_no_small_change_of_a_start_is_nearer_to_the_teacher(candidate):
  layer, kernel, _ = layer_of(conv2d(12))
  params = candidate.init(kernel, layer)
  wanted = kernel_of(Full(), layer, {'kernel': kernel})

  def error(params):
    return jnp.square(kernel_of(candidate, layer, params) - wanted).sum()

  start, slope = jax.value_and_grad(error)(params)
  assert 0 < start < 0.9 * jnp.square(wanted).sum()
  steepest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope))
  assert steepest < 0.02 * float(start)


def smooth(key, shape):
  """Images whose neighbouring pixels correlate."""
  x = jax.random.normal(key, shape)
  for axis in (1, 2):
    for _ in range(3):
      x = x + jnp.roll(x, 1, axis) + jnp.roll(x, -1, axis)
  return x / x.std()


def test_the_low_rank_start_is_as_near_as_float32_can_hold():
  layer, kernel, _ = layer_of(conv2d(128), channels=128)
  params = jax.jit(lambda kernel: LowRank(4).init(kernel, layer))(kernel)
  assert {x.dtype for x in params.values()} == {np.dtype(np.float32)}
  first, second = (np.asarray(params[x], float) for x in ('first', 'second'))
  product = np.einsum('icr,jrn->icjn', first[:, 0], second[0], optimize=True)
  matrix = np.asarray(kernel, float).transpose(0, 2, 1, 3).reshape(384, 384)
  left, values, right = np.linalg.svd(matrix)
  nearest = (left[:, :32] * values[:32]) @ right[:32]
  scale = np.abs(nearest).max()
  np.testing.assert_allclose(
    product.reshape(384, 384) / scale, nearest / scale, atol=3e-7
  )


@pytest.mark.parametrize(('stride', 'limit'), [(1, 0.25), (2, 0.35)])
def test_the_strided_start_is_near_on_smooth_images(stride, limit):
  layer, kernel, _ = layer_of(conv2d(12, stride=stride), (64, 64))
  x = smooth(jax.random.key(2), (2, 64, 64, 8))
  wanted = Full().apply({'kernel': kernel}, x, layer)
  own = Strided().apply(Strided().init(kernel, layer), x, layer)
  plain = Strided().apply({'kernel': kernel}, x, layer)

  def error(out):
    return float(jnp.square(out - wanted).mean() / jnp.square(wanted).mean())

  assert error(own) < limit
  assert error(own) < 0.7 * error(plain)


def test_the_strided_student_rounds_odd_sizes_up():
  layer, kernel, x = layer_of(conv2d(12, stride=2), (9, 7))
  out = Strided().apply(Strided().init(kernel, layer), x, layer)
  assert out.shape == (2, *layer.outputs)


def test_the_strided_student_keeps_a_constant():
  layer, kernel, _ = layer_of(conv2d(12), (32, 32))
  x = jnp.ones((1, 32, 32, 8))
  own = Strided().apply(Strided().init(kernel, layer), x, layer)
  expected = Full().apply({'kernel': kernel}, x, layer)
  middle = slice(8, 24)
  np.testing.assert_allclose(
    own[:, middle, middle], expected[:, middle, middle], atol=0.05
  )


@pytest.mark.parametrize('candidate', NARROW)
def test_grouped_layers_have_no_narrow_start(candidate):
  layer, kernel, _ = layer_of(conv2d(8, groups=8))
  with pytest.raises(ValueError, match='8 groups'):
    candidate.init(kernel, layer)


def test_what_makes_no_sense_is_refused():
  layer, kernel, _ = layer_of(conv2d(8, 1))
  with pytest.raises(ValueError, match='as dear as itself'):
    Depthwise().init(kernel, layer)
  with pytest.raises(ValueError, match='at least 1'):
    Bottleneck(0)


def test_the_teacher_has_no_weights_and_skipping_costs_nothing():
  layer, kernel, _ = layer_of(conv2d(12))
  assert Teacher().init(kernel, layer) == {}
  assert Teacher().macs(layer) == Full().macs(layer)
  assert Skip().macs(layer) == 0
