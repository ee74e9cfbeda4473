"""Forms of layers: equal in what they compute, chosen for a target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.layers import fast_conv, forms, resize_bilinear

PADS = ((1, 1), (1, 1))


def conv(groups, size):
  def run(x, kernel):
    return fast_conv(x, kernel, (1, 1), PADS, feature_group_count=groups)

  draw = np.random.default_rng(0).standard_normal
  kernel = draw((3, 3, 4 // groups, 4))
  return run, tuple(map(jnp.asarray, (draw((2, *size, 4)), kernel)))


def resize(size):
  x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 4)))
  return (lambda x: resize_bilinear(x, size)), (x,)


LAYERS = {
  'dense': conv(1, (9, 11)),
  'of few pixels': conv(1, (3, 4)),
  'depthwise': conv(4, (9, 11)),
  'doubled': resize((6, 10)),
  'any size': resize((4, 7)),
}


def operations(function, arguments):
  """Names of the primitives, those inside of others too."""
  names = set()

  def add(jaxpr):
    for equation in jaxpr.eqns:
      names.add(equation.primitive.name)
      for value in equation.params.values():
        if hasattr(value, 'eqns') or hasattr(value, 'jaxpr'):
          add(getattr(value, 'jaxpr', value))

  # Of a new function: what is known is not traced again.
  add(jax.make_jaxpr(lambda *xs: function(*xs))(*arguments).jaxpr)
  return names


@pytest.mark.parametrize('target', [forms.PORTABLE, forms.PLAIN, 'cpu', 'gpu'])
@pytest.mark.parametrize('name', LAYERS)
def test_every_form_gives_the_same(name, target):
  function, arguments = LAYERS[name]
  with forms.forms_for(target):
    found = function(*arguments)
  np.testing.assert_allclose(found, function(*arguments), atol=1e-5)


@pytest.mark.parametrize('name', ['dense', 'of few pixels', 'depthwise'])
def test_a_plain_convolution_is_one_operation(name):
  with forms.forms_for(forms.PLAIN):
    assert operations(*LAYERS[name]) == {'conv_general_dilated'}


def test_resizing_plainly_gathers():
  assert 'gather' not in operations(*LAYERS['doubled'])
  with forms.forms_for(forms.PLAIN):
    found = operations(*LAYERS['doubled'])
  assert 'gather' in found and 'stack' not in found


def test_forms_are_those_of_this_machine_outside_of_a_context():
  assert forms.target() == jax.default_backend()
  with pytest.raises(KeyError), forms.forms_for(forms.PLAIN):
    with forms.forms_for('tpu'):
      assert forms.target() == 'tpu'
    assert forms.target() == forms.PLAIN
    raise KeyError
  assert forms.target() == jax.default_backend()
