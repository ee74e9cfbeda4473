"""Codes of videos and their comparison."""

import functools

import dns_networks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import retrieval
from deltax.retrieval import VideoSimilarity

FINE = ('visil', 'visil_symmetric', 'fine_attention', 'fine_binary')
FINE += ('fine_plain', 's2vs')


def run(net, variables, *videos):
  return dns_networks.run(net, None, variables, *videos)


def videos(count, frames, size=32, regions=3, seed=0):
  draw = np.random.default_rng(seed)
  x = draw.standard_normal((count, frames, regions, size))
  return np.array(retrieval.unit(x.astype(np.float32)))


@functools.cache
def drawn(name):
  net = retrieval.create(name)
  video = jnp.zeros((1, 4, 3, 32))
  return net, jax.jit(net.init)(jax.random.key(2), video, video)


def encode(name, video):
  net, variables = drawn(name)
  return dns_networks.run(net, 'encode', variables, video)


@pytest.mark.parametrize('name', FINE)
def test_zero_frames_stay_zero_and_shapes_are_kept(name):
  video = videos(2, 6)
  video[1, 4:] = 0
  codes = encode(name, video)
  assert codes.shape == video.shape
  np.testing.assert_array_equal(codes[1, 4:], 0)
  assert (np.abs(codes[0]).max(-1) > 0).all()
  # Any leading axes will do.
  np.testing.assert_allclose(encode(name, video[0]), codes[0], atol=1e-6)


@pytest.mark.parametrize('name', FINE)
def test_what_pads_changes_no_score(name):
  net, variables = drawn(name)
  query, target = videos(2, 8), videos(2, 12, seed=1)
  expected = run(net, variables, query, target)
  assert expected.score.shape == (2,)
  assert expected.raw.shape == (2, 2, 3)
  assert expected.frames.shape == (2, 8, 12)
  assert (np.abs(expected.score) <= 1).all()

  def longer(video):
    return np.pad(video, ((0, 0), (0, 8), (0, 0), (0, 0)))

  masks = [
    np.pad(np.ones((2, n), np.float32), ((0, 0), (0, 8))) for n in (8, 12)
  ]
  found = run(net, variables, longer(query), longer(target), *masks)
  np.testing.assert_allclose(found.score, expected.score, atol=1e-6)
  np.testing.assert_allclose(found.raw[:, :2, :3], expected.raw, atol=1e-5)
  np.testing.assert_array_equal(found.mask[:, :2, :3], 1)
  assert found.mask.sum() == 12
  one_mask = run(net, variables, query, longer(target), None, masks[1])
  np.testing.assert_allclose(one_mask.score, expected.score, atol=1e-6)


def test_the_steps_together_are_the_whole():
  query, target = videos(2, 8), videos(2, 12, seed=1)
  for name in ('fine_binary', 'fine_attention'):
    net, variables = drawn(name)
    whole = run(net, variables, query, target)
    codes = [encode(name, video) for video in (query, target)]
    parts = dns_networks.run(net, 'compare', variables, *codes)
    np.testing.assert_allclose(parts.score, whole.score, atol=1e-7)
    again = dns_networks.run(net, 'compare_frames', variables, whole.frames)
    np.testing.assert_allclose(again.score, whole.score, atol=1e-7)


def test_codes_are_signs_of_projections():
  video = videos(1, 4)[0]
  net, variables = drawn('fine_binary')
  projection = np.asarray(variables['params']['binarization']['projection'])
  np.testing.assert_allclose(projection @ projection.T, np.eye(32), atol=1e-5)
  codes = encode('fine_binary', video)
  np.testing.assert_array_equal(codes, np.sign(video @ projection))
  # Without their lengths: a region's code does not depend on it.
  np.testing.assert_array_equal(encode('fine_binary', 7 * video), codes)
  frames = run(net, variables, video[None], video[None]).frames
  np.testing.assert_allclose(np.diagonal(frames[0]), 1.0)
  # All bits but those of one region differ in sign: as far as can be.
  against = run(net, variables, video[None], -video[None, :, :1]).frames
  assert against.min() < 0


def test_soft_signs_have_gradients_and_hard_ones_have_none():
  video = videos(1, 4)[0]
  net, variables = drawn('fine_binary')
  soft = net.apply(variables, video, method='encode', train=True)
  hard = encode('fine_binary', video)
  assert (np.abs(soft) <= 1).all()
  np.testing.assert_array_equal(np.sign(soft), hard)

  def total(params, train):
    codes = net.apply(params, video, method='encode', train=train)
    return (codes * video).sum()

  gradients = [jax.grad(total)(variables, train) for train in (True, False)]
  soft, hard = (jax.tree.leaves(each['params'])[0] for each in gradients)
  assert np.abs(soft).max() > 1
  np.testing.assert_array_equal(hard, 0)


def test_frames_alone_are_matched_without_a_comparator():
  net = VideoSimilarity(index='none', comparator=False)
  video = videos(2, 8)
  found = net.apply({}, video, video[:, :3])
  np.testing.assert_allclose(
    found.score, retrieval.chamfer(found.frames), atol=1e-6
  )
  np.testing.assert_array_equal(found.raw, found.frames)
  # All of the second video is found in the first.
  back = net.apply({}, video[:, :3], video)
  np.testing.assert_allclose(back.score, 1.0, atol=1e-6)


def test_scores_stay_within_their_limits_and_raw_tells_by_how_much():
  net, variables = drawn('fine_plain')
  variables = jax.tree.map(lambda x: 30 * x, variables)
  video = videos(2, 8)
  found = run(net, variables, video, video)
  assert np.abs(found.raw).max() > 1
  assert (np.abs(found.score) <= 1).all()


def test_gradients_are_finite_with_frames_that_pad():
  query, target = videos(2, 8), videos(2, 12, seed=1)
  masks = [np.ones((2, n), np.float32) for n in (8, 12)]
  query[1, 5:], masks[0][1, 5:] = 0, 0
  target[1], masks[1][1] = 0, 0
  for name in ('fine_binary', 'visil'):
    net, variables = drawn(name)

    def total(variables, net=net):
      found = net.apply(variables, query, target, *masks, train=True)
      return found.score.sum() + found.raw.sum()

    gradients = jax.jit(jax.grad(total))(variables)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_the_context_of_the_teacher_starts_at_length_1():
  _, variables = drawn('visil')
  context = variables['params']['attention']['context_vector']['kernel']
  assert np.linalg.norm(context) == pytest.approx(1, rel=1e-5)


def test_unknown_names_list_the_known_ones():
  with pytest.raises(ValueError, match="no network 'vsil'; known: visil, "):
    retrieval.create('vsil')
  net = VideoSimilarity(index='bits')
  with pytest.raises(ValueError, match="no index 'bits'; known: attention, b"):
    net.init(jax.random.key(0), jnp.zeros((4, 1, 8)), method='encode')
