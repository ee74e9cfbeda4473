"""Anchors, codes and matching against slow definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes import decode, encode, iou, match, pyramid_anchors

RNG = np.random.default_rng(0)


def random_boxes(count, side=64):
  low = RNG.uniform(0, side - 8, (count, 2))
  return np.concatenate([low, low + RNG.uniform(4, 40, (count, 2))], -1).astype(
    np.float32
  )


def test_anchors_come_by_level_row_column_size_and_aspect():
  aspects = ((1, 1), (1.4, 0.7), (0.7, 1.4))
  anchors = pyramid_anchors((24, 40), levels=(3, 4), octaves=2, scale=3.0)
  want = [
    (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    for stride, rows, cols in ((8, 3, 5), (16, 2, 3))
    for y in (np.arange(rows) + 0.5) * stride
    for x in (np.arange(cols) + 0.5) * stride
    for octave in (1, 2**0.5)
    for w, h in (3 * stride * octave * np.array(a) for a in aspects)
  ]
  np.testing.assert_allclose(anchors, want, rtol=1e-6)
  assert anchors.dtype == np.float32


def test_decoding_undoes_encoding():
  anchors, boxes = random_boxes(50), random_boxes(50)
  back = decode(encode(boxes, anchors), anchors)
  np.testing.assert_allclose(back, boxes, atol=1e-4)


def test_a_code_is_shift_and_growth_of_rows_before_columns():
  anchor, box = np.array([10.0, 20, 30, 60]), np.array([14.0, 30, 34, 110])
  want = [(70 - 40) / 40, (24 - 20) / 20, np.log(80 / 40), 0]
  np.testing.assert_allclose(encode(box, anchor), want, atol=1e-6)


def test_the_code_of_an_empty_box_is_finite():
  assert np.isfinite(encode(jnp.zeros(4), jnp.array([0.0, 0, 8, 8]))).all()


def matches_of(anchors, boxes, classes, published):
  """Anchor by anchor, then box by box, later boxes first."""
  overlap = np.asarray(iou(boxes, anchors))
  real = [i for i, c in enumerate(classes) if c >= 0 or published]
  found = np.full(len(anchors), -1)
  for a in range(len(anchors)):
    for i in reversed(real):
      best = overlap[real, a].max()
      if overlap[i, a] == best >= 0.5:
        found[a] = i
  for i in reversed(real):
    if overlap[i].max() > 0 or published:
      found[overlap[i].argmax()] = i
  return found


@pytest.mark.parametrize('published', [False, True])
def test_matches_are_those_of_the_definition(published):
  anchors = pyramid_anchors((64, 64), levels=(3, 5))
  get = jax.jit(
    lambda boxes, classes: match(
      anchors, boxes, classes, published_padding=published
    )
  )
  for _ in range(5):
    boxes, classes = random_boxes(9), RNG.integers(0, 3, 9)
    boxes[6:], classes[6:] = 0, -1
    boxes[3] = boxes[2]  # both want the same anchor
    want = matches_of(anchors, boxes, classes, published)
    np.testing.assert_array_equal(get(boxes, classes), want)
    assert ((want == 6).sum() > 0) == published


def test_every_present_box_has_an_anchor_however_small():
  anchors = pyramid_anchors((64, 64))
  boxes = np.array([[20.0, 20, 22, 21], [40, 40, 41, 44]], np.float32)
  matched = match(anchors, boxes, np.array([0, 1]))
  assert sorted(set(matched.tolist())) == [-1, 0, 1]


def test_a_frame_without_boxes_is_all_background():
  anchors = pyramid_anchors((64, 64))
  matched = match(anchors, np.zeros((4, 4)), np.full(4, -1))
  assert (matched == -1).all()
