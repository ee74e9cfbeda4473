"""Losses and scores of every kind of output, against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.tasks.imitation import kinds
from deltax.tasks.imitation.kinds import KINDS, guess

SHAPE = 2, 3, 4, 5, 6  # B, T, H, W, K


def outputs(kind, seed):
  x = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
  if kind == 'class_probabilities':
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)
  return 1 / (1 + np.exp(-x)) if kind == 'probabilities' else x


def summed(kind, own, target):
  counts = KINDS[kind].counts(jnp.asarray(own), jnp.asarray(target))
  for name, value in counts.items():
    assert value.shape[:2] == SHAPE[:2], name
  return {n: np.asarray(x, np.float64).sum((0, 1)) for n, x in counts.items()}


@pytest.mark.parametrize('kind', KINDS)
def test_the_teachers_own_output_is_without_loss_and_perfect(kind):
  target = outputs(kind, 0)
  loss = KINDS[kind].loss(jnp.asarray(target), jnp.asarray(target), None)
  assert loss.shape == (2,)
  np.testing.assert_allclose(loss, 0, atol=1e-5)
  scores = KINDS[kind].scores(summed(kind, target, target))
  assert list(scores.values()) == pytest.approx([1] * len(scores), abs=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_the_gradient_leads_to_the_target_and_stays_away_from_it(kind):
  own, target = (jnp.asarray(outputs(kind, seed)) for seed in (1, 2))

  def loss(own, target):
    return KINDS[kind].loss(own, target, None).sum()

  gradients = jax.grad(loss, (0, 1))(own, target)
  assert not gradients[1].any()
  nearer = own - 1e-2 * gradients[0] / jnp.abs(gradients[0]).max()
  assert loss(nearer, target) < loss(own, target)


@pytest.mark.parametrize('kind', KINDS)
def test_losses_of_extreme_outputs_are_finite(kind):
  top = 1.0 if kind.endswith('probabilities') else 50.0
  own = jnp.zeros(SHAPE).at[..., 0].set(top)
  target = jnp.zeros(SHAPE).at[..., 1].set(top)
  value, slope = jax.value_and_grad(
    lambda own: KINDS[kind].loss(own, target, None).sum()
  )(own)
  assert np.isfinite(value) and np.isfinite(slope).all() and value > 0


def test_scores_are_those_of_sums_by_hand():
  own, target = (outputs('logits', seed) for seed in (3, 4))
  yes, also = own > 0, target > 0
  got = KINDS['logits'].scores(summed('logits', own, target))
  assert got['iou'] == pytest.approx((yes & also).sum() / (yes | also).sum())
  assert got['agreement'] == pytest.approx((yes == also).mean())

  first, second = own.argmax(-1), target.argmax(-1)
  ious = [
    ((first == k) & (second == k)).sum() / ((first == k) | (second == k)).sum()
    for k in range(SHAPE[-1])
  ]
  got = KINDS['classes'].scores(summed('classes', own, target))
  assert got['miou'] == pytest.approx(np.mean(ious))
  assert got['agreement'] == pytest.approx((first == second).mean())

  got = KINDS['values'].scores(summed('values', own, target + 100))
  assert got['closeness'] == 0  # far away, never below nothing
  near = target + 0.1 * own
  error = np.sqrt(np.square(near - target).sum())
  middle = target.mean((1, 2, 3, 4), keepdims=True)  # of each clip
  spread = np.sqrt(np.square(target - middle).sum())
  got = KINDS['values'].scores(summed('values', near, target))
  assert got['closeness'] == pytest.approx(1 - error / spread, abs=1e-5)

  cosine = (own * target).sum(-1) / (
    np.linalg.norm(own, axis=-1) * np.linalg.norm(target, axis=-1)
  )
  got = KINDS['features'].scores(summed('features', own, target))
  assert got['cosine'] == pytest.approx(cosine.mean(), abs=1e-5)


def test_probabilities_have_the_loss_of_their_logits():
  own, target = (outputs('logits', seed) for seed in (5, 6))
  pairs = [('logits', 'probabilities', jax.nn.sigmoid)]
  pairs += [('classes', 'class_probabilities', jax.nn.softmax)]
  for plain, squashed, squash in pairs:
    expected = KINDS[plain].loss(jnp.asarray(own), jnp.asarray(target), None)
    given = KINDS[squashed].loss(squash(own), squash(target), None)
    np.testing.assert_allclose(given, expected, rtol=1e-3)


def test_values_far_from_zero_keep_their_digits():
  rng = np.random.default_rng(7)
  target = (1e4 + rng.normal(size=SHAPE)).astype(np.float32)
  own = target + 0.5 * rng.normal(size=SHAPE).astype(np.float32)
  exact = target.astype(np.float64)
  error = np.sqrt(np.square(own - exact).sum())
  middle = exact.mean((1, 2, 3, 4), keepdims=True)
  spread = np.sqrt(np.square(exact - middle).sum())
  got = KINDS['values'].scores(summed('values', own, target))
  assert got['closeness'] == pytest.approx(1 - error / spread, abs=2e-3)


@pytest.mark.parametrize(
  ('shape', 'kind'),
  [
    ((1, 8, 8, 1), 'values'),
    ((1, 8, 8, 2), 'values'),
    ((1, 8, 8, 19), 'classes'),
    ((1, 8, 8, 128), 'features'),
    ((1, 49, 768), 'features'),
    ((1, 1000), 'features'),
    ((1, 21), 'classes'),
    ((1,), None),
  ],
)
def test_kinds_are_guessed_by_shape(shape, kind):
  assert guess(3 * jnp.ones(shape)) == kind


def test_kinds_are_guessed_by_range():
  x = np.random.default_rng(0).normal(size=(1, 8, 8, 19))
  assert guess(jax.nn.softmax(x)) == 'class_probabilities'
  assert guess(jax.nn.sigmoid(x)) == 'probabilities'
  assert guess(jnp.ones((1, 8, 8), jnp.int32)) is None


def test_the_spread_of_values_is_that_of_all_devices():
  own, target = (outputs('values', seed) for seed in (8, 9))
  target[0] *= 10
  whole = KINDS['values'].loss(jnp.asarray(own), jnp.asarray(target), None)
  shared = jax.pmap(
    lambda own, target: KINDS['values'].loss(own, target, 'devices'),
    axis_name='devices',
    devices=jax.devices()[:2],
  )(own[:, None], target[:, None])
  # Means of squares about each device's own mean would differ.
  np.testing.assert_allclose(shared[:, 0], whole, rtol=1e-5)


def test_iou_of_classes_is_nan_where_one_never_occurs():
  counts = {'confusion': np.diag([3, 2, 0])}
  np.testing.assert_array_equal(kinds.class_scores(counts), [1, 1, np.nan])
