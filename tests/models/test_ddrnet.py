"""The networks: their size and cost, and what they refuse."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.delta import distill


def shapes_of(net):
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), frame)


def count(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@functools.cache
def tiny():
  net = models.create('ddrnet23_tiny', num_classes=5)
  draw = np.random.default_rng(0).uniform
  shapes = shapes_of(net)
  variables = {
    'params': jax.tree.map(
      lambda x: draw(-0.5, 0.5, x.shape), shapes['params']
    ),
    'batch_stats': jax.tree.map(
      lambda x: draw(0.5, 1.5, x.shape), shapes['batch_stats']
    ),
  }
  frames = jnp.asarray(draw(-1, 1, (2, 64, 64, 3)), jnp.float32)
  return net, jax.tree.map(jnp.float32, variables), frames


@functools.cache
def published():
  """The published network, its delta network, and parameters as shapes."""
  net = models.create('ddrnet23_slim', num_classes=19)
  delta, variables = distill(net), shapes_of(net)
  frame = jnp.zeros((1, 64, 64, 3))
  params = jax.eval_shape(delta.init, jax.random.key(0), variables, frame)
  return delta, params


def macs(logit):
  delta, params = published()
  gates = dict.fromkeys(params['students'], jnp.array([logit]))
  frame = jax.ShapeDtypeStruct((1, 1024, 2048, 3), jnp.float32)
  return delta.macs({**params, 'gates': gates}, frame)


def test_an_unknown_name_lists_the_known_ones():
  with pytest.raises(
    ValueError, match=r"'ddrnet99'; known: ddrnet23_slim, ddr"
  ):
    models.create('ddrnet99', num_classes=19)


def test_the_published_network_has_the_published_number_of_parameters():
  _, params = published()
  millions = count(params['teacher']['params']) / 1e6
  assert round(millions, 3) == 5.696
  students = {
    name: sum(count(own[name]) for own in params['students'].values()) / 1e6
    for name in ('full', 'low_rank_4_out')
  }
  assert students == pytest.approx(
    {'full': 5.674, 'low_rank_4_out': 1.295}, 1e-3
  )


def test_the_published_network_costs_the_published_number_of_operations():
  assert macs(-1.0).key == pytest.approx(36.39e9, rel=0.005)


@pytest.mark.parametrize(
  ('interval', 'giga'), [(2, 22.15), (3, 17.40), (5, 13.60), (10, 10.75)]
)
def test_compressed_later_frames_cost_the_published_number(interval, giga):
  # The published counter also counts 0.09 G of activations and pooling.
  amortised = macs(-1.0).amortised(interval) / 1e9
  assert amortised == pytest.approx(giga - 0.09, abs=0.02)


def test_full_copies_cost_what_the_teacher_does():
  counts = macs(1.0)
  biases = counts.key - counts.later
  assert 0 < biases < 0.005 * counts.key  # which students do not have


def test_one_logit_a_class_comes_at_an_eighth_of_the_size():
  net, variables, _ = tiny()
  for rows, cols in ((64, 64), (72, 136), (8, 24)):
    frames = jax.ShapeDtypeStruct((2, rows, cols, 3), jnp.float32)
    out = jax.eval_shape(net.apply, variables, frames)
    assert out.shape == (2, rows // 8, cols // 8, 5)


@pytest.mark.parametrize('size', [(60, 64), (64, 100), (33, 33)])
def test_sizes_that_do_not_divide_by_8_are_refused(size):
  net, variables, _ = tiny()
  frames = jnp.zeros((1, *size, 3))
  rows, cols = size
  with pytest.raises(
    ValueError, match=f'frames of {rows}x{cols}; expected .* multiples of 8'
  ):
    net.apply(variables, frames)


def test_training_updates_every_running_statistic():
  net, variables, frames = tiny()
  train = functools.partial(net.apply, train=True, mutable=['batch_stats'])
  _, updates = jax.jit(train)(variables, frames)
  before = jax.tree.leaves_with_path(variables['batch_stats'])
  after = dict(jax.tree.leaves_with_path(updates['batch_stats']))
  assert len(before) == len(after) == 2 * 55
  for path, leaf in before:
    assert np.isfinite(after[path]).all()
    assert (after[path] != leaf).any(), jax.tree_util.keystr(path)


def test_evaluation_looks_at_each_frame_alone():
  net, variables, frames = tiny()
  apply = jax.jit(net.apply)
  swapped = apply(variables, frames[::-1])[::-1]
  np.testing.assert_allclose(apply(variables, frames), swapped, atol=1e-5)
  changed = frames.at[1].mul(2)
  np.testing.assert_allclose(
    apply(variables, frames)[0], apply(variables, changed)[0], atol=1e-5
  )
