"""Batch norm against its definition, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.layers import BatchNorm

AXIS = 'batch'


def start(x, **options):
  """A batch norm with statistics of its own, and its variables."""
  norm = BatchNorm(use_running_average=False, epsilon=1e-3, **options)
  draw = np.random.default_rng(1).uniform
  channels = x.shape[-1]
  names = ('scale', 'bias', 'mean', 'var')
  scale, bias, mean, var = (
    draw(0.5, 1.5, channels).astype(np.float32) for _ in names
  )
  assert jax.tree.map(jnp.shape, norm.init(jax.random.key(0), x)) == {
    'params': {'scale': (channels,), 'bias': (channels,)},
    'batch_stats': {'mean': (channels,), 'var': (channels,)},
  }
  return norm, {
    'params': {'scale': scale, 'bias': bias},
    'batch_stats': {'mean': mean, 'var': var},
  }


def activations(*shape):
  draw = np.random.default_rng(0).standard_normal
  return (3 + 2 * draw(shape)).astype(np.float32)


def slow(x, variables, *, momentum=0.9, epsilon=1e-3):
  """One channel at a time: the output, and the new statistics."""
  out, means, variances = np.empty_like(x), [], []
  params, stats = variables['params'], variables['batch_stats']
  for c in range(x.shape[-1]):
    values = x[..., c].astype(np.float64).ravel()
    mean = sum(values) / len(values)
    squares = sum((values - mean) ** 2)
    normal = (x[..., c] - mean) / np.sqrt(squares / len(values) + epsilon)
    out[..., c] = normal * params['scale'][c] + params['bias'][c]
    # Normalised by the biased variance, remembered by the unbiased one.
    unbiased = squares / (len(values) - 1)
    old = stats['mean'][c], stats['var'][c]
    means.append(momentum * old[0] + (1 - momentum) * mean)
    variances.append(momentum * old[1] + (1 - momentum) * unbiased)
  return out, {'mean': np.array(means), 'var': np.array(variances)}


def assert_close(actual, expected):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
    actual,
    expected,
  )


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (3, 5), (1, 2, 1, 5)])
@pytest.mark.parametrize('momentum', [0.9, 0.5])
def test_training_is_the_definition(shape, momentum):
  x = activations(*shape)
  norm, variables = start(x, momentum=momentum)
  out, updates = norm.apply(variables, x, mutable=['batch_stats'])
  expected, stats = slow(x, variables, momentum=momentum)
  assert_close(out, expected)
  assert_close(updates['batch_stats'], stats)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
  x = activations(2, 3, 4, 5)
  _, variables = start(x)
  norm = BatchNorm(epsilon=1e-3)
  out, updates = norm.apply(
    variables, x, use_running_average=True, mutable=['batch_stats']
  )
  stats, params = variables['batch_stats'], variables['params']
  normal = (x - stats['mean']) / np.sqrt(stats['var'] + 1e-3)
  assert_close(out, normal * params['scale'] + params['bias'])
  assert_close(updates.get('batch_stats', stats), stats)


def test_a_single_value_a_channel_gives_finite_statistics():
  x = activations(1, 1, 1, 5)
  norm, variables = start(x)
  out, updates = norm.apply(variables, x, mutable=['batch_stats'])
  assert_close(out, variables['params']['bias'].reshape(x.shape))
  assert all(np.isfinite(v).all() for v in jax.tree.leaves(updates))


def test_large_means_do_not_drown_the_variance():
  x = activations(4, 8, 8, 5) + np.float32(1e4)
  norm, variables = start(x)
  _, updates = norm.apply(variables, x, mutable=['batch_stats'])
  _, stats = slow(x, variables)
  np.testing.assert_allclose(
    updates['batch_stats']['var'], stats['var'], rtol=1e-3
  )


@pytest.mark.parametrize('devices', [2, 4])
def test_statistics_pooled_over_devices_are_those_of_one(devices):
  x = activations(8, 3, 2, 5)
  x += np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1)  # devices differ
  alone, variables = start(x)
  pooled = BatchNorm(use_running_average=False, epsilon=1e-3, axis_name=AXIS)

  def loss(norm, params, x):
    out, updates = norm.apply(
      {**variables, 'params': params}, x, mutable=['batch_stats']
    )
    weights = jnp.cos(jnp.arange(out[0].size)).reshape(out[0].shape)
    return (jnp.square(out) * weights[None]).sum(), (out, updates)

  def on_device(x):
    gradient, rest = jax.grad(functools.partial(loss, pooled), has_aux=True)(
      variables['params'], x
    )
    return jax.lax.psum(gradient, AXIS), rest

  gradient, (out, updates) = jax.pmap(on_device, AXIS)(
    x.reshape(devices, -1, *x.shape[1:])
  )
  expected, (whole, stats) = jax.grad(
    functools.partial(loss, alone), has_aux=True
  )(variables['params'], x)
  assert_close(out.reshape(x.shape), whole)
  for d in range(devices):
    assert_close(jax.tree.map(lambda v, d=d: v[d], updates), stats)
    np.testing.assert_allclose(
      gradient['scale'][d], expected['scale'], rtol=1e-4, atol=1e-3
    )
