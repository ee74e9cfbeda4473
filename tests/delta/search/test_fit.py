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
  make_spec,
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


class Head(nn.Module):
  """A layer, and one that is called on two levels."""

  @nn.compact
  def __call__(self, frames):
    x = nn.relu(nn.Conv(16, (3, 3), name='one')(frames))
    head = nn.Conv(16, (3, 3), name='head')
    return head(x), head(x[:, ::2, ::2])


def test_a_layer_of_two_calls_is_fitted_behind_students_that_are():
  """Behind students as they start, its changes would be noise."""
  clips = smooth_clips(0)
  delta = distill(Head(), Spec(every, (LowRank(4),)))
  variables = Head().init(jax.random.key(0), clips[:, 0])
  params = delta.init(jax.random.key(1), variables, clips[:, 0])
  draw = np.random.default_rng(0).standard_normal
  students = params['students']
  noise = jax.tree.map(lambda x: jnp.asarray(draw(x.shape)), students['one'])
  params = {**params, 'students': {**students, 'one': noise}}
  fitted = fit(delta, params, [clips])
  assert fitted.before['one']['low_rank_4_out'] > 1
  assert fitted.before['head']['low_rank_4_out'] < 1
  assert fitted.after['head']['low_rank_4_out'] < 0.5


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


class Twice(nn.Module):
  """A narrow block that keeps its shape, and one that does not."""

  @nn.compact
  def __call__(self, frames):
    x = nn.Conv(8, (3, 3), name='stem')(frames)
    x = Narrow(8, 1, name='same')(x)
    x = Narrow(12, 2, name='down')(x)
    return nn.Conv(4, (1, 1), name='head')(x)


class Narrow(nn.Module):
  """Two convolutions, the second of few channels."""

  features: int
  stride: int

  @nn.compact
  def __call__(self, x):
    y = nn.Conv(3, (1, 1), strides=self.stride, name='narrow')(x)
    y = nn.Conv(self.features, (3, 3), name='wide')(nn.relu(y))
    return y if self.stride > 1 else x + y


def blocks(spec):
  net, clips = Twice(), smooth_clips(0, rank=3)
  teacher = net.init(jax.random.key(0), clips[:, 0])
  delta = distill(net, spec)
  return delta, delta.init(jax.random.key(1), teacher, clips[:, 0]), clips


@pytest.mark.parametrize('shrink', [1, 2])
def test_blocks_of_any_shape_start_better_than_no_change(shrink):
  delta, params, clips = blocks(
    make_spec(blocks=('Narrow',), block_candidates=(('residual', 1, shrink),))
  )
  fitted = fit(delta, params, [clips])
  name = f'residual_1_{shrink}'
  for path in ('same', 'down'):
    assert fitted.after[path][name] < 0.7 * min(1, fitted.before[path][name])
  fresh = smooth_clips(7, rank=3)
  exact, _ = delta.reference(params, fresh)

  def missed(params):
    return float(jnp.square(delta.clip(params, fresh)[0] - exact).sum())

  copied = float(jnp.square(exact - exact[:, :1]).sum())
  assert missed(fitted.params) < 0.7 * min(copied, missed(params))
  assert jax.tree.structure(fitted.params) == jax.tree.structure(params)


def test_a_linear_map_goes_through_the_layers_of_a_block():
  # Of no more directions than half the student's width: two channels each.
  net = nn.Sequential([Straight()])
  clips = smooth_clips(0, channels=8, rank=4)
  delta = distill(
    net, make_spec(blocks=('Straight',), block_candidates=(('residual', 1),))
  )
  teacher = net.init(jax.random.key(0), clips[:, 0])
  params = delta.init(jax.random.key(1), teacher, clips[:, 0])
  fitted = fit(delta, params, [clips])
  assert fitted.before['layers_0']['residual_1_1'] > 0.3
  assert fitted.after['layers_0']['residual_1_1'] < 1e-2


class Straight(nn.Module):
  """A linear block whose outputs have four directions."""

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(4, (3, 3), use_bias=False, name='wide')(x)
    return nn.Conv(12, (1, 1), use_bias=False, name='narrow')(x)


def test_a_span_is_fitted_as_a_whole():
  delta, params, clips = blocks(
    make_spec(
      spans=(('same/narrow', 'down/wide'),), block_candidates=(('residual', 2),)
    )
  )
  fitted = fit(delta, params, [clips])
  (path,) = fitted.after
  assert path == 'same/narrow-down/wide'
  assert fitted.after[path]['residual_2_1'] < 0.8


def test_layers_of_less_than_float32_are_fitted_too():
  net = nn.Sequential(
    [nn.Conv(16, (3, 3)), nn.Conv(16, (3, 3), dtype=jnp.bfloat16)]
  )
  clips = smooth_clips(0)
  delta = distill(net, Spec(every, (LowRank(4),)))
  teacher = net.init(jax.random.key(0), clips[:, 0])
  teacher['params']['layers_1'] = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16), teacher['params']['layers_1']
  )
  params = delta.init(jax.random.key(1), teacher, clips[:, 0])
  fitted = fit(delta, params, [clips])
  assert fitted.after['layers_1']['low_rank_4_out'] < 0.9
  student = fitted.params['students']['layers_1']['low_rank_4_out']
  assert {array.dtype for array in student.values()} == {jnp.bfloat16.dtype}
