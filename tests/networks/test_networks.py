"""Networks in the style of the field, distilled as they stand.

Each kind is tested at once in one library, in the other with the slow tests.
"""

import functools

import hand_counts
import jax
import jax.numpy as jnp
import linen_images
import linen_tokens
import nnx_networks
import pytest
from flax import nnx
from properties import (
  Case,
  check_copies_give_the_teacher,
  check_frozen_is_unfrozen,
  check_gradients_are_finite,
  check_programs_are_lowered,
  check_the_clip_is_the_loop,
  check_the_rollout_is_the_loop,
  macs_of,
  noisy,
)

LINEN = {
  'convnext': linen_images.ConvNeXt,
  'mobilenet': linen_images.MobileNet,
  'unet': linen_images.UNet,
  'vit': linen_tokens.ViT,
  'segformer': linen_tokens.SegFormer,
  'swin': linen_tokens.Swin,
}
NNX = {
  'convnext': nnx_networks.ConvNeXt,
  'vit': nnx_networks.ViT,
  'unet': nnx_networks.UNet,
}
TWICE = {'linen convnext', 'linen vit', 'nnx unet'}
NAMES = [*(f'linen {name}' for name in LINEN), *(f'nnx {name}' for name in NNX)]
EVERY = [
  pytest.param(name, marks=pytest.mark.slow) if name in TWICE else name
  for name in NAMES
]
HALF = [
  name
  if name in ('linen swin', 'nnx vit')
  # Elsewhere the same layers are in the same types.
  else pytest.param(name, marks=pytest.mark.slow)
  for name in NAMES
]


@functools.lru_cache(1)
def made(name, dtype):
  library, kind = name.split()
  clip = jax.random.normal(jax.random.key(0), (2, 7, 32, 48, 3))
  if library == 'linen':
    net = LINEN[kind](dtype)
    variables = jax.jit(net.init)(jax.random.key(1), clip[:, 0])
  else:
    net = NNX[kind](rngs=nnx.Rngs(0), dtype=dtype)
    variables = nnx.to_pure_dict(nnx.state(net))
  return Case(net, noisy(variables, 0), clip)


@pytest.fixture(scope='module', params=EVERY)
def case(request):
  return made(request.param, None)


@pytest.fixture(scope='module', params=HALF)
def half(request):
  return made(request.param, jnp.bfloat16)


def test_copies_give_the_teacher(case):
  check_copies_give_the_teacher(case)


def test_the_rollout_is_the_loop_of_key_frames_and_steps(case):
  check_the_rollout_is_the_loop(case)


@pytest.mark.parametrize('frames', [pytest.param(4, marks=pytest.mark.slow), 7])
def test_the_clip_is_the_loop(case, frames):
  check_the_clip_is_the_loop(case, frames)


def test_frozen_is_unfrozen(case):
  check_frozen_is_unfrozen(case)


def test_gradients_are_finite(case):
  check_gradients_are_finite(case)


def test_frozen_programs_are_lowered_for_accelerators(case):
  check_programs_are_lowered(case)


@pytest.mark.parametrize('name', NAMES)
def test_the_cost_is_that_counted_by_hand(name):
  _, kind = name.split()
  case = made(name, None)
  assert macs_of(case) == getattr(hand_counts, kind)(32, 48)


def test_in_half_precision_the_rollout_is_the_loop(half):
  check_the_rollout_is_the_loop(half)
  out = jax.tree.leaves(half.loop)[0]
  assert out.dtype == jnp.bfloat16


def test_in_half_precision_the_clip_is_the_loop(half):
  check_the_clip_is_the_loop(half, 7)


def test_in_half_precision_frozen_is_unfrozen(half):
  check_frozen_is_unfrozen(half)


def test_in_half_precision_gradients_are_finite(half):
  check_gradients_are_finite(half)
