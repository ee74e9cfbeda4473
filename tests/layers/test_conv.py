"""The fast forms of a convolution against the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deltax.layers import conv2d, fast_conv
from deltax.layers.windows import explicit_padding

# Input size, kernel [kh, kw, C / groups, N], strides, dilation, padding and
# groups.
CASES = {
  'plain': ((9, 12), (3, 3, 4, 6), (1, 1), (1, 1), 'SAME', 1),
  'valid': ((9, 12), (3, 5, 4, 6), (1, 1), (1, 1), 'VALID', 1),
  'stride': ((9, 12), (3, 3, 4, 6), (2, 2), (1, 1), ((1, 1), (1, 1)), 1),
  # A row and two columns of the input are not reached by any window.
  'rows left over': ((8, 10), (3, 3, 4, 6), (2, 3), (1, 1), 'VALID', 1),
  'stride above kernel': ((11, 12), (2, 2, 3, 5), (4, 3), (1, 1), 'VALID', 1),
  'stride, same': ((10, 7), (3, 3, 4, 6), (2, 2), (1, 1), 'SAME', 1),
  'dilation': ((11, 12), (3, 3, 4, 6), (1, 1), (2, 3), 'SAME', 1),
  'both': ((13, 12), (3, 3, 4, 6), (2, 2), (2, 2), ((2, 2), (2, 2)), 1),
  'one-sided': ((9, 12), (3, 3, 4, 6), (1, 2), (1, 1), ((2, 0), (0, 1)), 1),
  'much padding': ((5, 6), (3, 3, 4, 6), (1, 1), (1, 1), ((4, 5), (3, 3)), 1),
  'column': ((9, 12), (3, 1, 4, 2), (2, 1), (1, 1), ((1, 1), (0, 0)), 1),
  'row': ((9, 12), (1, 3, 2, 6), (1, 2), (1, 1), ((0, 0), (1, 1)), 1),
  'even kernel': ((9, 12), (4, 2, 4, 6), (2, 2), (1, 1), 'SAME', 1),
  '1x1': ((9, 12), (1, 1, 4, 6), (1, 1), (1, 1), 'SAME', 1),
  '1x1 stride': ((9, 12), (1, 1, 4, 6), (2, 3), (1, 1), 'VALID', 1),
  '1x1 padded': ((9, 12), (1, 1, 4, 6), (2, 2), (1, 1), ((1, 1), (0, 2)), 1),
  'depthwise': ((9, 12), (3, 3, 1, 6), (1, 1), (1, 1), 'SAME', 6),
  'depthwise stride': ((9, 12), (5, 3, 1, 6), (2, 3), (1, 1), 'SAME', 6),
  'depthwise both': ((13, 12), (3, 3, 1, 6), (2, 2), (2, 3), 'VALID', 6),
  'depthwise wide': ((9, 12), (3, 3, 1, 12), (1, 1), (1, 1), 'SAME', 6),
  'depthwise left over': ((8, 10), (3, 3, 1, 6), (2, 3), (1, 1), 'VALID', 6),
  'depthwise sparse': ((11, 12), (2, 2, 1, 5), (4, 3), (1, 1), 'VALID', 5),
  'depthwise padded': (
    (5, 6),
    (3, 3, 1, 6),
    (2, 2),
    (1, 1),
    ((4, 5), (0, 3)),
    6,
  ),
  'groups': ((9, 12), (3, 3, 2, 6), (2, 2), (2, 2), ((2, 1), (0, 2)), 3),
  'one channel': ((9, 12), (3, 3, 1, 1), (1, 1), (1, 1), 'SAME', 1),
}
cases = pytest.mark.parametrize('case', CASES.values(), ids=CASES)


@pytest.fixture(params=[0, 1 << 30], ids=['as convolution', 'as product'])
def form(request, monkeypatch):
  """Small maps become matrix products: here all of them do, or none."""
  monkeypatch.setattr('deltax.layers.conv._FEW_PLACES', request.param)


def arrays(case):
  size, kernel, *_, groups = case
  draw = np.random.default_rng(0).standard_normal
  x = draw((2, *size, kernel[2] * groups))
  return x.astype(np.float32), draw(kernel).astype(np.float32)


def pair(case):
  """Ours and `lax`'s, as functions of input and kernel."""
  _, _, strides, dilation, padding, groups = case
  plain = functools.partial(
    lax.conv_general_dilated,
    window_strides=strides,
    padding=padding,
    rhs_dilation=dilation,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
  own = functools.partial(
    fast_conv,
    window_strides=strides,
    padding=padding,
    rhs_dilation=dilation,
    feature_group_count=groups,
  )
  return own, plain


def gradients(conv, x, kernel):
  """Of a sum that weighs every output differently."""

  def loss(x, kernel):
    out = conv(x, kernel)
    return (out * jnp.cos(jnp.arange(out.size)).reshape(out.shape)).sum()

  return jax.jit(jax.grad(loss, (0, 1)))(x, kernel)


assert_close = functools.partial(
  np.testing.assert_allclose, rtol=1e-4, atol=1e-4
)


@cases
def test_every_form_is_the_plain_convolution(case, form):
  x, kernel = arrays(case)
  own, plain = pair(case)
  assert_close(own(x, kernel), plain(x, kernel))


@cases
def test_gradients_are_those_of_the_plain_convolution(case, form):
  x, kernel = arrays(case)
  for own, expected in zip(
    *(gradients(conv, x, kernel) for conv in pair(case)), strict=True
  ):
    assert_close(own, expected)


@pytest.mark.parametrize(
  'name', ['plain', 'rows left over', 'both', '1x1', 'depthwise both']
)
def test_gradients_are_the_same_inside_a_scan_and_a_branch(name, form):
  x, kernel = arrays(CASES[name])

  def rolled(conv, x, kernel):
    def body(last, x):
      out = lax.cond(
        x[0, 0, 0, 0] > 0,
        lambda x: conv(x, kernel),
        lambda x: last - conv(2 * x, kernel),
        x,
      )
      return out, out

    frames = jnp.stack([x, -x, x])
    return lax.scan(body, conv(x, kernel), frames)[1]

  own, expected = (
    gradients(functools.partial(rolled, conv), x, kernel)
    for conv in pair(CASES[name])
  )
  for a, b in zip(own, expected, strict=True):
    assert_close(a, b)


def test_inputs_may_be_vmapped(form):
  x, kernel = arrays(CASES['stride'])
  own, plain = pair(CASES['stride'])
  xs = jnp.stack([x, 2 * x, -x])

  def gradient(conv):
    return gradients(jax.vmap(conv, (0, None)), xs, kernel)

  for a, b in zip(gradient(own), gradient(plain), strict=True):
    assert_close(a, b)


def test_input_dilation_and_other_layouts_go_to_lax():
  x, kernel = arrays(CASES['plain'])
  pads = ((0, 0), (0, 0))
  wide = fast_conv(x, kernel, (1, 1), pads, lhs_dilation=(2, 2))
  assert wide.shape == (2, 15, 21, 6)
  numbers = lax.conv_dimension_numbers(
    x.shape, kernel.shape, ('NHWC', 'HWIO', 'NHWC')
  )
  expected = fast_conv(x, kernel, (1, 1), 'SAME')
  own = fast_conv(x, kernel, (1, 1), 'SAME', dimension_numbers=numbers)
  np.testing.assert_array_equal(own, expected)
  nchw = fast_conv(
    x.transpose(0, 3, 1, 2),
    kernel,
    (1, 1),
    'SAME',
    dimension_numbers=('NCHW', 'HWIO', 'NCHW'),
  )
  assert_close(nchw.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize(
  ('stride', 'dilation'), [(1, 1), (2, 1), (1, 2), (2, 2)]
)
@pytest.mark.parametrize('kernel', [1, 3, 5])
def test_conv2d_keeps_the_size_over_the_stride(kernel, stride, dilation):
  conv = conv2d(6, kernel, stride, dilation=dilation)
  out, variables = conv.init_with_output(
    jax.random.key(0), jnp.ones((1, 9, 12, 4))
  )
  assert out.shape == (1, -(-9 // stride), -(-12 // stride), 6)
  assert set(variables['params']) == {'kernel'}


def test_padding_by_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match="'same' adds no zeros; expected 'SAME'"):
    explicit_padding('same', (1, 8, 8, 3), (3, 3, 3, 4), (1, 1), (1, 1))
