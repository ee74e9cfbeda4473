"""HRNet: its outputs' sizes, what it refuses, what training updates."""

import jax
import jax.numpy as jnp
import pytest

from deltax.models.hrnet import HRNet

NET = HRNet(num_classes=5, stem=8, planes=4, exchanges=(1, 1, 1))


def shapes(rows, cols, **options):
  frames = jax.ShapeDtypeStruct((2, rows, cols, 3), jnp.float32)
  variables = jax.eval_shape(NET.init, jax.random.key(0), frames)
  return variables, jax.eval_shape(
    lambda *args: NET.apply(*args, **options), variables, frames
  )


@pytest.mark.parametrize('size', [(64, 96), (36, 100), (4, 8)])
def test_one_logit_a_class_comes_at_a_quarter_of_the_size(size):
  _, out = shapes(*size)
  assert out.shape == (2, size[0] // 4, size[1] // 4, 5)


@pytest.mark.parametrize('size', [(62, 64), (64, 99)])
def test_sizes_that_do_not_divide_by_4_are_refused(size):
  with pytest.raises(
    ValueError,
    match=f'HRNet got frames of {size[0]}x{size[1]}; .* multiples of 4',
  ):
    shapes(*size)


def test_training_updates_the_statistics_of_every_batch_norm():
  variables, (_, updates) = shapes(64, 64, train=True, mutable=['batch_stats'])
  norms = [
    path
    for path, _ in jax.tree.leaves_with_path(variables['params'])
    if path[-1].key == 'scale'
  ]
  assert len(jax.tree.leaves(updates['batch_stats'])) == 2 * len(norms)


def test_wider_branches_double_and_meet_in_the_head():
  variables, _ = shapes(64, 64)
  kernel = variables['params']['last_layer_0']['kernel']
  assert kernel.shape == (1, 1, 60, 60)  # 4 + 8 + 16 + 32 channels
