"""Students solved for: what is known comes out, and nothing gets worse."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deltax.delta import (
  Bottleneck,
  Depthwise,
  Full,
  LowRank,
  Skip,
  Spec,
  Strided,
  Teacher,
  distill,
  fit,
  gate_logits,
)
from tests.delta.conftest import build


class Pair(nn.Module):
  """Two convolutions with a ReLU between."""

  @nn.compact
  def __call__(self, frames):
    x = nn.relu(nn.Conv(16, (3, 3), name='one')(frames))
    return nn.Conv(6, (3, 3), name='two')(x)


def every(layers):
  return layers


def smooth_clips(seed, count=8, channels=3, size=(12, 16), rank=2):
  """Clips whose changes lie in a few directions of their channels."""
  draw = np.random.default_rng(seed)
  basis = np.random.default_rng(99).standard_normal((rank, channels))
  steps = draw.standard_normal((count, 3, *size, rank))
  for axis in (2, 3):  # neighbouring pixels are alike
    steps = (steps + np.roll(steps, 1, axis) + np.roll(steps, 2, axis)) / 2
  return jnp.asarray(steps.cumsum(1) @ basis, jnp.float32)


def test_a_low_rank_student_of_low_rank_changes_is_exact():
  # The kernel itself has full rank: its own decomposition is far off.
  net = nn.Sequential([nn.Conv(16, (3, 3))])
  clips = smooth_clips(0, channels=8)
  delta = distill(net, Spec(every, (LowRank(2),)))
  teacher = net.init(jax.random.key(0), clips[:, 0])
  params = delta.init(jax.random.key(1), teacher, clips[:, 0])
  fitted = fit(delta, params, [clips])
  assert fitted.before['layers_0']['low_rank_2_out'] > 0.1
  assert fitted.after['layers_0']['low_rank_2_out'] < 1e-3
  fresh = smooth_clips(1, channels=8)
  exact, _ = delta.reference(fitted.params, fresh)
  close, _ = delta.clip(fitted.params, fresh)
  missed = jnp.square(close - exact).sum()
  assert missed < 1e-3 * jnp.square(exact - exact[:, :1]).sum()


def pair(spec, seed=0):
  net, clips = Pair(), smooth_clips(seed, rank=3)
  teacher = net.init(jax.random.key(0), clips[:, 0])
  delta = distill(net, spec)
  return delta, delta.init(jax.random.key(1), teacher, clips[:, 0]), clips


def test_outputs_of_new_clips_are_nearer_than_before():
  delta, params, clips = pair(Spec(every, (LowRank(4),)))
  fitted = fit(delta, params, [clips])
  fresh = smooth_clips(5, rank=3)
  exact, _ = delta.reference(params, fresh)

  def missed(params):
    return float(jnp.square(delta.clip(params, fresh)[0] - exact).mean())

  copied = float(jnp.square(exact - exact[:, :1]).mean())
  assert missed(fitted.params) < 0.8 * missed(params)
  assert missed(fitted.params) < copied


def test_what_follows_is_fitted_to_what_the_students_before_give():
  def candidates(layer):
    return (LowRank(8),) if layer.path == 'one' else (Full(),)

  delta, params, clips = pair(Spec(every, candidates))
  fitted = fit(delta, params, [clips])
  # On the teacher's own inputs a copy of the layer misses nothing; here it
  # makes up for some of what the layer before misses.
  assert fitted.before['two']['full'] > 0.05
  assert fitted.after['two']['full'] < 0.9 * fitted.before['two']['full']
  alone, alone_params, _ = pair(Spec(lambda x: x[1:], candidates))
  found = fit(alone, alone_params, [clips])
  assert found.before['two']['full'] == pytest.approx(0, abs=1e-6)


ALL = (
  Full(),
  LowRank(4),
  Bottleneck(2),
  Depthwise(),
  Strided(),
  Skip(),
  Teacher(),
)


@pytest.mark.parametrize('reference', ['key', 'previous'])
def test_nothing_is_worse_than_its_start(reference):
  case = build(Spec(candidates=ALL, reference=reference), frames=4)
  fitted = fit(case.delta, case.params, [case.clip])
  assert set(fitted.after) == {'down', 'wide', 'shared', 'plain'}
  for path, errors in fitted.after.items():
    for name, error in errors.items():
      assert error <= fitted.before[path][name]
      assert np.isfinite(error)
    assert errors['skip'] == pytest.approx(1.0)
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype), case.params)
  assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), fitted.params)
  assert any(
    error < 0.98 * fitted.before[path][name]
    for path, errors in fitted.after.items()
    for name, error in errors.items()
  )


def test_a_layer_of_two_calls_is_fitted_to_both():
  case = build(
    Spec(lambda x: [y for y in x if y.path == 'shared'], (LowRank(4),))
  )
  fitted = fit(case.delta, case.params, [case.clip])
  error = fitted.after['shared']['low_rank_4_out']
  assert error < fitted.before['shared']['low_rank_4_out']


def test_still_clips_leave_everything_as_it_is():
  delta, params, clips = pair(Spec(every, (LowRank(4),)))
  still = jnp.repeat(clips[:, :1], 3, 1)
  fitted = fit(delta, params, [still])
  jax.tree.map(np.testing.assert_array_equal, fitted.params, params)


def test_it_is_deterministic():
  delta, params, clips = pair(Spec(every, (LowRank(4),)))
  one, other = (fit(delta, params, [clips[:4], clips[4:]]) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_linen_and_nnx_agree():
  clips = smooth_clips(0)
  linen = nn.Sequential([nn.Conv(16, (3, 3)), nn.relu, nn.Conv(6, (3, 3))])
  teacher = linen.init(jax.random.key(0), clips[:, 0])
  module = nnx.Sequential(
    nnx.Conv(3, 16, (3, 3), rngs=nnx.Rngs(0)),
    nnx.relu,
    nnx.Conv(16, 6, (3, 3), rngs=nnx.Rngs(0)),
  )
  for place in (0, 2):
    own = teacher['params'][f'layers_{place}']
    module.layers[place].kernel[...] = own['kernel']
    module.layers[place].bias[...] = own['bias']
  spec = Spec(every, (LowRank(4),))
  shares = []
  for net, variables in ((linen, teacher), (module, nnx.state(module))):
    delta = distill(net, spec)
    params = delta.init(jax.random.key(1), variables, clips[:, 0])
    shares.append([*fit(delta, params, [clips]).after.values()])
  for one, other in zip(*shares, strict=True):
    assert one == pytest.approx(other, rel=1e-3)


def test_gates_start_from_what_is_missed():
  delta, params, clips = pair(Spec(every, (Full(), LowRank(8), Skip())))
  fitted = fit(delta, params, [clips])
  logits = gate_logits(fitted)
  assert {path: own.shape for path, own in logits.items()} == {
    'one': (2,),
    'two': (2,),
  }
  for own in logits.values():
    assert own[0] > own[1] > 0  # full, low rank, and nothing last
  assert max(float(own.max()) for own in logits.values()) <= 4


def test_clips_and_references_that_cannot_be_fitted_to_are_named():
  delta, params, clips = pair(Spec(every, (LowRank(4),)))
  with pytest.raises(ValueError, match='two frames or more'):
    fit(delta, params, [])
  with pytest.raises(ValueError, match='two frames or more'):
    fit(delta, params, [clips[:, :1]])
  with pytest.raises(ValueError, match='of one size'):
    fit(delta, params, [clips, clips[:, :, :8]])
  delta, params, clips = pair(Spec(every, (Full(),), reference='none'))
  with pytest.raises(ValueError, match="'none' predict no change"):
    fit(delta, params, [clips])


@pytest.mark.parametrize('candidate', [LowRank(4), Bottleneck(2)])
def test_kernels_that_are_solved_for_are_of_one_size(candidate):
  delta, params, clips = pair(Spec(every, (candidate,)))
  # Inputs of another size than weights, as published networks have them.
  fitted = fit(delta, params, [300 * clips])
  for own in fitted.params['students'].values():
    (student,) = own.values()
    ends = candidate.first_kernel, candidate.last_kernel
    first, last = (np.linalg.norm(student[name]) for name in ends)
    assert first == pytest.approx(last, rel=1e-4)
