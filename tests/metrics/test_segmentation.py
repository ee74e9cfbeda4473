"""Confusion matrices and IoU against slow definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.metrics import segmentation

IGNORE = 255


def slow_confusion(predictions, labels, num_classes, ignore=IGNORE):
  counts = np.zeros((num_classes, num_classes), int)
  for prediction, label in zip(predictions.flat, labels.flat, strict=True):
    if label != ignore:
      counts[label, prediction] += 1
  return counts


def slow_iou(predictions, labels, num_classes):
  seen = labels != IGNORE
  scores = []
  for k in range(num_classes):
    labelled, predicted = seen & (labels == k), seen & (predictions == k)
    union = (labelled | predicted).sum()
    both = (labelled & predicted).sum()
    scores.append(both / union if union else np.nan)
  return np.array(scores)


def example(shape=(2, 3, 6, 9), num_classes=5, seed=0):
  rng = np.random.default_rng(seed)
  predictions = rng.integers(0, num_classes, shape)
  labels = rng.integers(0, num_classes, shape).astype(np.uint8)
  labels[rng.random(shape) < 0.2] = IGNORE
  return predictions, labels


@pytest.mark.parametrize('lead', [(), (4,), (2, 3)])
def test_confusion_is_the_count_of_each_pair_per_picture(lead):
  predictions, labels = example((*lead, 6, 9))
  counts = jax.jit(segmentation.confusion, static_argnums=2)(
    predictions, labels, 5
  )
  assert counts.shape == (*lead, 5, 5) and counts.dtype == jnp.int32
  for i in np.ndindex(lead):
    expected = slow_confusion(predictions[i], labels[i], 5)
    np.testing.assert_array_equal(counts[i], expected)


def test_a_row_is_a_label_and_a_column_a_prediction():
  counts = segmentation.confusion(jnp.array([[2]]), jnp.array([[1]]), 3)
  assert counts[1, 2] == 1 and counts.sum() == 1


def test_an_ignored_label_may_also_be_one_of_the_classes():
  predictions, labels = example()
  counts = segmentation.confusion(predictions, labels, 5, ignore=0)
  assert counts[..., 0, :].sum() == 0
  assert counts.sum() == ((labels != 0) & (labels != IGNORE)).sum()


def test_unsigned_bytes_do_not_overflow():
  predictions = np.full((4, 4), 18, np.uint8)
  counts = segmentation.confusion(jnp.array(predictions), predictions, 19)
  assert counts[18, 18] == 16


def test_a_class_that_does_not_exist_is_never_counted_as_another():
  predictions = jnp.array([[0, 3, -1, 0, 0]])
  labels = jnp.array([[0, 0, 0, 3, -1]])
  counts = segmentation.confusion(predictions, labels, 3)
  assert counts.sum() == 1 and counts[0, 0] == 1


def test_confusion_says_which_shapes_differ():
  with pytest.raises(ValueError, match=r'\(2, 4\) and \(2, 5\)'):
    segmentation.confusion(jnp.zeros((2, 4), int), jnp.zeros((2, 5), int), 3)


def test_iou_is_intersection_over_union_of_the_sum():
  predictions, labels = example(seed=1)
  counts = segmentation.confusion(predictions, labels, 5).sum((0, 1))
  expected = slow_iou(predictions, labels, 5)
  np.testing.assert_allclose(segmentation.iou(counts), expected, rtol=1e-6)
  np.testing.assert_allclose(
    segmentation.mean_iou(counts), expected.mean(), rtol=1e-6
  )


def test_a_class_that_never_occurs_is_nan_and_left_out_of_the_mean():
  predictions, labels = example(num_classes=3)
  counts = segmentation.confusion(predictions, labels, 5).sum((0, 1))
  expected = slow_iou(predictions, labels, 5)
  assert np.isnan(segmentation.iou(counts)).tolist() == [False] * 3 + [True] * 2
  np.testing.assert_allclose(
    segmentation.mean_iou(counts), np.nanmean(expected), rtol=1e-6
  )


def test_a_class_predicted_but_never_labelled_pulls_the_mean_down():
  counts = segmentation.confusion(jnp.array([[0, 1]]), jnp.array([[0, 0]]), 2)
  assert segmentation.iou(counts).tolist() == [0.5, 0.0]
  assert segmentation.mean_iou(counts) == 0.25


def test_nothing_counted_has_no_score():
  counts = jnp.zeros((2, 4, 4), int)
  assert np.isnan(segmentation.mean_iou(counts)).all()
