"""EfficientNet and the segmentation network on its features."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.delta import Full, LowRank, Spec, distill
from deltax.delta.cost import count
from deltax.delta.spec import detector
from deltax.layers import BatchNorm
from deltax.models.efficientnet import InvertedResidual, efficientnet
from deltax.models.efficientnet_seg import EfficientNetSeg
from deltax.models.inputs import normalise


def shapes_of(net, size=(64, 64)):
  frame = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), frame)


def filled(shapes, seed=0):
  """Random variables: a variance that is positive, weights that keep sizes."""
  draw = np.random.default_rng(seed)

  def fill(path, leaf):
    if path[-1].key == 'kernel':
      spread = math.sqrt(2 / math.prod(leaf.shape[:-1]))
      return jnp.float32(spread * draw.standard_normal(leaf.shape))
    low, high = (0.5, 1.5) if path[-1].key in ('scale', 'var') else (-0.2, 0.2)
    return jnp.float32(draw.uniform(low, high, leaf.shape))

  return jax.tree_util.tree_map_with_path(fill, shapes)


def block(**options):
  def norm(name):
    return BatchNorm(use_running_average=True, epsilon=1e-3, name=name)

  return InvertedResidual(norm=norm, act=jax.nn.silu, **options)


def slow_block(x, params, stats, kernel, stride):
  """An inverted residual with squeeze and excitation, in loops of numpy."""

  def norm(x, name):
    p, s = params[name], stats[name]
    return (x - s['mean']) / np.sqrt(s['var'] + 1e-3) * p['scale'] + p['bias']

  def pointwise(x, p):
    return x @ p['kernel'][0, 0] + p.get('bias', 0)

  def sigmoid(x):
    return 1 / (1 + np.exp(-x))

  def silu(x):
    return x * sigmoid(x)

  x = silu(norm(pointwise(x, params['conv_pw']), 'bn1'))
  size = [-(-n // stride) for n in x.shape[1:3]]
  zeros = [
    max((m - 1) * stride + kernel - n, 0)
    for m, n in zip(size, x.shape[1:3], strict=True)
  ]
  pads = [(z // 2, z - z // 2) for z in zeros]  # the odd zero comes last
  padded = np.pad(x, ((0, 0), *pads, (0, 0)))
  weights = params['conv_dw']['kernel'][:, :, 0]
  y = np.zeros((len(x), *size, x.shape[-1]))
  for row, col in itertools.product(*map(range, size)):
    top, left = row * stride, col * stride
    window = padded[:, top : top + kernel, left : left + kernel]
    y[:, row, col] = (window * weights).sum((1, 2))
  y = silu(norm(y, 'bn2'))
  gate = silu(pointwise(y.mean((1, 2)), params['se']['conv_reduce']))
  gate = sigmoid(pointwise(gate, params['se']['conv_expand']))
  y = y * gate[:, None, None]
  return norm(pointwise(y, params['conv_pwl']), 'bn3')


@pytest.mark.parametrize('size', [(6, 8), (7, 9)])
@pytest.mark.parametrize('kernel', [3, 5])
def test_a_block_with_a_stride_is_the_slow_one(kernel, size):
  net = block(features=6, kernel=kernel, stride=2, expand=2)
  x = np.random.default_rng(1).standard_normal((2, *size, 4))
  x = x.astype(np.float32)
  variables = filled(jax.eval_shape(net.init, jax.random.key(0), x))
  own = jax.tree.map(np.asarray, variables)
  expected = slow_block(x, own['params'], own['batch_stats'], kernel, 2)
  np.testing.assert_allclose(net.apply(variables, x), expected, atol=1e-5)


@pytest.mark.parametrize(
  'name, parameters, gmacs',
  [
    ('efficientnet_b0', 5_288_548, 0.386),
    ('efficientnet_lite0', 4_652_008, 0.385),
  ],
)
def test_the_classifiers_have_the_published_size_and_cost(
  name, parameters, gmacs
):
  net = models.create(name, num_classes=1000)
  shapes = shapes_of(net)
  leaves = jax.tree.leaves(shapes['params'])
  assert sum(math.prod(leaf.shape) for leaf in leaves) == parameters
  frame = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  counted = count(net, shapes, frame).key / 1e9
  assert counted == pytest.approx(gmacs, abs=0.001)


def test_sizes_of_the_stages_are_rounded_up():
  net = efficientnet('efficientnet_lite0')
  frame = jax.ShapeDtypeStruct((2, 100, 36, 3), jnp.float32)
  stages = jax.eval_shape(net.apply, shapes_of(net), frame)
  expected = [
    (2, -(-100 // s), -(-36 // s), c)
    for s, c in (
      (2, 16),
      (4, 24),
      (8, 40),
      (16, 80),
      (16, 112),
      (32, 192),
      (32, 320),
    )
  ]
  assert [stage.shape for stage in stages] == expected


def test_lite0_sees_the_numbers_that_it_was_trained_on():
  pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
  affine = efficientnet('efficientnet_lite0').input_affine
  own = efficientnet('efficientnet_tiny', input_affine=affine)
  plain = efficientnet('efficientnet_tiny')
  variables = filled(shapes_of(own))
  with_affine = jax.jit(own.apply)(variables, normalise(pixels))
  frames = (jnp.float32(pixels) - 127) / 128
  without = jax.jit(plain.apply)(variables, frames)
  for a, b in zip(with_affine, without, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_dropped_path_leaves_the_shortcut_and_a_kept_one_makes_up_for_it():
  x = jnp.asarray(np.random.default_rng(0).standard_normal((32, 4, 4, 8)))
  plain, dropping = (block(features=8, drop=drop) for drop in (0.0, 0.75))
  variables = filled(jax.eval_shape(plain.init, jax.random.key(0), x))
  change = plain.apply(variables, x, train=True) - x
  rngs = {'dropout': jax.random.key(3)}
  dropped = dropping.apply(variables, x, train=True, rngs=rngs) - x
  kept = np.abs(np.asarray(dropped)).max((1, 2, 3)) > 0
  assert 0 < kept.sum() < 16
  np.testing.assert_allclose(dropped[kept], 4 * change[kept], atol=1e-5)
  np.testing.assert_array_equal(dropping.apply(variables, x) - x, change)


def test_paths_are_dropped_more_often_towards_the_end():
  drops = []

  def watch(call, args, kwargs, context):
    if isinstance(context.module, InvertedResidual):
      drops.append(context.module.drop)
    return call(*args, **kwargs)

  net = efficientnet('efficientnet_lite0', drop_path=0.2)
  with nn.intercept_methods(watch):
    shapes_of(net)
  assert drops == pytest.approx([0.2 * i / 16 for i in range(16)])


def test_an_unknown_member_lists_the_known_ones():
  with pytest.raises(ValueError, match=r"'efficientnet_b9'; known: .*lite0"):
    efficientnet('efficientnet_b9')


def small_seg():
  net = EfficientNetSeg(5, backbone='efficientnet_tiny', width=16)
  variables = filled(shapes_of(net))
  draw = np.random.default_rng(2).standard_normal
  clip = jnp.float32(draw((1, 3, 32, 64, 3)))
  return net, variables, clip


def test_segmentation_scores_are_an_eighth_of_the_frame():
  net = models.create('efficientnet_lite0_seg', num_classes=11)
  frame = jax.ShapeDtypeStruct((2, 72, 136, 3), jnp.float32)
  logits = jax.eval_shape(net.apply, shapes_of(net), frame)
  assert logits.shape == (2, 9, 17, 11)
  with pytest.raises(ValueError, match=r'72x100; expected .* multiples of 8'):
    jax.eval_shape(net.apply, shapes_of(net), jnp.zeros((1, 72, 100, 3)))


def test_every_stride_and_the_whole_picture_reach_the_scores():
  net, variables, clip = small_seg()

  def loss(params):
    logits, updates = net.apply(
      {**variables, 'params': params},
      clip[0],
      train=True,
      mutable=['batch_stats'],
    )
    return jnp.square(logits).mean(), updates['batch_stats']

  grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables['params'])
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert np.abs(grad).max() > 0, path
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), stats, variables['batch_stats']
  )
  assert all(jax.tree.leaves(moved))


def test_its_delta_network_steps_as_it_runs_whole_clips():
  net, variables, clip = small_seg()
  spec = Spec(layers=detector, candidates=(Full(), LowRank(4, 'min')))
  delta = distill(net, spec)
  params = jax.jit(delta.init)(jax.random.key(0), variables, clip[:, 0])
  layers = params['students']
  assert 'backbone/blocks_1_0/conv_pw' in layers and 'project_0' in layers
  assert not any('conv_dw' in path or 'stem' in path for path in layers)
  whole, _ = jax.jit(delta.clip)(params, clip)
  carry, first = jax.jit(delta.keyframe)(params, clip[:, 0])
  outputs, step = [first], jax.jit(delta.step)
  for t in (1, 2):
    carry, out = step(params, carry, clip[:, t])
    outputs.append(out)
  np.testing.assert_allclose(whole, jnp.stack(outputs, 1), atol=1e-5)
  by_frame = jax.jit(net.apply)(variables, clip[0])[None]
  np.testing.assert_allclose(first, by_frame[:, 0], atol=1e-5)
  assert np.abs(whole - by_frame)[:, 1:].max() > 1e-3
