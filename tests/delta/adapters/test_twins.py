"""The same network in linen and in nnx gives the same, function by function."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deltax.delta import Full, LowRank, Spec, distill
from deltax.delta.cost import count
from deltax.delta.run.keyframes import early_layers
from deltax.delta.search import sensitivity
from deltax.delta.students.blocks import Residual
from deltax.delta.survey import survey

NORM = {'momentum': 0.9, 'epsilon': 1e-3}


class Block(nn.Module):
  """A residual block."""

  @nn.compact
  def __call__(self, x, train=False):
    norm = nn.BatchNorm(use_running_average=not train, name='norm', **NORM)
    y = nn.relu(norm(nn.Conv(6, (3, 3), name='a')(x)))
    return nn.relu(x + nn.Conv(6, (3, 3), name='b')(y))


class Net(nn.Module):
  """Norms, blocks, a span, a shared layer; of every class of layers one."""

  @nn.compact
  def __call__(self, x, train=False):
    norm = nn.BatchNorm(use_running_average=not train, name='norm', **NORM)
    x = nn.Conv(6, (3, 3), 2, use_bias=False, name='stem')(x)
    x = norm(x)
    x = Block(name='unit')(x, train)
    x = Block(name='plain')(x, train)
    x = nn.relu(nn.Conv(6, (3, 5), padding=2, name='first')(x))
    x = nn.Conv(8, (3, 3), kernel_dilation=2, name='last')(x)
    shared = nn.Conv(8, (1, 3), feature_group_count=2, name='shared')
    x = shared(nn.relu(x)) + shared(nn.swish(x))
    tokens = x.reshape(len(x), -1, 8)
    attention = nn.MultiHeadDotProductAttention(2, name='attention')
    mixed = nn.Einsum((8, 2, 4), 'btc,cnd->btnd', name='mix')(attention(tokens))
    x = x + mixed.reshape(x.shape)
    pooled = nn.Dense(3, name='pooled')(x.mean((1, 2)))
    up = nn.ConvTranspose(4, (3, 3), (2, 2), name='up')
    return {'dense': up(x), 'pooled': pooled}


class NnxBlock(nnx.Module):
  def __init__(self, rngs):
    self.a = nnx.Conv(6, 6, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(6, rngs=rngs, **NORM)
    self.b = nnx.Conv(6, 6, (3, 3), rngs=rngs)

  def __call__(self, x):
    return nnx.relu(x + self.b(nnx.relu(self.norm(self.a(x)))))


NnxBlock.__name__ = 'Block'  # the kind of the block, to rules


class NnxNet(nnx.Module):
  def __init__(self, rngs):
    self.stem = nnx.Conv(3, 6, (3, 3), 2, use_bias=False, rngs=rngs)
    self.norm = nnx.BatchNorm(6, rngs=rngs, **NORM)
    self.unit = NnxBlock(rngs)
    self.plain = NnxBlock(rngs)
    self.first = nnx.Conv(6, 6, (3, 5), padding=2, rngs=rngs)
    self.last = nnx.Conv(6, 8, (3, 3), kernel_dilation=2, rngs=rngs)
    self.shared = nnx.Conv(8, 8, (1, 3), feature_group_count=2, rngs=rngs)
    self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
    self.mix = nnx.Einsum('btc,cnd->btnd', (8, 2, 4), (2, 4), rngs=rngs)
    self.pooled = nnx.Linear(8, 3, rngs=rngs)
    self.up = nnx.ConvTranspose(8, 4, (3, 3), (2, 2), rngs=rngs)

  def __call__(self, x):
    x = self.plain(self.unit(self.norm(self.stem(x))))
    x = self.last(nnx.relu(self.first(x)))
    x = self.shared(nnx.relu(x)) + self.shared(nnx.swish(x))
    tokens = x.reshape(len(x), -1, 8)
    x = x + self.mix(self.attention(tokens)).reshape(x.shape)
    pooled = self.pooled(x.mean((1, 2)))
    return {'dense': self.up(x), 'pooled': pooled}


def noise(tree):
  """Every array replaced by noise, most of it positive."""
  leaves, structure = jax.tree.flatten(tree)
  draw = np.random.default_rng(0)
  noisy = [jnp.float32(draw.uniform(-0.1, 0.2, x.shape)) for x in leaves]
  return jax.tree.unflatten(structure, noisy)


def equal(a, b, tolerance):
  """Up to a share of the largest value, or of 1."""

  def check(x, y):
    scale = max(1.0, float(jnp.abs(y).max(initial=0.0)))
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)

  jax.tree.map(check, a, b)


@pytest.fixture(scope='module')
def networks():
  """The clip, the linen module and its variables, the nnx one and its state."""
  clip = jax.random.normal(jax.random.key(0), (2, 4, 12, 16, 3))
  variables = noise(Net().init(jax.random.key(0), clip[:, 0]))
  variables['batch_stats'] = jax.tree.map(
    lambda x: jnp.abs(x) + 0.1, variables['batch_stats']
  )
  module = NnxNet(nnx.Rngs(0))
  nnx.update(module, variables['params'], variables['batch_stats'])
  return clip, (Net(), variables), (module, nnx.state(module))


def make_spec(reference):
  """Students of layers, and where they can be of a block and of a span too."""
  options = {}
  if reference == 'key':
    chosen = ('unit', 'attention')
    options['blocks'] = lambda blocks: [b for b in blocks if b.path in chosen]
    options['spans'] = (('first', 'last'),)
  return Spec(
    candidates=lambda layer: (Full(), LowRank(2))[: 3 - layer.groups],
    block_candidates=(Residual(2),),
    reference=reference,
    **options,
  )


@pytest.fixture(scope='module')
def twins(networks):
  """`(reference) ->` clip, parameters, and both delta networks."""

  @functools.cache
  def make(reference):
    clip, *nets = networks
    deltas = [distill(net, make_spec(reference)) for net, _ in nets]
    params, others = (
      delta.init(jax.random.key(1), variables, clip[:, 0])
      for delta, (_, variables) in zip(deltas, nets, strict=True)
    )
    jax.tree.map(np.testing.assert_array_equal, params, others)
    for name in ('students', 'gates'):
      params[name] = noise(params[name])
    return clip, params, *deltas

  return make


def followed(delta, params, clip):
  carry, first = delta.keyframe(params, clip[:, 0])
  for frame in clip.swapaxes(0, 1)[1:]:
    carry, last = delta.step(params, carry, frame)
  return carry, first, last


def rolled(delta, params, clip):
  return delta.rollout(params, clip, 3, phase=1)


def folded(delta, params, clip):
  return delta.clip(params, clip, interval=3)


def scanned(delta, params, clip):
  return delta.clip(params, clip, interval=3, scan=True)


def trained(delta, params, clip):
  """The loss of a training pass, the new statistics, and the gradient."""

  def loss(params):
    outs, aux = delta.clip(params, clip, key=jax.random.key(2), train=True)
    _, changes = delta.reference(params, clip)
    missed = [jnp.square(aux.deltas[k] - z).mean() for k, z in changes.items()]
    return jnp.square(outs['dense']).mean() + sum(missed), aux.batch_stats

  return jax.value_and_grad(loss, has_aux=True)(params)


def frozen(delta, params, clip):
  frozen = delta.freeze(params, clip[:, 0])
  run = jax.jit(functools.partial(frozen.rollout, interval=3))
  return frozen.params, run(frozen.params, clip)


def halved(delta, params, clip):
  half = delta.freeze(params, clip[:, 0], dtype=jnp.bfloat16)
  return jax.jit(half.keyframe)(half.params, clip[:, 0])


JITTED = (followed, rolled, folded, scanned, trained)


@pytest.mark.parametrize(
  ('reference', 'function'),
  [
    *(('key', function) for function in (*JITTED, frozen, halved)),
    *(('previous', function) for function in (followed, folded, frozen)),
  ],
)
def test_every_function_gives_what_it_gives_in_the_other_library(
  reference, function, twins
):
  clip, params, *deltas = twins(reference)
  runs = [functools.partial(function, delta) for delta in deltas]
  if function in JITTED:
    runs = [jax.jit(run) for run in runs]
  expected, found = (run(params, clip) for run in runs)
  equal(found, expected, 0.03 if function is halved else 1e-5)


def test_so_does_what_is_told_of_a_network(twins, networks):
  clip, params, *deltas = twins('key')
  _, *nets = networks
  frame, told = clip[:, 0], []
  for delta, (net, variables) in zip(deltas, nets, strict=True):
    listed = survey(net, variables, frame)
    look = early_layers(net, ['stem'], 2)
    errors = sensitivity.errors(delta, params, clip)
    told.append(
      (
        listed._replace(blocks=()),
        # Attention has another name in the other library.
        [block._replace(kind='') for block in listed.blocks],
        delta.macs(params, frame),
        delta.costs(params, frame),
        delta.choose(params),
        {k: np.round(v, 4).tolist() for k, v in errors.items()},
        count(net, variables, frame),
        look(variables, frame)['stem'].tolist(),
      )
    )
  for expected, found in zip(*told, strict=True):
    assert found == expected
