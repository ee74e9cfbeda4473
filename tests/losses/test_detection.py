"""The losses of anchors against their definitions, one answer at a time."""

import jax
import jax.numpy as jnp
import numpy as np

from deltax.losses.detection import focal, huber

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (2, 6, 4)).astype(np.float32)
CLASSES = RNG.integers(-1, 4, (2, 6)).astype(np.int32)


def focal_of(logit, yes, alpha, gamma):
  p = 1 / (1 + np.exp(-float(logit)))
  right, weight = (p, alpha) if yes else (1 - p, 1 - alpha)
  return -weight * (1 - right) ** gamma * np.log(right)


def test_the_focal_loss_is_its_definition():
  want = [
    sum(
      focal_of(LOGITS[b, a, k], CLASSES[b, a] == k, 0.25, 1.5)
      for a in range(6)
      for k in range(4)
    )
    for b in range(2)
  ]
  np.testing.assert_allclose(focal(LOGITS, CLASSES), want, rtol=1e-5)


def test_background_asks_every_class_for_a_no():
  nothing = np.full_like(CLASSES, -1)
  want = sum(focal_of(x, False, 0.25, 1.5) for x in LOGITS.ravel())
  np.testing.assert_allclose(focal(LOGITS, nothing).sum(), want, rtol=1e-5)


def test_answers_that_are_certain_have_finite_losses_and_gradients():
  logits = jnp.array([[[200.0, -200.0]]])
  value_and_slope = jax.value_and_grad(lambda x, c: focal(x, c).sum())
  for truth in (0, 1, -1):
    loss, slope = value_and_slope(logits, jnp.array([[truth]]))
    assert np.isfinite(loss) and np.isfinite(slope).all()


def test_the_huber_loss_is_its_definition_where_there_is_a_target():
  codes = RNG.normal(0, 0.2, (2, 5, 4)).astype(np.float32)
  targets = RNG.normal(0, 0.2, (2, 5, 4)).astype(np.float32)
  targets[:, ::2] = 0
  error = np.abs(codes - targets)
  small, large = error**2 / 2, 0.1 * (error - 0.05)
  loss = np.where(error <= 0.1, small, large) * (targets != 0)
  np.testing.assert_allclose(huber(codes, targets), loss.sum((1, 2)), rtol=1e-5)
  slope = jax.grad(lambda x: huber(x, targets).sum())(codes)
  assert not slope[:, ::2].any() and slope[:, 1::2].all()
