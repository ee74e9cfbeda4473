"""Students that are solved for: better than their start, and never worse."""

import functools

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
  NoChange,
  Residual,
  Skip,
  Spec,
  Strided,
  Teacher,
  distill,
  fit,
)
from deltax.delta.units import Layer

SHAPE = 12, 16


class Plain(nn.Module):
  """Three convolutions with students, one of them strided, between two."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(16, (3, 3), name='first')(x))
    x = nn.relu(nn.Conv(16, (3, 3), name='second')(x))
    x = nn.relu(nn.Conv(24, (3, 3), strides=2, name='third')(x))
    x = nn.relu(nn.Conv(16, (1, 1), name='fourth')(x))
    return nn.Conv(2, (1, 1), name='last')(x)


class Twin(nnx.Module):
  """The same of nnx."""

  def __init__(self, rngs):
    conv = functools.partial(nnx.Conv, rngs=rngs)
    self.first = conv(3, 16, (3, 3))
    self.second = conv(16, 16, (3, 3))
    self.third = conv(16, 24, (3, 3), strides=2)
    self.fourth = conv(24, 16, (1, 1))
    self.last = conv(16, 2, (1, 1))

  def __call__(self, x):
    for layer in (self.first, self.second, self.third, self.fourth):
      x = nnx.relu(layer(x))
    return self.last(x)


class Stage(nn.Module):
  """A block without a shortcut, of another width."""

  features: int

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(self.features, (3, 3))(x))
    return nn.relu(nn.Conv(self.features, (3, 3))(x))


class Staged(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(8, (3, 3), name='first')(x))
    x = Stage(12, name='stage')(x)
    return nn.Conv(2, (1, 1), name='last')(x)


def clips(count=8, time=3, seed=0):
  """Smooth pictures that move and brighten: changes of few dimensions."""
  rng = np.random.default_rng(seed)
  wide = jax.image.resize(
    rng.normal(size=(count, 6, 8, 3)), (count, 20, 28, 3), 'cubic'
  )
  shifts = rng.integers(0, 8, (count, time, 2))
  frames = [
    [np.asarray(wide)[b, y : y + 12, x : x + 16] for y, x in shifts[b]]
    for b in range(count)
  ]
  return jnp.asarray(np.array(frames), jnp.float32)


def distilled(net, *candidates, **options):
  delta = distill(net, Spec(candidates=candidates, **options))
  frame = jnp.zeros((1, *SHAPE, 3))
  teacher = net.init(jax.random.key(1), frame)
  return delta, delta.init(jax.random.key(2), teacher, frame)


def missed(delta, params, clip):
  """Share of the squares of the outputs' change that is missed."""
  outs, _ = jax.jit(delta.clip)(params, clip)
  exact, _ = jax.jit(delta.reference)(params, clip)
  change = exact - exact[:, :1]
  return float(jnp.square(outs - exact).sum() / jnp.square(change).sum())


@pytest.mark.parametrize(
  ('candidate', 'gain'),
  [
    (LowRank(8), 0.9),
    (Bottleneck(4), 0.9),
    (Depthwise(), 0.9),
    (Strided(), 1.02),  # it starts in least squares over such pictures
  ],
)
def test_students_follow_other_clips_better(candidate, gain):
  delta, params = distilled(Plain(), candidate)
  fitted = fit(delta, params, [clips()])
  others = clips(seed=5)
  before, after = (missed(delta, p, others) for p in (params, fitted.params))
  assert after < gain * before
  for path, before in fitted.before.items():
    for name, share in before.items():
      assert fitted.after[path][name] <= share + 1e-6
      channels = fitted.channels[path][name]
      assert channels.shape == (delta_width(delta, params, path),)
  jax.tree.map(
    np.testing.assert_array_equal, fitted.params['teacher'], params['teacher']
  )


def delta_width(delta, params, path):
  return params['teacher']['params'][path]['bias'].shape[0]


def test_a_kernel_is_taken_apart_for_what_comes_in():
  # Four of 32 channels vary: rank 4 * 3 is all that there is to follow, and
  # nothing that a decomposition of the kernel itself knows of.
  layer = Layer(
    path='a',
    call=0,
    kernel=(3, 3, 32, 16),
    strides=(1, 1),
    padding=((1, 1), (1, 1)),
    dilation=(1, 1),
    groups=1,
    bias=True,
    inputs=(8, 8, 32),
    outputs=(8, 8, 16),
  )
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=layer.kernel).astype(np.float32)
  x = np.zeros((6, 8, 8, 32), np.float32)
  x[..., :4] = rng.normal(size=(6, 8, 8, 4))
  candidate = LowRank(1)
  assert candidate.rank(layer) == 16
  exact = layer.convolve(jnp.asarray(kernel), x)

  def error(params):
    off = candidate.apply(params, jnp.asarray(x), layer) - exact
    return float(jnp.square(off).sum() / jnp.square(exact).sum())

  own = candidate.decompose(kernel, jnp.asarray(x), layer)
  own = {n: jnp.asarray(a, jnp.float32) for n, a in own.items()}
  assert error(own) < 1e-3 < 0.2 < error(candidate.init(kernel, layer))
  assert own['first'].shape == (3, 1, 32, 16)
  assert own['second'].shape == (1, 3, 16, 16)


def test_what_is_behind_sees_what_fitted_students_make():
  delta, params = distilled(Plain(), LowRank(8))
  clip = clips()
  fitted = fit(delta, params, [clip])
  # Each alone, with the exact change of its input, would be fitted otherwise.
  _, aux = delta.clip(fitted.params, clip)
  _, exact = delta.reference(params, clip)
  held = slice(3, None, 4)
  for path, after in fitted.after.items():
    off = aux.deltas[path] - exact[path]
    share = jnp.square(off[held]).sum() / jnp.square(exact[path][held]).sum()
    assert after['low_rank_8_out'] == pytest.approx(float(share), rel=1e-3)


def test_clips_may_come_in_parts_and_all_candidates_are_fitted():
  delta, params = distilled(Plain(), LowRank(8), Skip(), Full(), Teacher())
  clip = clips()
  whole = fit(delta, params, [clip])
  parts = fit(delta, params, [clip[:3], clip[3:]])
  jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
  for path, after in whole.after.items():
    assert after['skip'] == 1
    assert after['full'] == pytest.approx(whole.before[path]['full'])
    assert set(after) == {'low_rank_8_out', 'skip', 'full'}


def test_both_libraries_give_the_same():
  frame = jnp.zeros((1, *SHAPE, 3))
  teacher = Plain().init(jax.random.key(1), frame)
  module = Twin(nnx.Rngs(0))
  state = nnx.state(module)
  nnx.replace_by_pure_dict(state, teacher['params'])
  spec = Spec(candidates=(LowRank(8),))
  one, other = distill(Plain(), spec), distill(module, spec)
  fitted = [
    fit(delta, delta.init(jax.random.key(2), variables, frame), [clips()])
    for delta, variables in ((one, teacher), (other, state))
  ]
  for path, after in fitted[0].after.items():
    for name, share in after.items():
      assert fitted[1].after[path][name] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize('spans', [(), (('Conv_0', 'Conv_1'),)])
def test_students_of_blocks_follow_better(spans):
  blocks, net = (
    (lambda found: [b for b in found if b.kind == 'Stage']),
    Staged(),
  )
  options = {'blocks': blocks}
  if spans:
    options = {'spans': (('stage/Conv_0', 'stage/Conv_1'),)}
  delta, params = distilled(
    net,
    Teacher(),
    layers=lambda layers: [],
    block_candidates=(Residual(2), NoChange()),
    **options,
  )
  path = next(iter(params['gates']))
  params['gates'][path] = jnp.ones(1)  # the first candidate
  fitted, others = fit(delta, params, [clips(16)]), clips(seed=5)
  (residual,) = (n for n in fitted.after[path] if n != 'skip')
  assert fitted.after[path][residual] < 0.5 * fitted.before[path][residual]
  assert missed(delta, fitted.params, others) < 0.7 * missed(
    delta, params, others
  )


def test_where_nothing_moves_students_stay():
  delta, params = distilled(Plain(), LowRank(8))
  still = jnp.broadcast_to(clips()[:, :1], (8, 3, *SHAPE, 3))
  fitted = fit(delta, params, [still])
  jax.tree.map(np.testing.assert_array_equal, fitted.params, params)
  assert fitted.after['second']['low_rank_8_out'] == 0


@pytest.mark.parametrize(
  ('given', 'reference', 'words'),
  [
    ([], 'key', '4 clips or more'),
    ([clips(3)], 'key', '4 clips or more'),
    ([clips(4, time=1)], 'key', 'two frames or more'),
    ([clips(4)], 'none', 'predict outputs'),
  ],
)
def test_what_cannot_be_fitted_is_told(given, reference, words):
  delta, params = distilled(Plain(), LowRank(8), reference=reference)
  with pytest.raises(ValueError, match=words):
    fit(delta, params, given)
