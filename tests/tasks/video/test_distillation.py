"""The distillation loss alone, beside loops over layers and clips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.tasks.video.distillation import Distillation


def drawn(seed, layers=3, clips=4):
  draw = np.random.default_rng(seed)
  return np.float32(draw.exponential(1, (layers, clips)))


def slow(errors, scale):
  """Means of every clip over the layers, each error divided by its scale."""
  layers, clips = errors.shape
  if scale == 'network':
    scales = [
      sum(errors[i].sum() for i in range(layers)) / errors.size
    ] * layers
  elif scale == 'layer':
    scales = [errors[i].sum() / clips for i in range(layers)]
  else:
    scales = [1.0] * layers
  return [
    sum(errors[i, b] / scales[i] for i in range(layers)) / layers
    for b in range(clips)
  ]


@pytest.mark.parametrize('scale', ['network', 'layer', 'none'])
def test_the_first_batch_is_the_measure(scale):
  part, errors = Distillation(0.5, scale=scale), drawn(0)
  loss, factors = part.loss(errors, part.start(3), 0, None)
  np.testing.assert_allclose(loss, 0.5 * np.array(slow(errors, scale)), 1e-5)
  assert factors.shape == ((3,) if scale == 'layer' else ())


@pytest.mark.parametrize('scale', ['network', 'layer'])
def test_a_factor_that_is_fixed_stays(scale):
  part, errors = Distillation(1.0, scale=scale), drawn(0)
  _, factors = part.loss(errors, part.start(3), 0, None)
  loss, after = part.loss(drawn(1), factors, 1, None)
  np.testing.assert_array_equal(after, factors)
  by_layer = np.broadcast_to(factors, 3)[:, None]
  np.testing.assert_allclose(loss, (drawn(1) * by_layer).mean(0), 1e-5)


def test_a_still_clip_fixes_no_factor_and_has_finite_gradients():
  part = Distillation(1.0)
  still = jnp.zeros((3, 4))
  loss, factors = part.loss(still, part.start(3), 0, None)
  assert not loss.any() and factors == 0
  run = jax.grad(lambda x: part.loss(x, part.start(3), 0, None)[0].sum())
  assert np.isfinite(run(still)).all()


def test_no_gradient_flows_through_the_factor():
  part, errors = Distillation(1.0), jnp.array(drawn(0))
  gradient = jax.grad(lambda x: part.loss(x, part.start(3), 0, None)[0].sum())
  expected = 1 / errors.mean() / len(errors)
  np.testing.assert_allclose(gradient(errors), expected, rtol=1e-5)


def test_the_loss_ends_after_its_steps():
  part, errors = Distillation(1.0, steps=2), drawn(0)
  ended = [
    not np.any(part.loss(errors, part.start(3), step, None)[0])
    for step in range(4)
  ]
  assert ended == [False, False, True, True]


def test_of_several_calls_each_or_the_last_counts():
  draw = np.random.default_rng(0).standard_normal
  shape = 2, 1, 3, 3, 4
  calls = {name: jnp.array(draw(shape)) for name in ('a', 'b', 'b:1')}
  target = {name: jnp.zeros(shape) for name in calls}
  each = Distillation().errors(calls, target)
  last = Distillation(last_call_only=True).errors(calls, target)
  means = [np.square(x).mean((1, 2, 3, 4)) for x in calls.values()]
  np.testing.assert_allclose(each, means, rtol=1e-5)
  np.testing.assert_allclose(last, [means[0], means[2]], rtol=1e-5)


def test_an_unknown_scale_lists_the_known():
  with pytest.raises(ValueError, match="'each'; known: network, layer, none"):
    Distillation(scale='each')
