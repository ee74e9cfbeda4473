"""Suppression against the greedy definition, one box at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes import iou, nms


def greedy(boxes, scores, limit, count, classes=None):
  """Indices of the kept boxes: sort, then walk down the list."""
  overlap = np.asarray(iou(jnp.asarray(boxes), jnp.asarray(boxes)))
  kept = []
  for i in np.argsort(-scores, kind='stable'):
    rivals = [j for j in kept if classes is None or classes[i] == classes[j]]
    if scores[i] > -np.inf and all(overlap[i, j] <= limit for j in rivals):
      kept.append(int(i))
  return kept[:count]


def crowd(seed, count=60):
  rng = np.random.default_rng(seed)
  corner, side = rng.uniform(0, 20, (count, 2)), rng.uniform(2, 12, (count, 2))
  boxes = np.concatenate([corner, corner + side], -1).astype(np.float32)
  # Few distinct scores, so that ties are common.
  scores = rng.choice(np.linspace(0, 1, 9), count).astype(np.float32)
  scores[rng.random(count) < 0.1] = -np.inf
  return boxes, scores, rng.integers(0, 3, count).astype(np.int32)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('limit', [0.3, 0.5])
@pytest.mark.parametrize('class_wise', [False, True])
def test_kept_boxes_are_those_of_the_greedy_definition(seed, limit, class_wise):
  boxes, scores, classes = crowd(seed)
  classes = classes if class_wise else None
  want = greedy(boxes, scores, limit, 60, classes)
  indices, kept = nms(boxes, scores, iou=limit, count=60, classes=classes)
  assert indices[kept].tolist() == want
  assert not kept[len(want) :].any() and not indices[len(want) :].any()


def test_a_shorter_list_is_the_head_of_a_longer_one():
  boxes, scores, _ = crowd(9)
  indices, _ = nms(boxes, scores, iou=0.5, count=20)
  head, _ = nms(boxes, scores, iou=0.5, count=5)
  assert head.tolist() == indices[:5].tolist()


def test_absent_boxes_are_never_kept():
  boxes, scores, _ = crowd(3)
  _, kept = nms(boxes, np.full_like(scores, -np.inf), iou=0.5, count=4)
  assert not kept.any()


def test_empty_boxes_are_kept_once_each():
  boxes = np.zeros((3, 4), np.float32)
  indices, kept = nms(boxes, np.arange(3.0), iou=0.5, count=5)
  assert indices.tolist() == [2, 1, 0, 0, 0] and kept.sum() == 3


def test_a_batch_of_frames_is_a_vmap():
  crowds = [crowd(seed) for seed in range(3)]
  boxes, scores, _ = (np.stack(part) for part in zip(*crowds, strict=True))

  def one(boxes, scores):
    return nms(boxes, scores, iou=0.5, count=9)

  got = jax.jit(jax.vmap(one))(boxes, scores)
  for i in range(3):
    for mine, alone in zip(got, one(boxes[i], scores[i]), strict=True):
      np.testing.assert_array_equal(mine[i], alone)
