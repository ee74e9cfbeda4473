"""Packed codes: bits, and similarities by counting them."""

import numpy as np
import pytest

from deltax.retrieval.compare import bits


def random_codes(rng, *shape):
  return rng.choice([-1.0, 1.0], shape).astype(np.float32)


def by_products(query, target):
  """[T, S], by definition, in float64."""
  products = np.einsum('trd,spd->tsrp', query.astype(float), target)
  return products.max(-1).mean(-1) / query.shape[-1]


def test_packed_codes_come_back():
  codes = random_codes(np.random.default_rng(0), 3, 2, 96)
  words = np.asarray(bits.pack(codes))
  assert words.dtype == np.uint32
  assert words.shape == (3, 2, 3)
  np.testing.assert_array_equal(bits.unpack(words), codes)


def test_bit_i_of_word_w_is_code_32_w_plus_i():
  codes = -np.ones(64, np.float32)
  codes[[0, 31, 33]] = 1
  assert bits.pack(codes).tolist() == [1 + 2**31, 2]


def test_the_bits_are_those_of_numpy_with_the_low_bit_first():
  codes = random_codes(np.random.default_rng(1), 5, 64)
  expected = np.packbits(codes > 0, axis=-1, bitorder='little').view('<u4')
  np.testing.assert_array_equal(bits.pack(codes), expected)


def test_a_zero_is_packed_as_minus_one():
  np.testing.assert_array_equal(bits.unpack(bits.pack(np.zeros(32))), -1)


def test_codes_that_fill_no_word_are_refused():
  with pytest.raises(ValueError, match='40 bits'):
    bits.pack(np.ones((2, 40)))


@pytest.mark.parametrize('regions', [(4, 4), (4, 2), (1, 1), (9, 9)])
def test_counting_bits_equals_the_products_of_codes(regions):
  rng = np.random.default_rng(2)
  query = random_codes(rng, 6, regions[0], 64)
  targets = random_codes(rng, 3, 5, regions[1], 64)
  found = bits.frame_similarity(bits.pack(query), bits.pack(targets))
  expected = np.stack([by_products(query, target) for target in targets])
  if regions[0] != 9:  # means of powers of two are exact
    np.testing.assert_array_equal(found, expected)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_the_symmetric_form_is_the_mean_of_both_directions():
  rng = np.random.default_rng(3)
  query = random_codes(rng, 6, 4, 64)
  targets = random_codes(rng, 2, 5, 2, 64)
  found = bits.frame_similarity(
    bits.pack(query), bits.pack(targets), symmetric=True
  )
  for mine, target in zip(found, targets, strict=True):
    there, back = by_products(query, target), by_products(target, query).T
    np.testing.assert_array_equal(mine, (there + back) / 2)


def test_a_query_in_turns_gives_the_same():
  rng = np.random.default_rng(4)
  query = np.asarray(bits.pack(random_codes(rng, 7, 4, 32)))
  targets = np.asarray(bits.pack(random_codes(rng, 2, 5, 4, 32)))
  np.testing.assert_array_equal(
    bits.frame_similarity(query, targets, largest=3 * 4 * 4 * 10),
    bits.frame_similarity(query, targets),
  )
