import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes.codes_xywh import decode, encode


def random_boxes(seed, count=50):
  corner, side = jax.random.uniform(jax.random.key(seed), (2, count, 2))
  corner = 100 * corner - 20
  return jnp.concatenate([corner, corner + 5 + 60 * side], 1)


@pytest.mark.parametrize('deviation', [1.0, 0.2])
def test_a_decoded_code_is_the_box(deviation):
  bases, boxes = random_boxes(0), random_boxes(1)
  codes = encode(bases, boxes, deviation=deviation)
  decoded = decode(bases, codes, deviation=deviation)
  np.testing.assert_allclose(decoded, boxes, atol=1e-3)


def test_codes_are_those_of_the_definition():
  base, box = np.array([10.0, 20, 30, 60]), np.array([15.0, 20, 55, 40])
  expected = np.array(
    [
      ((15 + 55) / 2 - (10 + 30) / 2) / 20,
      ((20 + 40) / 2 - (20 + 60) / 2) / 40,
      np.log(40 / 20),
      np.log(20 / 40),
    ]
  )
  codes = encode(jnp.array(base), jnp.array(box), deviation=0.2)
  np.testing.assert_allclose(codes, expected / 0.2, rtol=1e-5)


def test_sides_grow_within_bounds():
  base = jnp.array([0.0, 0, 16, 16])
  x0, _, x1, _ = decode(base, jnp.full(4, 1e4), deviation=1.0)
  np.testing.assert_allclose(x1 - x0, 1000, rtol=1e-3)
  x0, _, x1, _ = decode(base, jnp.array([0.0, 0, -1e4, 0]), deviation=1.0)
  np.testing.assert_allclose(x1 - x0, 0.256, rtol=1e-3)


def test_empty_boxes_have_finite_codes():
  for pair in ((jnp.zeros(4), random_boxes(0)[0]), (random_boxes(0)[0],) * 2):
    for base, box in (pair, pair[::-1]):
      assert jnp.isfinite(encode(base, box, deviation=1.0)).all()
