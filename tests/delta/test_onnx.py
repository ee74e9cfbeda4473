"""Operations of JAX, each as a small ONNX model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deltax.delta.deploy.onnx import Port, to_onnx
from deltax.errors import DeltaxError
from deltax.layers import forms, max_pool, mean_pool, resize_bilinear
from deltax.layers.conv import fast_conv

KERNEL = np.random.default_rng(1).standard_normal((3, 3, 4, 8), np.float32)
WIDE = np.random.default_rng(3).standard_normal((8, 6, 5), np.float32)
MATRIX = np.random.default_rng(2).standard_normal((4, 5), np.float32)


def conv(x, *, channels=4, **options):
  kernel = KERNEL[:, :, :channels, :4]
  options = {'window_strides': (1, 1), 'padding': 'SAME', **options}
  numbers = ('NHWC', 'HWIO', 'NHWC')
  return lax.conv_general_dilated(
    x, kernel, **options, dimension_numbers=numbers
  )


OPERATIONS = {
  'arithmetic': lambda x: (x * 2 - 1) / (abs(x) + 3) + x**3 - x**2,
  'curves': lambda x: jnp.exp(-abs(x)) + jnp.tanh(x) + jax.nn.sigmoid(x),
  'logarithms': lambda x: jnp.log1p(abs(x)) + jnp.expm1(-abs(x)),
  'roots': lambda x: lax.rsqrt(abs(x) + 1) + jnp.sqrt(abs(x)),
  'gelu': lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.gelu(x),
  'bounds': lambda x: jax.nn.relu6(4 * x) + jnp.clip(x, -0.5, 0.5),
  'relu behind a sum': lambda x: jax.nn.relu(conv(x) + x),
  'choices': lambda x: jnp.where((x > 0) & ~(x > 1), x, -x),
  'rounding': lambda x: jnp.floor(x) + jnp.sign(x) + jnp.ceil(2 * x),
  'waves': lambda x: jnp.sin(x) + jnp.cos(x),
  'types': lambda x: (x > 0).astype(jnp.float32) + x.astype(jnp.int32),
  'softmax': lambda x: jax.nn.softmax(conv(x), -1),
  'norm over channels': lambda x: x - x.mean(-1, keepdims=True),
  'mean of images': lambda x: conv(x).mean((1, 2)),
  'mean that is kept': lambda x: conv(x) * x.mean((1, 2), keepdims=True),
  'extremes': lambda x: x.max(1) + x.min(1) + jnp.prod(x, 1),
  'places of extremes': lambda x: conv(x).argmax(-1),
  'channels apart': lambda x: conv(x) * jnp.arange(4.0)[None, None, None],
  'rows apart': lambda x: conv(x) + jnp.arange(6.0)[None, :, None, None],
  'an outer product': lambda x: x.sum((1, 2, 3))[:, None] * x[:1, 0, :, 0],
  'reshaped': lambda x: conv(x).reshape(2, 48, 4),
  'one axis less and more': lambda x: conv(x)[:, :1].squeeze(1)[:, None] + 1,
  'transposed': lambda x: conv(x).transpose(0, 2, 1, 3) * 2,
  'stacked': lambda x: jnp.stack([conv(x), x], 1),
  'joined': lambda x: jnp.concatenate([conv(x), x, x[..., :1]], -1),
  'in parts': lambda x: jnp.split(conv(x), 2, -1)[1],
  'cut': lambda x: conv(x)[:, 1:5:2, ::3],
  'turned': lambda x: conv(x)[:, ::-1] + x[..., ::-1],
  'padded': lambda x: jnp.pad(conv(x), ((0, 0), (1, 2), (0, 0), (0, 3))),
  'padded with the edge': lambda x: jnp.pad(
    x, [(0, 0)] * 2 + [(1, 0)] * 2, 'edge'
  ),
  'padded by nothing': lambda x: jnp.pad(x, [(0, 0)] * 4, 'edge') * 2,
  'taken': lambda x: jnp.take(conv(x), np.array([3, 0, 5]), 1),
  'one taken': lambda x: conv(x)[:, 2],
  'repeated': lambda x: jnp.broadcast_to(x[:, :1], x.shape) + 0 * x,
  'strides': lambda x: conv(x, window_strides=(2, 1), padding=((1, 0), (2, 1))),
  'dilated': lambda x: conv(x, rhs_dilation=(2, 1)),
  'groups': lambda x: conv(x, channels=2, feature_group_count=2),
  'depthwise': lambda x: conv(x, channels=1, feature_group_count=4),
  'a transposed convolution': lambda x: conv(
    x, lhs_dilation=(2, 2), padding=((1, 2), (2, 1))
  ),
  'one with a kernel that depends': lambda x: fast_conv(
    x, x[:1, :3, :3].transpose(1, 2, 3, 0), (1, 1), 'SAME'
  ),
  'dense': lambda x: conv(x) @ MATRIX,
  'matrices': lambda x: jnp.einsum('bhwc,bhvc->bhwv', x, x),
  'stacks of heads': lambda x: jnp.einsum('bqhd,bkhd->bhqk', x, conv(x)),
  'two axes summed': lambda x: jnp.einsum(
    'bhwc,whd->bcd', x, KERNEL[0, :, :1].repeat(6, 1).repeat(3, 0)[:8]
  ),
  'max pool': lambda x: max_pool(conv(x)),
  'mean pool': lambda x: mean_pool(conv(x), (2, 3)),
  'bilinear': lambda x: resize_bilinear(conv(x), (12, 8)),
  'bilinear of other factors': lambda x: resize_bilinear(x, (9, 5)),
}


def traced(function, x):
  with forms.forms_for(forms.PLAIN):
    return jax.make_jaxpr(function)(x)


def run(content, x):
  onnxruntime = pytest.importorskip('onnxruntime')
  session = onnxruntime.InferenceSession(
    content, providers=['CPUExecutionProvider']
  )
  return session.run(None, {'x': x})


@pytest.mark.parametrize('name', OPERATIONS)
def test_an_operation_gives_the_same(name):
  function = OPERATIONS[name]
  x = np.random.default_rng(0).standard_normal((2, 6, 8, 4), np.float32)
  program = traced(function, x)
  (found,) = run(to_onnx(program, [Port('x')], [Port('out')]), x)
  expected = np.asarray(function(jnp.asarray(x)))
  assert found.dtype == expected.dtype
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_images_stay_with_their_channels_first_from_layer_to_layer():
  onnx = pytest.importorskip('onnx')

  def function(x):
    y = jax.nn.relu(conv(x) + jnp.arange(4.0)[None, None, None])
    y = resize_bilinear(max_pool(y), (6, 8)) * y.mean((1, 2), keepdims=True)
    return conv(jnp.concatenate([y, jnp.pad(y, [(0, 0)] * 4)], -1)[..., 4:])

  program = traced(function, np.zeros((1, 6, 8, 4), np.float32))
  content = to_onnx(program, [Port('x')], [Port('out', channels_first=True)])
  nodes = onnx.load_from_string(content).graph.node
  assert [node.op_type for node in nodes].count('Transpose') == 1


def test_a_symbolic_batch_stays_open():
  (batch,) = jax.export.symbolic_shape('batch')
  x = jax.ShapeDtypeStruct((batch, 6, 8, 4), np.float32)

  def function(x):
    y = mean_pool(conv(x), (2, 2)).reshape(x.shape[0], -1, 4)
    return jax.nn.softmax(y @ MATRIX)

  content = to_onnx(traced(function, x), [Port('x')], [Port('out')])
  for count in (1, 3):
    value = np.ones((count, 6, 8, 4), np.float32)
    (found,) = run(content, value)
    np.testing.assert_allclose(found, function(value), rtol=1e-5)


@pytest.mark.parametrize(
  ('function', 'operation'),
  [
    (lambda x: jnp.sort(x), "operation 'sort'"),
    (lambda x: lax.pad(x, 0.0, [(0, 0, 1)] * 4), 'pads between values'),
    (lambda x: x[np.array([0, 1]), np.array([2, 3])], 'more than one axis'),
  ],
)
def test_what_has_no_form_is_told(function, operation):
  program = traced(function, np.zeros((2, 6, 8, 4), np.float32))
  with pytest.raises(DeltaxError, match=operation):
    to_onnx(program, [Port('x')], [Port('out')])
