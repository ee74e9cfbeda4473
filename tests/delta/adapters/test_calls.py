"""How networks are called: flags, methods, further inputs, collections."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deltax.delta import Full, Spec, as_network, distill

EVERY = Spec(lambda layers: layers, (Full(),))


class Flagged(nn.Module):
  """Dropout of a stream of its own, behind a flag that has no default."""

  @nn.compact
  def __call__(self, frames, deterministic):
    x = nn.Conv(4, (3, 3), name='conv')(frames)
    x = nn.Dropout(0.5, rng_collection='noise')(x, deterministic=deterministic)
    return nn.Dense(2, name='head')(x)


class Counting(nn.Module):
  """Counts its calls, in training and in evaluation."""

  @nn.compact
  def __call__(self, frames):
    calls = self.variable('counts', 'calls', lambda: jnp.zeros(()))
    calls.value = calls.value + 1
    return nn.Conv(2, (3, 3), name='conv')(frames)


class Guided(nn.Module):
  """Two inputs, one of them the frame; a method of another name."""

  @nn.compact
  def segment(self, guide, frames, scale=1.0):
    x = nn.Conv(4, (3, 3), name='conv')(frames) * guide
    return nn.Dense(3, name='head')(x), {'scaled': scale * x.mean((1, 2))}


class GuidedNnx(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
    self.head = nnx.Linear(4, 3, rngs=rngs)

  def segment(self, guide, frames, scale=1.0):
    x = self.conv(frames) * guide
    return self.head(x), {'scaled': scale * x.mean((1, 2))}


@pytest.fixture
def clip():
  return jax.random.normal(jax.random.key(0), (2, 4, 8, 12, 3))


def frame_by_frame(call, clip):
  outs = [call(clip[:, t]) for t in range(clip.shape[1])]
  return jax.tree.map(lambda *x: jnp.stack(x, 1), *outs)


def test_a_flag_is_found_by_its_name_and_every_stream_draws(clip):
  net = Flagged()
  variables = net.init(jax.random.key(1), clip[:, 0], deterministic=True)
  delta = distill(net, EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  outs = delta.rollout(params, clip, 2)
  expected = frame_by_frame(lambda x: net.apply(variables, x, True), clip)
  np.testing.assert_allclose(outs, expected, atol=1e-5)
  drawn = [
    delta.clip(params, clip, key=jax.random.key(seed), train=True)[0]
    for seed in (3, 4)
  ]
  assert jnp.abs(drawn[0] - drawn[1]).max() > 0.1


def test_collections_that_a_network_writes_to_do_not_matter(clip):
  net = Counting()
  variables = net.init(jax.random.key(1), clip[:, 0])
  delta = distill(net, EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  outs = jax.jit(lambda p, c: delta.rollout(p, c, 2))(params, clip)
  expected = frame_by_frame(
    lambda x: net.apply(variables, x, mutable='counts')[0], clip
  )
  np.testing.assert_allclose(outs, expected, atol=1e-5)


@pytest.mark.parametrize('library', ['linen', 'nnx'])
def test_a_network_is_called_as_its_user_says(clip, library):
  guide = jnp.linspace(0, 1, 96).reshape(8, 12, 1)

  def call(module, frames, train):
    return module.segment(guide[None], frames, scale=0.0 if train else 2.0)

  if library == 'linen':
    net = Guided()
    variables = net.init(
      jax.random.key(1), guide[None], clip[:, 0], method='segment'
    )

    def run(x):
      return net.apply(variables, guide[None], x, 2.0, method='segment')
  else:
    net = GuidedNnx(nnx.Rngs(1))
    variables = nnx.state(net)

    def run(x):
      return net.segment(guide[None], x, 2.0)

  delta = distill(as_network(net, call), EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  outs = delta.rollout(params, clip, 2)
  jax.tree.map(
    lambda own, expected: np.testing.assert_allclose(own, expected, atol=1e-5),
    outs,
    frame_by_frame(run, clip),
  )
  trained, _ = delta.clip(params, clip, gates={}, train=True)
  assert not trained[1]['scaled'].any()
  frozen = delta.freeze(params, clip[:, 0])
  deployed = frozen.rollout(frozen.params, clip, 2)
  np.testing.assert_allclose(deployed[0], outs[0], atol=1e-5)


class Layered(nn.Module):
  """Layers under a transformation of linen."""

  kind: str

  @nn.compact
  def __call__(self, x):
    if self.kind == 'remat':
      return nn.remat(nn.Conv)(3, (3, 3), name='conv')(x)
    stack = nn.scan(
      Body, variable_axes={'params': 0}, split_rngs={'params': True}, length=2
    )
    return stack(name='stack')(x, None)[0]


class Body(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    return nn.Dense(3, name='dense')(x), None


@pytest.mark.parametrize(
  ('kind', 'told'),
  [
    ('remat', r"layer 'conv' runs inside nn\.remat .*`Block` in place of `nn"),
    (
      'scan',
      r"'stack/dense' runs inside nn\.scan.*one by one, `for i in range",
    ),
  ],
)
def test_a_hidden_layer_is_refused_with_the_line_that_helps(clip, kind, told):
  net, frame = Layered(kind), clip[:, 0]
  variables = net.init(jax.random.key(1), frame)
  with pytest.raises(ValueError, match=told):
    distill(net, EVERY).init(jax.random.key(2), variables, frame)


class Halved(nn.Module):
  """A stride that no size here is a multiple of."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(4, (3, 3), (2, 2), name='down')(x))
    x = nn.relu(nn.ConvTranspose(4, (2, 2), (2, 2), name='up')(x))
    return nn.Dense(2, name='head')(x)


@pytest.mark.parametrize('channels', [1, 4, 7])
def test_any_channels_and_any_size_give_the_networks_own_behaviour(channels):
  net = Halved()
  clip = jax.random.normal(jax.random.key(0), (1, 3, 7, 9, channels))
  variables = net.init(jax.random.key(1), clip[:, 0])
  delta = distill(net, EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  outs = delta.rollout(params, clip, 3)
  assert outs.shape == (1, 3, 8, 10, 2)
  expected = frame_by_frame(lambda x: net.apply(variables, x), clip)
  np.testing.assert_allclose(outs, expected, atol=1e-5)


def test_further_leading_axes_are_those_of_a_map(clip):
  net = Halved()
  variables = net.init(jax.random.key(1), clip[:, 0])
  delta = distill(net, EVERY)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  cameras = jnp.stack([clip, 2 * clip])
  outs = jax.vmap(lambda clip: delta.rollout(params, clip, 2))(cameras)
  for own, camera in zip(outs, cameras, strict=True):
    np.testing.assert_allclose(own, delta.rollout(params, camera, 2), atol=1e-5)
