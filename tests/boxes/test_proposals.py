import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes.grid_anchors import grid_anchors
from deltax.boxes.proposals import propose

ANCHORS = grid_anchors((4, 6), stride=16, scales=(2, 4), ratios=(0.5, 1.0))
SIZE = jnp.array([60.0, 90.0])


@pytest.fixture
def outputs():
  keys = jax.random.split(jax.random.key(0))
  objectness = jax.random.normal(keys[0], (len(ANCHORS),))
  return objectness, 0.3 * jax.random.normal(keys[1], ANCHORS.shape)


def slow(objectness, codes, count, candidates, overlap):
  best = np.argsort(-np.asarray(objectness))[:candidates]
  kept = []
  for base, (dx, dy, dw, dh) in zip(ANCHORS[best], codes[best], strict=True):
    sides = base[2:] - base[:2]
    centre = (base[:2] + base[2:]) / 2 + np.array([dx, dy]) * sides
    half = sides * np.exp([dw, dh]) / 2
    box = np.clip(
      np.concatenate([centre - half, centre + half]), 0, [90, 60, 90, 60]
    )
    if box[2] <= box[0] or box[3] <= box[1]:
      continue
    if all(pair_iou(box, other) <= overlap for other in kept):
      kept.append(box)
  return kept[:count]


def pair_iou(a, b):
  low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
  inside = np.prod(np.maximum(high - low, 0))
  return inside / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside)


@pytest.mark.parametrize(
  ('count', 'candidates', 'overlap'), [(10, 60, 0.7), (90, 6000, 0.5)]
)
def test_proposals_are_those_of_the_definition(
  outputs, count, candidates, overlap
):
  boxes, kept = propose(
    *outputs,
    ANCHORS,
    SIZE,
    count=count,
    candidates=candidates,
    overlap=overlap,
  )
  expected = slow(*map(np.asarray, outputs), count, candidates, overlap)
  assert kept.sum() == len(expected) and (count == 10) == bool(kept.all())
  np.testing.assert_allclose(boxes[: len(expected)], expected, atol=1e-3)
  np.testing.assert_array_equal(boxes[~kept], 0)


def test_no_gradient_flows_to_the_outputs(outputs):
  def total(outputs):
    return propose(*outputs, ANCHORS, SIZE, count=5)[0].sum()

  for gradient in jax.grad(total)(outputs):
    np.testing.assert_array_equal(gradient, 0)


def test_a_picture_of_no_size_has_no_proposals(outputs):
  _, kept = propose(*outputs, ANCHORS, jnp.zeros(2), count=5)
  assert not kept.any()
