"""A small network with everything a delta network must cope with."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from deltax.delta import Delta, Full, LowRank, Spec, distill
from deltax.layers import BatchNorm, conv2d


class Small(nn.Module):
  """Strides, dilation, groups, biases, a shared layer, two outputs."""

  @nn.compact
  def __call__(self, x, train=False):
    def norm(x, name):
      return BatchNorm(use_running_average=not train, name=name)(x)

    x = nn.relu(norm(conv2d(8, 3, 2, bias=True, name='stem')(x), 'stem_norm'))
    y = nn.relu(norm(conv2d(12, 3, 2, bias=True, name='down')(x), 'down_norm'))
    y = conv2d(12, 3, dilation=2, name='wide')(y)
    shared = conv2d(12, 1, name='shared')
    y = shared(nn.relu(y)) + shared(nn.swish(y))
    plain = nn.Conv(12, (3, 5), padding='SAME', strides=(1, 2), name='plain')
    z = plain(norm(y, 'alone_norm'))
    z = norm(z, 'plain_norm') + z.mean((1, 2), keepdims=True)
    return {'dense': conv2d(5, 1, bias=True, name='head')(z), 'sum': z.sum(-1)}


@dataclasses.dataclass
class Case:
  net: nn.Module
  delta: Delta
  params: Any
  clip: jax.Array


def scramble(key, tree):
  """Every array of a tree replaced by noise of about its size."""
  leaves, structure = jax.tree.flatten(tree)
  keys = jax.random.split(key, len(leaves))
  noisy = [
    leaf + 0.1 * jax.random.normal(k, leaf.shape)
    for k, leaf in zip(keys, leaves, strict=True)
  ]
  return jax.tree.unflatten(structure, noisy)


def build(spec: Spec | None = None, *, frames: int = 7, seed: int = 0) -> Case:
  """A delta network with random statistics and students."""
  net, keys = Small(), iter(jax.random.split(jax.random.key(seed), 8))
  clip = jax.random.normal(next(keys), (2, frames, 24, 32, 3))
  variables = net.init(next(keys), clip[:, 0])
  variables = {
    'params': scramble(next(keys), variables['params']),
    'batch_stats': scramble(next(keys), variables['batch_stats']),
  }
  delta = distill(net, spec)
  params = delta.init(next(keys), variables, clip[:, 0])
  params['students'] = scramble(next(keys), params['students'])
  params['gates'] = {
    path: jnp.full_like(logits, 1.0 if i % 2 else -1.0)
    for i, (path, logits) in enumerate(params['gates'].items())
  }
  return Case(net, delta, params, clip)


@pytest.fixture
def make_case():
  return build


@pytest.fixture(params=['key', 'previous'])
def case(request):
  return build(Spec(candidates=(Full(), LowRank(4)), reference=request.param))
