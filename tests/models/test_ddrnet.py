"""DDRNet: what it refuses, what training updates, what a frame depends on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models


def shapes_of(net):
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), frame)


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


def test_an_unknown_name_lists_the_known_ones():
  with pytest.raises(
    ValueError, match=r"'ddrnet99'; known: ddrnet23_slim, ddr"
  ):
    models.create('ddrnet99', num_classes=19)


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


def test_an_option_that_a_network_has_not_is_named():
  with pytest.raises(ValueError, match='cannot have the options nope'):
    models.create('ddrnet23_tiny', num_classes=3, nope=1)
