"""The comparator: against a slow form, under masks, and where it ends."""

import functools

import dns_networks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.retrieval import STRIDE, Comparator

PADDINGS = ('zero', 'replicate')


def run(net, params, *arrays):
  return dns_networks.run(net, None, params, *arrays)


@functools.cache
def params():
  keys = iter(jax.random.split(jax.random.key(0), 8))
  shapes = jax.eval_shape(
    Comparator().init, jax.random.key(0), jnp.zeros((1, 8, 8))
  )
  return jax.tree.map(
    lambda x: 0.3 * jax.random.normal(next(keys), x.shape), shapes
  )


def frames(*shape):
  return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def padded(matrices, height, width):
  """Matrices of several sizes behind one another, spoiled where they end."""
  batch = np.full((len(matrices), height, width), 5.0, np.float32)
  mask = np.zeros_like(batch)
  for row, matrix in enumerate(matrices):
    rows, columns = matrix.shape
    batch[row, :rows, :columns] = matrix
    mask[row, :rows, :columns] = 1
  return batch, mask


def slow(matrix, padding):
  """One matrix `[T, S]` through the network, by the definition."""
  layers = jax.tree.map(np.asarray, params())['params']
  x = matrix[..., None].astype(np.float64)
  mode = {'zero': 'constant', 'replicate': 'edge'}[padding]
  for name in ('conv1', 'conv2', 'conv3'):
    kernel, bias = layers[name]['kernel'], layers[name]['bias']
    around = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode)
    x = bias + sum(
      around[i : i + len(x), j : j + x.shape[1]] @ kernel[i, j]
      for i, j in np.ndindex(3, 3)
    )
    x = np.maximum(x, 0)
    if name != 'conv3':
      rows, columns = len(x) // 2, x.shape[1] // 2
      x = x[: 2 * rows, : 2 * columns]
      x = x.reshape(rows, 2, columns, 2, -1).max((1, 3))
  return (x @ layers['fconv']['kernel'][0, 0] + layers['fconv']['bias'])[..., 0]


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('shape', [(8, 12), (7, 13)])
def test_it_is_three_convolutions_and_a_projection(padding, shape):
  matrix = frames(*shape)
  raw, mask = run(Comparator(padding), params(), matrix[None])
  assert mask is None
  np.testing.assert_allclose(raw[0], slow(matrix, padding), atol=1e-4)


SIZES = [(8, 12), (12, 4), (4, 16)]
UNEVEN = [(7, 12), (5, 9), (13, 6)]


@pytest.mark.parametrize(
  ('padding', 'sizes'),
  [('zero', SIZES), ('replicate', SIZES), ('replicate', UNEVEN)],
)
def test_a_padded_pair_gives_what_it_gives_alone(padding, sizes):
  matrices = [frames(*size) for size in sizes]
  raw, mask = run(Comparator(padding), params(), *padded(matrices, 16, 20))
  for matrix, out, real in zip(matrices, raw, mask, strict=True):
    rows, columns = (size // STRIDE for size in matrix.shape)
    expected = np.zeros((4, 5))
    expected[:rows, :columns] = 1
    np.testing.assert_array_equal(real, expected)
    np.testing.assert_allclose(
      out[:rows, :columns], slow(matrix, padding), atol=1e-4
    )


@pytest.mark.parametrize('padding', PADDINGS)
def test_more_padding_changes_nothing(padding):
  matrices = [frames(*size) for size in UNEVEN]
  net = Comparator(padding)
  raw, mask = run(net, params(), *padded(matrices, 16, 12))
  more, wider = run(net, params(), *padded(matrices, 24, 20))
  np.testing.assert_array_equal(wider[:, :4, :3], mask)
  assert wider.sum() == mask.sum()
  np.testing.assert_allclose(more[:, :4, :3] * mask, raw * mask, atol=1e-5)


def test_zeros_around_let_an_output_count_with_one_frame_of_four():
  matrix = frames(5, 9)
  _, mask = run(Comparator(), params(), *padded([matrix], 12, 12))
  assert mask[0].tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]


def test_outputs_beyond_a_pair_are_the_bias_or_zero():
  matrices = padded([frames(4, 4)], 8, 8)
  bias = params()['params']['fconv']['bias']
  raw, mask = run(Comparator(), params(), *matrices)
  # One cell further on, the last convolution still sees the pair's border, but
  # is masked; what remains is the bias.
  np.testing.assert_allclose(raw[mask == 0], np.repeat(bias, 3), rtol=1e-6)
  raw, mask = run(Comparator(mask_output=True), params(), *matrices)
  np.testing.assert_array_equal(raw[mask == 0], 0)
  assert (raw[mask == 1] != 0).all()


@pytest.mark.parametrize('padding', PADDINGS)
def test_gradients_are_finite_and_stay_within_the_mask(padding):
  batch, mask = padded([frames(5, 6), np.zeros((0, 0))], 8, 8)

  def total(batch):
    raw, real = Comparator(padding, True).apply(params(), batch, mask)
    return (raw * real).sum()

  gradient = jax.jit(jax.grad(total))(batch)
  assert np.isfinite(gradient).all()
  assert np.abs(gradient[0]).max() > 0
  np.testing.assert_array_equal(gradient * (1 - mask), 0)


def test_misuse_is_named():
  with pytest.raises(ValueError, match='at least 4 frames on both sides'):
    Comparator().init(jax.random.key(0), jnp.zeros((1, 3, 8)))
  with pytest.raises(ValueError, match="no padding 'edge'; known: zero, repl"):
    Comparator('edge').init(jax.random.key(0), jnp.zeros((1, 8, 8)))


def test_it_starts_as_published():
  start = Comparator().init(jax.random.key(1), jnp.zeros((1, 8, 8)))['params']
  for layer, fans in (('conv1', 9 * 33), ('conv3', 9 * 192), ('fconv', 129)):
    limit = np.sqrt(6 / fans)
    kernel = np.abs(start[layer]['kernel'])
    assert 0.9 * limit < kernel.max() <= limit
    np.testing.assert_array_equal(start[layer]['bias'], 0)
