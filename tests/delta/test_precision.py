"""Layers that compute in types of their own."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Full, LowRank, Residual, Skip, Spec, distill, losses
from deltax.delta.spec import blocks_of

TYPES = {
  'bfloat16 arithmetic': (jnp.bfloat16, jnp.float32, None),
  'and norms': (jnp.bfloat16, jnp.float32, jnp.bfloat16),
  'all bfloat16': (jnp.bfloat16, jnp.bfloat16, jnp.bfloat16),
  'float16': (jnp.float16, jnp.float32, jnp.float16),
}


class Layers(nn.Module):
  """Every kind of layer, and a block, in some types.

  Attributes:
    compute: of the layers' arithmetic.
    held: of their parameters.
    normed: of the norm's arithmetic; what its input and parameters have if
      None, and so float32.
  """

  compute: type | None = None
  held: type = jnp.float32
  normed: type | None = None

  @nn.compact
  def __call__(self, x, train=False):
    make = functools.partial
    own = {'dtype': self.compute, 'param_dtype': self.held}
    conv = make(nn.Conv, **own)
    x = conv(16, (3, 3), (2, 2), use_bias=False, name='stem')(x)
    norm = nn.BatchNorm(not train, dtype=self.normed, name='norm')
    x = nn.relu(norm(x))
    x = x + Inner(conv, name='inner')(x)
    x = conv(16, (3, 3), feature_group_count=16, name='groups')(x)
    x = nn.ConvTranspose(8, (4, 4), (2, 2), name='up', **own)(x)
    x = nn.relu(nn.Dense(16, name='dense', **own)(x))
    return conv(4, (1, 1), name='head')(x)


class Inner(nn.Module):
  conv: type

  @nn.compact
  def __call__(self, x):
    return self.conv(16, (3, 3), name='conv')(nn.relu(x))


EVERY = Spec(lambda layers: layers, (Full(),))
MIXED = Spec(
  lambda layers: layers,
  (Skip(), LowRank(2), Full()),
  blocks=blocks_of('Inner'),
  block_candidates=(Residual(2),),
)


@pytest.fixture(params=TYPES)
def typed(request):
  net = Layers(*TYPES[request.param])
  clip = jax.random.normal(jax.random.key(0), (2, 4, 16, 24, 3))
  variables = net.init(jax.random.key(1), clip[:, 0])
  return net, variables, clip


def apart(outs, expected):
  """Root mean square of a difference, relative to what is expected."""
  outs, expected = outs.astype(jnp.float32), expected.astype(jnp.float32)
  difference = jnp.square(outs - expected).mean()
  return float(jnp.sqrt(difference / jnp.square(expected).mean()))


def frame_by_frame(net, variables, clip):
  return jnp.stack([net.apply(variables, clip[:, t]) for t in range(4)], 1)


def rolled(functions, params, clip):
  return jax.jit(lambda p, c: functions.rollout(p, c, 3))(params, clip)


def test_perfect_students_lose_little_more_than_the_network_itself(typed):
  net, variables, clip = typed
  own = frame_by_frame(net, variables, clip)
  plain = jax.tree.map(lambda x: x.astype(jnp.float32), variables)
  exact = frame_by_frame(Layers(), plain, clip)
  rounding = apart(own, exact)
  assert 0 < rounding < 0.01
  delta = distill(net, EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  frozen = delta.freeze(params, clip[:, 0])
  # An output is rounded on the key frame, its change, and their sum: three
  # times instead of once, where frames have nothing in common, as here. What is
  # frozen adds a constant, of which most is zero with these students.
  for outs, limit in (
    (rolled(delta, params, clip), 1.8),
    (delta.clip(params, clip, interval=3)[0], 1.8),
    (rolled(frozen, frozen.params, clip), 1.45),
  ):
    assert outs.dtype == own.dtype
    assert apart(outs, exact) < limit * rounding


def test_what_is_kept_has_the_type_of_the_activations(typed):
  net, variables, clip = typed
  delta = distill(net, EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  carry, _ = jax.eval_shape(delta.keyframe, params, clip[:, 0])
  assert carry['stem']['z'].dtype == net.compute
  assert carry['dense']['z'].dtype == net.compute
  following, _ = jax.eval_shape(delta.step, params, carry, clip[:, 1])
  assert following == carry
  students = jax.tree.leaves(params['students'])
  assert {x.dtype for x in students} == {np.dtype(net.held)}


def test_every_form_agrees_and_has_a_gradient(typed):
  net, variables, clip = typed
  delta = distill(net, MIXED)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  outs = rolled(delta, params, clip)
  folded, _ = jax.jit(lambda p, c: delta.clip(p, c, interval=3))(params, clip)
  assert apart(folded, outs) < 0.02
  frozen = delta.freeze(params, clip[:, 0])
  assert apart(rolled(frozen, frozen.params, clip), outs) < 0.02

  @jax.jit
  def slope(params):
    def loss(params):
      outs, aux = delta.clip(
        params, clip, key=jax.random.key(3), train=True, interval=3
      )
      _, changes = delta.reference(params, clip, interval=3)
      loss = jnp.square(outs.astype(jnp.float32)).mean()
      for name, change in changes.items():
        loss += jnp.square(
          (aux.deltas[name] - change).astype(jnp.float32)
        ).mean()
      return loss

    return jax.grad(loss)(params)

  slopes = slope(params)
  assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(slopes))
  moved = slopes['students']['dense']['full']['kernel']
  assert jnp.abs(moved).max() > 0


def test_losses_of_changes_are_summed_in_float32():
  change = {'conv': jnp.full((1, 2, 64, 64, 8), 300.0, jnp.float16)}
  nothing = {'conv': jnp.zeros_like(change['conv'])}
  error = losses.distillation(change, nothing)['conv']
  assert error.dtype == jnp.float32
  np.testing.assert_allclose(error, 300.0**2, 1e-5)


def test_the_recurrent_form_adds_up_its_rounding_and_its_frozen_form_does_not():
  net = Layers(jnp.bfloat16)
  clip = jax.random.normal(jax.random.key(0), (1, 16, 16, 24, 3))
  variables = net.init(jax.random.key(1), clip[:, 0])
  outs = [net.apply(variables, clip[:, t]) for t in range(16)]
  spec = Spec(lambda layers: layers, (Full(),), reference='previous')
  delta = distill(net, spec)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  frozen = delta.freeze(params, clip[:, 0])
  live = jax.jit(lambda p, c: delta.rollout(p, c, 16))(params, clip)
  deployed = jax.jit(lambda p, c: frozen.rollout(p, c, 16))(frozen.params, clip)
  near, far = (apart(live[:, t], outs[t]) for t in (1, 15))
  assert far > 1.3 * near
  assert apart(deployed[:, 15], outs[15]) < near
