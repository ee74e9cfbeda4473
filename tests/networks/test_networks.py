"""Networks in the style of the field, distilled as they stand.

What takes long is tested of a few of them, and of all with the slow tests.
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

from deltax.delta import Spec, distill

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
NAMES = [*(f'linen {name}' for name in LINEN), *(f'nnx {name}' for name in NNX)]
ONCE = set(NAMES) - {'linen convnext', 'linen vit', 'nnx unet'}


def among(fast, fixture='case'):
  """All networks; those not in `fast` with the slow tests."""
  names = [
    name if name in fast else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
  ]
  return pytest.mark.parametrize(fixture, names, indirect=True, scope='module')


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


@pytest.fixture(scope='module')
def case(request):
  return made(request.param, None)


@pytest.fixture(scope='module')
def half(request):
  return made(request.param, jnp.bfloat16)


@among(ONCE)
def test_copies_give_the_teacher(case):
  check_copies_give_the_teacher(case)


@among(ONCE)
def test_the_rollout_is_the_loop_of_key_frames_and_steps(case):
  check_the_rollout_is_the_loop(case)


@among(ONCE)
def test_the_clip_is_the_loop(case):
  check_the_clip_is_the_loop(case, 7)


@among({'linen swin'})
def test_a_clip_that_ends_with_its_second_key_frame_is_the_loop(case):
  check_the_clip_is_the_loop(case, 4)


@among(ONCE)
def test_frozen_is_unfrozen(case):
  check_frozen_is_unfrozen(case)


@among({'nnx vit'})
def test_gradients_are_finite(case):
  check_gradients_are_finite(case)


@among({'linen segformer'})
def test_frozen_programs_are_lowered_for_accelerators(case):
  check_programs_are_lowered(case)


@pytest.mark.parametrize('name', NAMES)
def test_the_cost_is_that_counted_by_hand(name):
  _, kind = name.split()
  assert macs_of(made(name, None)) == getattr(hand_counts, kind)(32, 48)


@among({'nnx vit'}, 'half')
def test_in_half_precision_the_rollout_is_the_loop(half):
  check_the_rollout_is_the_loop(half)
  assert jax.tree.leaves(half.loop)[0].dtype == jnp.bfloat16


@among((), 'half')
def test_in_half_precision_the_clip_is_the_loop(half):
  check_the_clip_is_the_loop(half, 7)


@among({'nnx vit'}, 'half')
def test_in_half_precision_frozen_is_unfrozen(half):
  check_frozen_is_unfrozen(half)


@among((), 'half')
def test_in_half_precision_gradients_are_finite(half):
  check_gradients_are_finite(half)


def test_a_span_does_not_begin_or_end_among_windows():
  case = made('linen swin', None)
  ends = ('layer_0/qkv', 'layer_0/mlp/narrow'), ('patches', 'layer_1/out')
  for span in ends:
    spec = Spec(layers=lambda layers: layers[:0], spans=(span,))
    delta = distill(case.net, spec)
    with pytest.raises(ValueError, match='ends in windows'):
      delta.init(jax.random.key(0), case.variables, case.clip[:, 0])
