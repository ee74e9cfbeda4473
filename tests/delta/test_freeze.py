"""The deployed form computes what the trained form does, with less."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Spec, distill
from deltax.layers import conv2d


def bytes_of(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('biased', [False, True])
def test_the_frozen_network_equals_the_live_one(case, biased):
  if biased:
    for own in case.params['students'].values():
      for name, leaves in own.items():
        last = leaves['kernel' if name == 'full' else 'second']
        leaves['bias'] = jnp.linspace(-0.5, 0.5, last.shape[-1])
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  live = jax.jit(lambda p, c: case.delta.rollout(p, c, 4))(
    case.params, case.clip
  )
  outs = jax.jit(lambda p, c: frozen.rollout(p, c, 4))(frozen.params, case.clip)
  scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(live))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * max(scale, 1)),
    outs,
    live,
  )


def test_one_array_a_layer_is_cached(case):
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  live, _ = case.delta.keyframe(case.params, case.clip[:, 0])
  carry, _ = frozen.keyframe(frozen.params, case.clip[:, 0])
  assert {k: v.shape for k, v in carry.items()} == {
    k: v['z'].shape for k, v in live.items()
  }
  assert bytes_of(carry) < bytes_of(live)


def test_batch_norm_is_folded_only_where_it_alone_reads_a_convolution(case):
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  left = frozen.params['variables']['batch_stats']
  # One reads a sum; the output of the other's convolution is used twice.
  assert set(left) == {'alone_norm', 'plain_norm'}
  assert set(frozen.params['variables']['params']) == set(left)


def test_only_the_chosen_students_stay(case):
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  for path, index in case.delta.choose(case.params).items():
    expected = {'kernel'} if index == 0 else {'first', 'second'}
    assert set(frozen.params['students'][path]) == expected


def test_frozen_streams_have_phases_too(make_case):
  case = make_case(Spec())
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  live = case.delta.rollout(case.params, case.clip, 3, phase=1)
  outs = frozen.rollout(frozen.params, case.clip, 3, phase=1)
  np.testing.assert_allclose(outs['dense'], live['dense'], atol=1e-3)


def test_a_network_of_rgb_frames_needs_no_example_to_be_frozen(case):
  frozen, plain = (
    case.delta.freeze(case.params),
    case.delta.freeze(case.params, case.clip[:, 0]),
  )
  jax.tree.map(np.testing.assert_array_equal, frozen.params, plain.params)


def test_half_the_bytes_give_nearly_the_same(case):
  frame = case.clip[:, 0]
  frozen = case.delta.freeze(case.params, frame)
  half = case.delta.freeze(case.params, frame, dtype=jnp.bfloat16)
  carry, _ = frozen.keyframe(frozen.params, frame)
  short, out = half.keyframe(half.params, frame)
  assert 2 * bytes_of(short) == bytes_of(carry)
  assert {x.dtype for x in jax.tree.leaves(out)} == {frame.dtype}
  _, follows = half.step(half.params, short, case.clip[:, 1])
  assert jax.tree.map(jnp.shape, follows) == jax.tree.map(jnp.shape, out)
  outs = frozen.rollout(frozen.params, case.clip, 4)
  for name, found in half.rollout(half.params, case.clip, 4).items():
    expected = outs[name]
    error = float(jnp.abs(found - expected).max() / jnp.abs(expected).max())
    assert 0 < error < 0.05


def test_wide_layers_of_small_maps_run_in_winograds_form():
  net = nn.Sequential(
    [conv2d(128), conv2d(128), conv2d(128, dilation=2), conv2d(4)]
  )
  frame = jax.random.normal(jax.random.key(0), (1, 12, 10, 3))
  variables = net.init(jax.random.key(1), frame)
  delta = distill(net)
  params = delta.init(jax.random.key(2), variables, frame)
  frozen = delta.freeze(params, frame)
  convs = frozen.params['convs']
  assert [p for p in convs if 'winograd' in convs[p]] == ['layers_1']
  _, out = frozen.keyframe(frozen.params, frame)
  expected = net.apply(variables, frame)
  np.testing.assert_allclose(out, expected, atol=1e-4 * jnp.abs(expected).max())
