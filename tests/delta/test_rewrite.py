"""Programs of somebody's network, rewritten to be fast on CPU."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import LowRank, Spec, distill
from deltax.delta.deploy.rewrite import rewritten
from deltax.layers import fast_conv, forms


def operations(function, *args):
  """Names of what a function does, that of its inner programs left out."""
  jaxpr = jax.make_jaxpr(function)(*args)
  return [equation.primitive.name for equation in jaxpr.eqns]


@pytest.mark.parametrize(
  ('window', 'stride', 'padding'),
  [
    ((2, 2), (2, 2), 'VALID'),
    ((3, 3), (2, 2), 'SAME'),
    ((3, 3), (1, 1), ((1, 1), (0, 1))),
    ((1, 3), (2, 1), 'SAME'),
  ],
)
def test_the_numbers_are_the_same(window, stride, padding):
  def network(x):
    x = jnp.sin(x)
    y = nn.max_pool(x, window, stride, padding)
    return {'pooled': jnp.cos(y), 'itself': x, 'none': None, 'constant': 3}, x

  x = jax.random.normal(jax.random.key(0), (2, 7, 9, 3)) - 5
  want, got = network(x), rewritten(network)(x)
  assert jax.tree.structure(want) == jax.tree.structure(got)
  jax.tree.map(np.testing.assert_array_equal, got, want)
  assert 'reduce_window_max' in operations(network, x)
  assert 'reduce_window_max' not in operations(rewritten(network), x)


def test_pools_of_other_kinds_stay_as_they_are():
  def network(x, number):
    deep = jax.lax.reduce_window(
      *(x, -jnp.inf, jax.lax.max, (1, 2, 2, 2), (1, 2, 2, 1), 'VALID')
    )
    spread = jax.lax.reduce_window(
      *(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), 'VALID'),
      window_dilation=(1, 2, 2, 1),
    )
    return deep, spread, nn.avg_pool(x, (2, 2)), nn.max_pool(number, (2, 2))

  x = jax.random.normal(jax.random.key(0), (1, 8, 8, 2))
  number = jnp.arange(16).reshape(1, 4, 4, 1)
  fast = rewritten(network)
  assert operations(fast, x, number) == operations(network, x, number)
  jax.tree.map(
    np.testing.assert_array_equal, fast(x, number), network(x, number)
  )


def test_other_machines_keep_theirs():
  x = jnp.ones((1, 4, 4, 1))
  with forms.forms_for('gpu'):
    network = rewritten(lambda x: nn.max_pool(x, (2, 2)))
    assert 'reduce_window_max' in operations(network, x)


class Pooled(nn.Module):
  """A network as somebody brings it: functions of flax between its layers."""

  @nn.compact
  def __call__(self, x):
    first = nn.relu(nn.Conv(8, (3, 3))(x))
    x = nn.max_pool(first, (2, 2), (2, 2))
    x = nn.relu(nn.Conv(8, (3, 3))(x))
    x = nn.max_pool(x, (3, 3), (2, 2), 'SAME')
    return nn.Conv(2, (1, 1))(x), first


def test_a_frozen_network_has_fast_pools_and_gives_the_same():
  frames = jax.random.normal(jax.random.key(0), (3, 1, 11, 12, 3))
  net = Pooled()
  variables = net.init(jax.random.key(1), frames[0])
  delta = distill(net, Spec(lambda layers: layers[1:2], (LowRank(2),)))
  params = delta.init(jax.random.key(2), variables, frames[0])
  frozen = delta.freeze(params, frames[0])
  carry, key = frozen.keyframe(frozen.params, frames[0])
  # Up to rounding: it has other forms of convolutions too.
  want = net.apply(variables, frames[0])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), key, want
  )
  _, later = frozen.step(frozen.params, carry, frames[1])
  live, _ = delta.keyframe(params, frames[0])
  _, want = delta.step(params, live, frames[1])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), later, want
  )
  for function in (frozen.step, jax.grad(total(frozen.step))):
    done = operations(function, frozen.params, carry, frames[1])
    assert 'reduce_window_max' not in done


def total(step):
  return lambda *args: step(*args)[1][0].sum()


def test_an_image_that_two_read_is_not_computed_again_for_the_second():
  kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 4)) / 6

  def network(x):
    for _ in range(4):
      x = nn.relu(x + fast_conv(x, kernel, (1, 1), 'SAME'))
    return x

  def most_read(function):
    """Arrays that one operation of the compiled program reads at most."""
    text = jax.jit(function).lower(x).compile().as_text()
    entry = text[text.index('ENTRY') :]
    return max(
      line.split('fusion(')[1].split(')')[0].count('%')
      for line in entry.splitlines()
      if ' fusion(' in line
    )

  x = jax.random.normal(jax.random.key(1), (1, 16, 16, 4))
  assert most_read(network) > 2
  assert most_read(rewritten(network)) == 2
  np.testing.assert_allclose(rewritten(network)(x), network(x), rtol=1e-6)
