"""Cross entropies against slow definitions in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.losses import segmentation

WEIGHTS = (0.5, 2.0, 1.0, 1.5)


def example(ignored=0.3, seed=0):
  draw = np.random.default_rng(seed)
  logits = 2 * draw.standard_normal((3, 4, 5, 4)).astype(np.float32)
  labels = draw.integers(0, 4, (3, 4, 5)).astype(np.uint8)
  labels[draw.random(labels.shape) < ignored] = 255
  return logits, labels


def pixels(logits, labels, weights=None):
  """(example, loss, probability of the true class) of each labelled pixel."""
  for place in np.ndindex(*labels.shape):
    label = labels[place]
    if label != 255:
      scores = np.exp(logits[place].astype(np.float64))
      probability = scores[label] / scores.sum()
      weight = 1.0 if weights is None else weights[label]
      yield place[0], -weight * np.log(probability), probability


def slow_mean(logits, labels, weights=None):
  out = np.zeros(len(labels))
  for i in range(len(labels)):
    losses = [loss for j, loss, _ in pixels(logits, labels, weights) if i == j]
    out[i] = np.mean(losses) if losses else 0.0
  return out


def slow_hard(logits, labels, weights, threshold, min_kept):
  """The mean over all hard pixels of the batch, as published."""
  found = list(pixels(logits, labels, weights))
  if not found:
    return 0.0
  probabilities = sorted(p for _, _, p in found)
  threshold = max(threshold, probabilities[min(min_kept, len(found) - 1)])
  hard = [loss for _, loss, p in found if p < threshold]
  return np.mean(hard) if hard else 0.0


@pytest.mark.parametrize('weights', [None, WEIGHTS])
@pytest.mark.parametrize('ignored', [0.0, 0.3, 0.95, 1.0])
def test_the_mean_is_over_labelled_pixels_of_each_example(weights, ignored):
  logits, labels = example(ignored)
  loss = segmentation.cross_entropy(logits, labels, weights)
  expected = slow_mean(logits, labels, weights)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-7)


def test_time_is_part_of_an_example():
  logits, labels = example()
  clips = segmentation.cross_entropy(logits[:, None], labels[:, None])
  np.testing.assert_allclose(
    clips, segmentation.cross_entropy(logits, labels), rtol=1e-6
  )


@pytest.mark.parametrize('weights', [None, WEIGHTS])
@pytest.mark.parametrize('ignored', [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
  ('threshold', 'min_kept'),
  [(0.7, 5), (0.05, 20), (0.5, 1000), (0.0, 0), (1.0, 1)],
)
def test_hard_pixels_are_the_published_choice(
  weights, ignored, threshold, min_kept
):
  logits, labels = example(ignored)
  loss = segmentation.hard_cross_entropy(
    logits, labels, weights, threshold=threshold, min_kept=min_kept
  )
  assert loss.shape == (3,)
  expected = slow_hard(logits, labels, weights, threshold, min_kept)
  np.testing.assert_allclose(loss.mean(), expected, rtol=1e-5, atol=1e-7)


def test_each_example_holds_its_own_share_of_the_hard_pixels():
  logits, labels = example(0.0)
  logits[0] += 50 * np.eye(4, dtype=np.float32)[labels[0]]  # all easy
  loss = segmentation.hard_cross_entropy(
    logits, labels, threshold=0.7, min_kept=0
  )
  found = [x for x in pixels(logits, labels) if x[2] < 0.7]
  expected = [sum(x[1] for x in found if x[0] == i) for i in range(3)]
  assert expected[0] == 0
  np.testing.assert_allclose(
    loss, 3 * np.array(expected) / len(found), rtol=1e-5
  )


LOSSES = {
  'all': segmentation.cross_entropy,
  'hard': functools.partial(
    segmentation.hard_cross_entropy, threshold=0.7, min_kept=5
  ),
}
both = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)


def gradient(loss, logits, labels):
  return jax.grad(lambda x: loss(x, labels, WEIGHTS).sum())(jnp.asarray(logits))


@both
def test_without_a_label_loss_and_gradient_are_zero(loss):
  logits, labels = example(1.0)
  np.testing.assert_array_equal(loss(logits, labels, WEIGHTS), np.zeros(3))
  assert not gradient(loss, logits, labels).any()


@both
def test_no_gradient_reaches_a_pixel_without_a_label(loss):
  logits, labels = example()
  reached = np.abs(gradient(loss, logits, labels)).sum(-1)
  assert not reached[labels == 255].any()
  assert reached[labels != 255].any()


@both
def test_gradients_are_finite_for_scores_far_apart(loss):
  logits, labels = example()
  assert np.isfinite(gradient(loss, 1e4 * logits, labels)).all()
  assert np.isfinite(loss(1e4 * logits, labels)).all()


def test_gradients_of_hard_pixels_are_those_of_their_mean():
  logits, labels = example()
  threshold = 0.7
  _, losses, probabilities = zip(*pixels(logits, labels), strict=True)
  hard = np.array(probabilities) < threshold
  assert 5 < hard.sum() < len(losses)
  own = jax.grad(
    lambda x: segmentation.hard_cross_entropy(
      x, labels, threshold=threshold, min_kept=1
    ).mean()
  )(jnp.asarray(logits))
  softmax = np.asarray(jax.nn.softmax(logits))
  expected, chosen = np.zeros_like(logits), iter(hard)
  for place in np.ndindex(*labels.shape):
    if labels[place] != 255 and next(chosen):
      truth = np.eye(4)[labels[place]]
      expected[place] = (softmax[place] - truth) / hard.sum()
  np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)


def test_the_published_weights_have_mean_one_over_19_classes():
  weights = segmentation.CITYSCAPES_WEIGHTS
  assert len(weights) == 19
  np.testing.assert_allclose(np.mean(weights), 1.0, atol=5e-3)
