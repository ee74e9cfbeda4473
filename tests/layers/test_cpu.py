"""Convolutions in the forms for CPUs, against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deltax.layers import cpu, fast_conv, forms

# Input size, kernel [kh, kw, C, N], strides and padding.
FOLDED = {
  'a picture': ((8, 12), (3, 3, 3, 8), (2, 2), ((1, 1), (1, 1))),
  'as TensorFlow pads': ((8, 12), (3, 3, 3, 8), (2, 2), ((0, 1), (0, 1))),
  'without padding': ((9, 12), (3, 3, 3, 8), (2, 2), ((0, 0), (0, 0))),
  'much padding': ((5, 6), (3, 3, 3, 8), (2, 2), ((2, 0), (3, 4))),
  'even kernel': ((8, 12), (4, 4, 3, 8), (2, 2), ((1, 1), (1, 1))),
  'wide kernel': ((9, 12), (7, 7, 3, 8), (2, 2), ((3, 3), (3, 3))),
  'stride of three': ((8, 12), (3, 2, 3, 8), (1, 3), ((1, 1), (0, 0))),
  'columns left over': ((8, 12), (3, 3, 3, 8), (2, 4), ((1, 1), (0, 0))),
}
SPREAD = {
  'few pixels': ((7, 5), (3, 3, 128, 4), (1, 1), ((1, 1), (1, 1))),
  'stride': ((8, 5), (3, 3, 64, 4), (2, 2), ((1, 1), (1, 1))),
  'rows left over': ((8, 5), (3, 3, 64, 4), (3, 2), ((0, 0), (0, 1))),
  'one-sided': ((7, 5), (5, 3, 64, 4), (2, 1), ((4, 0), (0, 2))),
}
ON_CORES = {
  'few weights': ((7, 9), (3, 3, 32, 8), (1, 1), ((1, 1), (1, 1))),
  'few weights, stride': ((7, 9), (3, 3, 32, 8), (2, 2), ((1, 1), (1, 1))),
}


def drawn(size, kernel, dtype=np.float32):
  draw = np.random.default_rng(0).standard_normal
  x = draw((2, *size, kernel[2])) / kernel[2] ** 0.5
  return jnp.asarray(x, dtype), jnp.asarray(draw(kernel), dtype)


def plain(x, kernel, strides, pads):
  numbers = ('NHWC', 'HWIO', 'NHWC')
  return lax.conv_general_dilated(
    x, kernel, strides, pads, dimension_numbers=numbers
  )


def convolution(strides, pads, x, kernel, cores, monkeypatch):
  """What is traced as the one convolution of a form."""
  monkeypatch.setattr(forms, 'cores', lambda: cores)
  program = jax.make_jaxpr(
    lambda x, kernel: cpu.convolve(x, kernel, strides, pads, (1, 1))
  )(x, kernel)
  (found,) = (
    equation
    for equation in program.eqns
    if equation.primitive.name == 'conv_general_dilated'
  )
  return found


@pytest.mark.parametrize('cores', [1, 2])
@pytest.mark.parametrize(
  'case', (FOLDED | SPREAD | ON_CORES).values(), ids=FOLDED | SPREAD | ON_CORES
)
def test_every_form_gives_what_the_plain_one_gives(case, cores, monkeypatch):
  monkeypatch.setattr(forms, 'cores', lambda: cores)
  size, kernel, strides, pads = case
  x, kernel = drawn(size, kernel)
  want = plain(x, kernel, strides, pads)
  found = cpu.convolve(x, kernel, strides, pads, (1, 1))
  assert found.shape == want.shape
  np.testing.assert_allclose(found, want, atol=2e-5)


@pytest.mark.parametrize('case', FOLDED.values(), ids=FOLDED)
def test_columns_of_few_channels_become_channels(case, monkeypatch):
  size, kernel, strides, pads = case
  x, kernel = drawn(size, kernel)
  found = convolution(strides, pads, x, kernel, 1, monkeypatch)
  assert found.invars[0].aval.shape[3] == strides[1] * kernel.shape[2]
  assert found.params['window_strides'] == (strides[0], 1)


@pytest.mark.parametrize('case', SPREAD.values(), ids=SPREAD)
def test_many_channels_are_given_to_the_other_library(case, monkeypatch):
  size, kernel, strides, pads = case
  x, kernel = drawn(size, kernel)
  found = convolution(strides, pads, x, kernel, 1, monkeypatch)
  assert found.params['lhs_dilation'] == (2, 1)


@pytest.mark.parametrize('case', ON_CORES.values(), ids=ON_CORES)
def test_few_weights_are_given_to_it_on_several_cores_only(case, monkeypatch):
  size, kernel, strides, pads = case
  x, kernel = drawn(size, kernel)
  for cores, dilation in ((1, (1, 1)), (2, (2, 1))):
    found = convolution(strides, pads, x, kernel, cores, monkeypatch)
    assert found.params['lhs_dilation'] == dilation


def test_other_types_keep_the_plain_form(monkeypatch):
  size, kernel, strides, pads = FOLDED['a picture']
  x, kernel = drawn(size, kernel, jnp.bfloat16)
  found = convolution(strides, pads, x, kernel, 2, monkeypatch)
  assert found.invars[0].aval.shape == x.shape


@pytest.mark.parametrize('name', ['a picture', 'stride'])
def test_gradients_and_scans_give_the_same(name, monkeypatch):
  monkeypatch.setattr(forms, 'cores', lambda: 2)
  size, kernel, strides, pads = (FOLDED | SPREAD)[name]
  x, kernel = drawn(size, kernel)

  def rolled(conv):
    def run(x, kernel):
      def add(total, scale):
        out = conv(x * scale, kernel, strides, pads)
        return total + jnp.sin(out).mean(), None

      return lax.scan(add, jnp.zeros(()), jnp.arange(1.0, 3.0))[0]

    return jax.value_and_grad(run, (0, 1))(x, kernel)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    rolled(fast_conv),
    rolled(plain),
  )


def test_what_is_computed_once_is_the_same():
  x = jnp.array([-np.inf, -2.5, -0.0, 0.0, 1e-37, 7.0, np.inf, np.nan])
  found = cpu.computed_once(x)
  np.testing.assert_array_equal(found, x)
  np.testing.assert_array_equal(jnp.signbit(found), jnp.signbit(x))
