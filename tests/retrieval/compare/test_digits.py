"""Products of numbers as products of their digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.retrieval.compare import digits, products

SIZES = [64, 512]  # with the product of the low digits, and without


def regions(rng, *shape):
  x = rng.standard_normal(shape)
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@jax.jit
def multiplied(query, targets):
  found, scale = digits.digit_products(digits.query_digits(query), targets)
  return found * scale[:, None, None]


def by_definition(query, targets):
  return np.einsum('trd,spd->sprt', query.astype(float), targets.astype(float))


@pytest.mark.parametrize('size', SIZES)
def test_digits_keep_their_precision_beside_large_and_zero_elements(size):
  rng = np.random.default_rng(2)
  query, target = regions(rng, 4, 2, size), regions(rng, 4, 2, size)
  query[0, 0, 0], target[1, 1, 3], target[2] = 50, -9, 0
  found = multiplied(query, target)
  largest = [np.abs(x).max((1, 2)) for x in (1.1 * query, target)]
  length = [np.linalg.norm(x, axis=-1) for x in (query, target)]
  # Five standard deviations of what rounding does.
  allowed = np.einsum('t,sp->spt', largest[0], length[1])[:, :, None]
  allowed = allowed + np.einsum('tr,s->srt', length[0], largest[1])[:, None]
  allowed *= 5 / (127 * 256 * np.sqrt(12))
  if size == 512:  # and of low digits that have nothing in common
    lowest = np.outer(largest[1], largest[0]) * np.sqrt(size) / (127**2 * 12)
    allowed += 5 * lowest[:, None, None]
  assert np.all(np.abs(found - by_definition(query, target)) <= allowed)


@pytest.mark.parametrize('size', SIZES)
def test_copies_have_no_larger_errors_than_others(size):
  query = regions(np.random.default_rng(0), 60, 9, size)
  found = np.asarray(multiplied(query, query))
  errors = np.square(found - by_definition(query, query))
  # Of a region with itself, where low digits would be alike but for the scales.
  frames, own = np.arange(60)[:, None], np.arange(9)[None]
  same = errors[frames, own, own, frames]
  assert np.sqrt(errors.mean()) < 1e-5
  assert np.sqrt(same.mean()) < 1.5 * np.sqrt(errors.mean())


@pytest.mark.parametrize('size', SIZES)
def test_the_largest_digits_do_not_overflow(size):
  signs = np.random.default_rng(1).choice([-1.0, 1.0], (2, 3, size))
  query, targets = signs.astype(np.float32), -signs.astype(np.float32)
  np.testing.assert_allclose(
    multiplied(query, targets), by_definition(query, targets), atol=0.02
  )


@pytest.mark.parametrize('size', SIZES)
def test_frames_of_zeros_give_zeros(size):
  rng = np.random.default_rng(3)
  query, targets = regions(rng, 3, 2, size), regions(rng, 4, 5, size)
  query[1], targets[2] = 0, 0
  found = np.asarray(multiplied(query, targets))
  assert not found[2].any()
  assert not found[..., 1].any()
  assert found[0, :, :, 0].all()


def test_equal_target_regions_give_equal_products():
  rng = np.random.default_rng(4)
  query, targets = regions(rng, 3, 2, 512), regions(rng, 4, 5, 512)
  targets[:, 3] = targets[:, 1]
  found = np.asarray(multiplied(query, targets))
  np.testing.assert_array_equal(found[:, 3], found[:, 1])


def test_a_cpu_is_given_bytes_to_multiply():
  shapes = (jax.ShapeDtypeStruct((4, 2, 512), jnp.float32),) * 2
  program = multiplied.lower(*shapes).as_text()
  assert '(tensor<8x512xui8>, tensor<512x8xi8>) -> tensor<8x8xi32>' in program


@pytest.mark.parametrize(
  ('flags', 'size', 'form'),
  [
    ('avx512f', 512, 'float32'),
    ('avx512f avx512_vnni', 512, 'digits'),
    ('avx512f avx512_vnni', 64, 'float32'),
    ('avx512f avx512_vnni', 513, 'float32'),
    ('avx512f avx512_vnni amx_int8', 64, 'digits'),
    ('avx512f avx512_vnni amx_int8', 513, 'float32'),
    ('', 512, 'float32'),
  ],
)
def test_the_form_is_chosen_by_what_the_cpu_has(flags, size, form, monkeypatch):
  monkeypatch.setattr(digits, '_flags', lambda: frozenset(flags.split()))
  assert products.best_form(size) == form
