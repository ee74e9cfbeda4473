"""The selector: what it sees of a pair, and how it learns."""

import functools

import dns_networks
import jax
import jax.numpy as jnp
import numpy as np

from deltax import retrieval


def videos(count, frames, seed=0):
  draw = np.random.default_rng(seed)
  x = draw.standard_normal((count, frames, 3, 16)).astype(np.float32)
  return np.array(retrieval.unit(x))


@functools.cache
def drawn():
  net = retrieval.create('selector', hidden=10)
  video = jnp.ones((1, 4, 3, 16))
  variables = jax.jit(net.init)(
    jax.random.key(0), video, video, None, None, jnp.zeros(1)
  )
  return net, variables


def alike(video, mask=None):
  net, variables = drawn()
  return dns_networks.run(net, 'self_similarity', variables, video, mask)


def decide(train=False, **options):
  net, variables = drawn()
  draw = np.random.default_rng(1)
  columns = draw.standard_normal((3, 6)).astype(np.float32)
  return net.apply(variables, *columns, train, method='decide', **options)


def test_more_padding_changes_no_self_similarity():
  video, mask = videos(2, 16), np.ones((2, 16), np.float32)
  video[1, 9:], mask[1, 9:] = 0, 0
  expected = alike(video, mask)
  assert expected.shape == (2,)
  np.testing.assert_allclose(alike(video[:1]), expected[:1], atol=1e-6)
  np.testing.assert_allclose(
    alike(video[1:, :12], mask[1:, :12]), expected[1:], atol=1e-6
  )


def test_frames_are_alike_by_the_mean_over_all_pairs_of_regions():
  net, variables = drawn()
  video = videos(1, 4)
  codes = net.apply(variables, video, method=lambda net, x: net.attention(x))
  products = np.einsum('tod,skd->tsok', codes[0], codes[0]).mean((2, 3))
  raw, _ = retrieval.Comparator().apply(
    {'params': variables['params']['head']}, products[None]
  )
  np.testing.assert_allclose(alike(video), raw.mean((1, 2)), atol=1e-6)


def test_the_whole_is_its_parts():
  net, variables = drawn()
  query, target = videos(2, 8), videos(2, 12, seed=1)
  masks = [np.ones((2, n), np.float32) for n in (8, 12)]
  coarse = jnp.array([0.2, 0.9])
  logits = dns_networks.run(net, None, variables, query, target, *masks, coarse)
  expected = net.apply(
    variables, alike(query), alike(target), coarse, method='decide'
  )
  np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_training_uses_the_batch_and_moves_the_statistics():
  _, variables = drawn()
  rngs = {'dropout': jax.random.key(1)}
  logits, updates = decide(True, rngs=rngs, mutable=['batch_stats'])
  assert logits.shape == (6,)
  before, after = variables['batch_stats'], updates['batch_stats']
  for old, new in zip(*map(jax.tree.leaves, (before, after)), strict=True):
    assert np.abs(old - new).max() > 1e-4
  assert np.abs(decide() - logits).max() > 1e-3


def test_a_video_of_nothing_but_padding_is_finite():
  nothing = np.zeros((1, 8), np.float32)
  np.testing.assert_array_equal(alike(np.zeros((1, 8, 3, 16)), nothing), 0)


def test_statistics_are_pooled_over_a_mapped_axis():
  net, variables = drawn()
  columns = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)

  def decide(net, *columns):
    return net.apply(
      variables, *columns, True, method='decide', mutable=['batch_stats']
    )

  net = net.clone(dropout=0.0)
  expected, updates = decide(net, *columns)
  halves = [column.reshape(2, 3) for column in columns]
  found, pooled = jax.vmap(
    lambda *columns: decide(net.clone(axis_name='batch'), *columns),
    axis_name='batch',
  )(*halves)
  np.testing.assert_allclose(found.reshape(6), expected, atol=1e-5)
  jax.tree.map(
    lambda each, whole: np.testing.assert_allclose(each[0], whole, atol=1e-6),
    pooled,
    updates,
  )
