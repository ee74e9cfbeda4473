"""One vector a video: what may not change it, and how it starts."""

import functools

import dns_networks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import retrieval
from deltax.retrieval.networks.netvlad import NetVLAD

SMALL = dict(clusters=4, size=24, heads=4, hidden=20)
PARTS = ({}, {'netvlad': False}, {'transformer': False}, {'attention': False})


def run(net, variables, *video):
  return dns_networks.run(net, None, variables, *video)


def videos(count, frames, seed=0):
  draw = np.random.default_rng(seed)
  x = draw.standard_normal((count, frames, 3, 16)).astype(np.float32)
  return np.array(retrieval.unit(x))


@functools.cache
def _drawn(options):
  net = retrieval.create('coarse', **SMALL, **dict(options))
  return net, jax.jit(net.init)(jax.random.key(0), jnp.ones((1, 2, 3, 16)))


def drawn(**options):
  return _drawn(tuple(options.items()))


@pytest.mark.parametrize('options', PARTS)
def test_a_masked_frame_never_counts(options):
  net, variables = drawn(**options)
  video = videos(2, 5)
  expected = run(net, variables, video)
  assert expected.shape == (2, 24 if options.get('netvlad', True) else 16)
  np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)
  spoiled = np.concatenate([video, videos(2, 3, seed=1)], 1)
  mask = np.repeat([[1] * 5 + [0] * 3], 2, 0).astype(np.float32)
  found = run(net, variables, spoiled, mask)
  np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_order_of_frames_does_not_matter():
  net, variables = drawn()
  video = videos(1, 5)
  np.testing.assert_allclose(
    run(net, variables, video[:, ::-1]),
    run(net, variables, video),
    atol=2e-6,
  )


def test_the_plainest_form_is_the_mean_of_frames():
  net = retrieval.create(
    'coarse', attention=False, transformer=False, netvlad=False
  )
  video = videos(2, 5)
  frames = video.sum(2)
  frames /= np.linalg.norm(frames, axis=-1, keepdims=True)
  mean = frames.mean(1)
  mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
  np.testing.assert_allclose(net.apply({}, video), mean, atol=1e-6)


def test_netvlad_is_its_definition():
  net = NetVLAD(clusters=3, size=6)
  x = np.random.default_rng(0).standard_normal((1, 5, 4)).astype(np.float32)
  variables = net.init(jax.random.key(1), jnp.asarray(x))
  params = variables['params']
  np.testing.assert_array_equal(params['assignment'], params['centroids'])
  params['assignment'] = 3 * params['assignment'] + 0.1
  logits = x[0] @ params['assignment']
  shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  parts = []
  for k in range(3):
    difference = x[0] - params['centroids'][:, k][None]
    part = (shares[:, k, None] * difference).sum(0)
    parts.append(part / np.linalg.norm(part))
  flat = np.concatenate(parts) / np.sqrt(3)
  out = flat @ params['reduction']['kernel']
  out = (out - out.mean()) / np.sqrt(out.var() + 1e-5)
  np.testing.assert_allclose(net.apply(variables, x)[0], out, atol=1e-4)


def test_training_drops_and_needs_a_generator():
  net, variables = drawn()
  video = videos(1, 5)

  @jax.jit
  def train(seed):
    rngs = {'dropout': jax.random.key(seed)}
    return net.apply(variables, video, train=True, rngs=rngs)

  assert np.abs(train(1) - train(2)).max() > 1e-3
  np.testing.assert_array_equal(train(1), train(1))
  assert np.abs(train(1) - run(net, variables, video)).max() > 1e-3


def test_a_video_without_frames_is_finite_and_so_are_gradients():
  net, variables = drawn()
  video, mask = videos(2, 4), np.ones((2, 4), np.float32)
  video[1], mask[1] = 0, 0
  video[0, 3], mask[0, 3] = 0, 0

  def total(variables):
    vectors = net.apply(variables, video, mask)
    return vectors[:, 0].sum(), vectors

  (_, vectors), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(
    variables
  )
  assert np.isfinite(vectors).all()
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_it_starts_as_published():
  net = retrieval.create('coarse', netvlad=False)
  shape = jnp.ones((1, 1, 1, 512))
  params = jax.jit(net.init)(jax.random.key(0), shape)['params']
  encoder = params['encoder']
  limits = {
    'in_proj': np.sqrt(6 / 2048),
    'out_proj': 512**-0.5,
    'linear1': 512**-0.5,
    'linear2': 2048**-0.5,
  }
  for layer, limit in limits.items():
    kernel = np.abs(encoder[layer]['kernel'])
    assert 0.98 * limit < kernel.max() <= limit
    np.testing.assert_array_equal(encoder[layer]['bias'], 0)
