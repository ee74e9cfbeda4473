"""Functions of arrays as LiteRT models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta.deploy.litert import SIGNATURE, to_litert
from deltax.errors import DeltaxError
from deltax.layers import fast_conv, max_pool, mean_pool, resize_bilinear
from deltax.layers.forms import LITERT, forms_for

pytest.importorskip('litert_converter')

SHAPE = (2, 6, 8, 4)


def drawn(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def run(content, **arrays):
  litert = pytest.importorskip('ai_edge_litert.interpreter')
  made = litert.Interpreter(model_content=content)
  return made.get_signature_runner(SIGNATURE)(**arrays)


@pytest.mark.parametrize(
  'function',
  [
    lambda x: fast_conv(x, drawn(3, 3, 4, 5), (2, 2), 'SAME'),
    lambda x: fast_conv(
      x, drawn(3, 3, 1, 4), (1, 1), 'SAME', feature_group_count=4
    ),
    lambda x: mean_pool(x, (4, 3)),
    lambda x: max_pool(x, 3, 2, 'SAME'),
    lambda x: resize_bilinear(x, (12, 24)),
    lambda x: resize_bilinear(x, (9, 5)),
  ],
)
def test_the_forms_for_it_give_the_same(function):
  x = drawn(*SHAPE)
  with forms_for(LITERT):
    content = to_litert(
      lambda x: [function(x)], [jax.ShapeDtypeStruct(SHAPE, x.dtype)], 'x', 'y'
    )
  expected = np.asarray(function(x))
  np.testing.assert_allclose(run(content, x=x)['y'], expected, atol=1e-5)


def test_arrays_have_the_names_that_they_are_given():
  shapes = [jax.ShapeDtypeStruct(SHAPE, jnp.float32)] * 2
  names = ['carry/stem.conv', 'frame'], ['out/a', 'out/b']
  content = to_litert(lambda x, y: [x - y, x + y], shapes, *names)
  x, y = drawn(*SHAPE), drawn(*SHAPE) ** 2
  made = run(content, **{'frame': y, 'carry/stem.conv': x})
  np.testing.assert_allclose(made['out/a'], x - y)
  np.testing.assert_allclose(made['out/b'], x + y)


def test_what_is_not_read_is_an_input_all_the_same():
  """Such as what is kept of a unit whose readers are skipped."""
  shapes = [jax.ShapeDtypeStruct(SHAPE, jnp.float32)] * 3
  names = ['carry/idle', 'carry/read', 'frame'], ['out']
  content = to_litert(lambda x, y, z: [jax.nn.relu(y) + z], shapes, *names)
  idle, read, frame = 9 * drawn(*SHAPE), -drawn(*SHAPE), drawn(*SHAPE) ** 2
  arrays = {'carry/idle': idle, 'carry/read': read, 'frame': frame}
  expected = np.maximum(read, 0) + frame
  np.testing.assert_allclose(run(content, **arrays)['out'], expected)


@pytest.mark.parametrize(
  ('function', 'operation'),
  [
    (lambda x: jnp.fft.fft(x).real, 'fft'),
    (lambda x: jnp.linalg.cholesky(x @ x.mT), 'cholesky'),
  ],
)
def test_a_layer_that_has_no_form_is_named(function, operation):
  def network(x):
    with jax.named_scope('head/mixing'):
      return [function(jax.nn.relu(x.swapaxes(2, 3)))]

  with pytest.raises(DeltaxError, match=f"head/mixing has no .*'{operation}'"):
    to_litert(network, [jax.ShapeDtypeStruct(SHAPE, jnp.float32)], 'x', 'y')


def test_an_open_batch_is_refused():
  (batch,) = jax.export.symbolic_shape('batch')
  shape = jax.ShapeDtypeStruct((batch, 4), jnp.float32)
  with pytest.raises(DeltaxError, match='as many frames as it was made for'):
    to_litert(lambda x: [x], [shape], 'x', 'y')
