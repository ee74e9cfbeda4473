"""Layers that compute otherwise than their class, or with other weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deltax.delta import Full, Spec, distill


class Doubling(nn.Conv):
  """Its input twice."""

  @nn.compact
  def __call__(self, x):
    return super().__call__(2 * x)


class Scaled(nn.Conv):
  """Its kernel is made from what it stores."""

  def param(self, name, *args, **options):
    return 3 * super().param(name, *args, **options)


class Norm(nn.BatchNorm):
  """Adds one to what it normalises."""

  @nn.compact
  def __call__(self, x):
    return super().__call__(x + 1)


class Net(nn.Module):
  """Three layers; the second is another one than it looks like."""

  kind: str

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(4, (3, 3), name='first')(x))
    if self.kind == 'norm':
      x = nn.Conv(4, (1, 1), name='inner')(x)
      x = Norm(use_running_average=True, name='changed')(x)
    elif self.kind == 'weight norm':
      x = nn.WeightNorm(nn.Conv(4, (3, 3), name='changed'))(x)
    elif self.kind == 'spectral norm':
      conv = nn.Conv(4, (3, 3), name='changed')
      x = nn.SpectralNorm(conv)(x, update_stats=False)
    else:
      kind = {'doubling': Doubling, 'scaled': Scaled}[self.kind]
      x = kind(4, (3, 3), name='changed')(x)
    return nn.Conv(4, (3, 3), name='last')(nn.relu(x))


class NnxDoubling(nnx.Conv):
  def __call__(self, x):
    return super().__call__(2 * x)


class NnxNorm(nnx.BatchNorm):
  def __call__(self, x):
    return super().__call__(x + 1)


class NnxNet(nnx.Module):
  def __init__(self, kind):
    rngs = nnx.Rngs(0)
    conv = NnxDoubling if kind == 'doubling' else nnx.Conv
    self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
    self.changed = conv(4, 4, (3, 3), rngs=rngs)
    self.last = nnx.Conv(4, 4, (3, 3), rngs=rngs)
    self.around = nnx.data(None)
    if kind == 'weight norm':
      self.around = nnx.WeightNorm(self.changed, rngs=rngs)
    elif kind == 'spectral norm':
      self.around = nnx.SpectralNorm(self.changed, rngs=rngs)
    elif kind == 'norm':
      self.inner = nnx.Conv(4, 4, (1, 1), rngs=rngs)
      self.changed = NnxNorm(4, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.first(x))
    if hasattr(self, 'inner'):
      x = self.inner(x)
    x = self.changed(x) if self.around is None else self.around(x)
    return self.last(nnx.relu(x))


def noisy(tree):
  draw = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: x + jnp.float32(draw.uniform(0.1, 0.3, x.shape)), tree
  )


CASES = [
  *(('linen', kind) for kind in ('doubling', 'scaled', 'norm')),
  *(('linen', kind) for kind in ('weight norm', 'spectral norm')),
  *(('nnx', kind) for kind in ('doubling', 'norm')),
  *(('nnx', kind) for kind in ('weight norm', 'spectral norm')),
]


@pytest.mark.parametrize(('library', 'kind'), CASES)
def test_what_is_no_plain_layer_is_the_teachers_own_on_every_frame(
  library, kind
):
  clip = jax.random.normal(jax.random.key(0), (1, 3, 6, 8, 3))
  if library == 'linen':
    net = Net(kind)
    variables = noisy(net.init(jax.random.key(1), clip[:, 0]))
    expected = net.apply(variables, clip[0])
  else:
    net = NnxNet(kind)
    nnx.update(net, noisy(nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))))
    variables, used = nnx.state(net), nnx.clone(net)
    used.eval()
    expected = used(clip[0])  # weight norm writes to what it is given
  delta = distill(net, Spec(lambda layers: layers, (Full(),)))
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  names = {path.split('/')[-1] for path in params['students']}
  assert names == {'first', 'last'} | ({'inner'} if kind == 'norm' else set())
  if kind in ('doubling', 'scaled', 'weight norm'):
    pixels, later = 6 * 8, delta.macs(params, clip[:, 0]).later
    assert later == pixels * 9 * (3 * 4 + 4 * 4 + 4 * 4)
  frozen = delta.freeze(params, clip[:, 0])
  for outs in (
    delta.rollout(params, clip, 3),
    frozen.rollout(frozen.params, clip, 3),
  ):
    np.testing.assert_allclose(outs[0], expected, rtol=1e-4, atol=1e-4)
