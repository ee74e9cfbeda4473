"""Networks of linen in the style of the field, distilled as they stand."""

import functools

import jax
import jax.numpy as jnp
import linen_images
import linen_tokens
import pytest
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

NETWORKS = {
  'convnext': linen_images.ConvNeXt,
  'mobilenet': linen_images.MobileNet,
  'unet': linen_images.UNet,
  'vit': linen_tokens.ViT,
  'segformer': linen_tokens.SegFormer,
  'swin': linen_tokens.Swin,
}


@functools.cache
def made(name, dtype):
  net = NETWORKS[name](dtype)
  clip = jax.random.normal(jax.random.key(0), (2, 7, 32, 48, 3))
  variables = jax.jit(net.init)(jax.random.key(1), clip[:, 0])
  return Case(net, noisy(variables, 0), clip)


@pytest.fixture(scope='module', params=NETWORKS)
def case(request):
  yield made(request.param, None)
  made.cache_clear()


@pytest.fixture(scope='module', params=NETWORKS)
def half(request):
  yield made(request.param, jnp.bfloat16)
  made.cache_clear()


def test_copies_give_the_teacher(case):
  check_copies_give_the_teacher(case)


def test_the_rollout_is_the_loop_of_key_frames_and_steps(case):
  check_the_rollout_is_the_loop(case)


@pytest.mark.parametrize('frames', [4, 7])
def test_the_clip_is_the_loop(case, frames):
  check_the_clip_is_the_loop(case, frames)


def test_frozen_is_unfrozen(case):
  check_frozen_is_unfrozen(case)


def test_gradients_are_finite(case):
  check_gradients_are_finite(case)


def test_frozen_programs_are_lowered_for_accelerators(case):
  check_programs_are_lowered(case)


def test_half_rollout(half):
  check_the_rollout_is_the_loop(half)


def test_half_clip(half):
  check_the_clip_is_the_loop(half, 7)


def test_half_frozen(half):
  check_frozen_is_unfrozen(half)


def test_half_gradients(half):
  check_gradients_are_finite(half)
