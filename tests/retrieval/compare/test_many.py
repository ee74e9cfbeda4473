"""One query against many videos: the plain network's results, sooner."""

import itertools

import dns_networks
import dns_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import retrieval
from deltax.retrieval.compare import bits, many, products

LENGTHS = (10, 12, 5, 16)


def regions(rng, *shape):
  x = rng.standard_normal((*shape, 64))
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def padded(videos, length):
  codes = np.zeros((len(videos), length, *videos[0].shape[1:]), np.float32)
  masks = np.zeros(codes.shape[:2], np.float32)
  for code, mask, video in zip(codes, masks, videos, strict=True):
    code[: len(video)], mask[: len(video)] = video, 1
  return codes, masks


@pytest.fixture(scope='module')
def videos():
  rng = np.random.default_rng(0)
  query = regions(rng, 9, 3)
  found = [regions(rng, length, 3) for length in LENGTHS]
  found[1][2:9] = query[:7]
  return query, found


def network(name, **options):
  net = retrieval.create(name, **options)
  sample = jnp.zeros((1, 4, 3, 64))
  return net, jax.jit(net.init)(jax.random.key(0), sample, sample)


def plain(net, variables, query, query_mask, targets, masks):
  count = len(targets)
  return jax.jit(lambda *args: net.apply(variables, *args, method='compare'))(
    jnp.tile(query[None], (count, 1, 1, 1)),
    targets,
    jnp.tile(query_mask[None], (count, 1)),
    masks,
  )


@pytest.mark.parametrize(
  ('name', 'form'),
  [
    ('fine_binary', None),
    *itertools.product(
      ['fine_plain', 'visil', 'visil_symmetric', 's2vs'], products.FORMS
    ),
  ],
)
def test_a_block_is_what_the_plain_network_gives(name, form, videos):
  net, variables = network(name)
  (query,), (query_mask,) = padded(videos[:1], 12)
  targets, masks = padded(videos[1], 16)
  if name == 'fine_binary':
    query, targets = np.sign(query), np.sign(targets)
  expected = plain(net, variables, query, query_mask, targets, masks)
  if name == 'fine_binary':
    query, targets = (np.asarray(bits.pack(x)) for x in (query, targets))
  compare = many.make_compare(net, variables, products=form)
  found = compare(query, query_mask, targets, masks)
  tolerance = {None: 1e-6, 'float32': 1e-6, 'digits': 1e-5, 'bfloat16': 4e-3}
  tolerance = tolerance[form]
  both = query_mask[None, :, None] * masks[:, None]
  for mine, theirs, where in (
    (found.score, expected.score, 1),
    (found.raw, expected.raw, 1),
    (found.mask, expected.mask, 1),
    (found.frames, expected.frames, both),  # padding is not compared
  ):
    np.testing.assert_allclose(
      mine * where, theirs * where, rtol=0, atol=tolerance
    )


@pytest.mark.parametrize('largest', [2**17, 12 * 9 * 5])
@pytest.mark.parametrize('form', products.FORMS)
def test_frames_are_compared_as_by_definition(
  form, largest, videos, monkeypatch
):
  monkeypatch.setitem(many._LARGEST, 'cpu', largest)  # in turns
  query, (_, target, *_) = videos
  target = np.concatenate([target, regions(np.random.default_rng(1), 12, 3)], 1)
  best = np.einsum('trd,spd->tsrp', query, target).max(-1).mean(-1)
  found = many.frame_similarity(query, target[None], products=form)[0]
  tolerance = {'float32': 1e-6, 'digits': 1e-5, 'bfloat16': 4e-3}[form]
  np.testing.assert_allclose(found, best, rtol=0, atol=tolerance)


def test_scores_do_not_depend_on_the_bucket_nor_on_the_other_videos(videos):
  query, others = videos
  for name in ('fine_plain', 'visil'):
    compare = many.make_compare(*network(name))
    scores = []
    for length in (12, 20):
      (padded_query,), (query_mask,) = padded([query], length)
      targets, masks = padded(others, length + 4)
      scores.append(compare(padded_query, query_mask, targets, masks).score)
      alone = compare(padded_query, query_mask, targets[2:3], masks[2:3]).score
      np.testing.assert_allclose(alone, scores[-1][2:3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-6)


def test_a_bucket_is_compiled_once(videos, monkeypatch):
  monkeypatch.setitem(many._BLOCK, 'cpu', 4 * 12 * 3 * 20 * 3)
  compare = many.make_compare(*network('fine_plain'))
  rng = np.random.default_rng(3)
  names = []

  def count(name, *args, **kwargs):
    if name.endswith('backend_compile_duration'):
      names.append(name)

  jax.monitoring.register_event_duration_secs_listener(count)
  try:
    for number, expected in ((9, 3), (21, 3), (8, 3)):
      (query,), (query_mask,) = padded(videos[:1], 12)
      targets, masks = padded(list(regions(rng, number, 14, 3)), 16)
      assert compare(query, query_mask, targets, masks).score.shape == (number,)
      assert len(names) == expected  # query, similarities, comparator
    targets, masks = padded(list(regions(rng, 9, 17, 3)), 20)
    compare(query, query_mask, targets, masks)
    assert len(names) == expected + 2  # the query is as long as before
  finally:
    jax.monitoring.unregister_event_duration_listener(count)


def test_buckets_are_few_and_fit():
  lengths = [many.bucket_length(n) for n in range(1, 4000)]
  assert all(length >= n for n, length in enumerate(lengths, 1))
  assert all(length % 4 == 0 for length in lengths)
  assert all(
    length <= max(1.25 * n, n + 7) for n, length in enumerate(lengths, 1)
  )
  assert len(set(lengths)) < 36
  assert [many.bucket_length(n) for n in sorted(set(lengths))] == sorted(
    set(lengths)
  )


def test_no_frames_are_no_video():
  with pytest.raises(ValueError, match='at least 1 frame'):
    many.bucket_length(0)


@pytest.mark.parametrize('reference', ['fg_att', 'fg_bin', 'fg_none'])
def test_the_published_scores_come_out(reference):
  net, variables = dns_networks.network(reference)
  encode = jax.jit(lambda x: net.apply(variables, x, method='encode'))
  (queries, query_masks), (targets, masks) = (
    dns_rule.padded(videos) for videos in dns_rule.inputs()
  )
  queries, targets = np.asarray(encode(queries)), np.asarray(encode(targets))
  if reference == 'fg_bin':
    queries, targets = (np.asarray(bits.pack(x)) for x in (queries, targets))
  compare = many.make_compare(net, variables)
  scores = [
    compare(query, mask, targets, masks).score
    for query, mask in zip(queries, query_masks, strict=True)
  ]
  golden = dns_rule.load(f'{reference}.npz')['batch_sim']
  np.testing.assert_allclose(
    np.ravel(scores), np.ravel(golden), rtol=0, atol=1e-5
  )


def test_wrong_arrays_are_named(videos):
  (query,), (query_mask,) = padded(videos[:1], 12)
  targets, masks = padded(videos[1], 16)
  compare = many.make_compare(*network('fine_plain'))
  for arguments, message in (
    ((query[None], query_mask, targets, masks), r'\(1, 12, 3, 64\).*expected'),
    ((query, query_mask, targets, masks[:, 1:]), r'\(4, 15\).*expected'),
    ((query[:9], query_mask[:9], targets, masks), 'query of 9 frames'),
    ((query, query_mask, targets[:0], masks[:0]), '0 targets'),
    ((query.astype(np.uint32), query_mask, targets, masks), 'uint32'),
  ):
    with pytest.raises(ValueError, match=message):
      compare(*arguments)


def test_unknown_products_are_answered_with_the_known():
  with pytest.raises(ValueError, match='float32, digits, bfloat16'):
    many.make_compare(*network('fine_plain'), products='int4')


def test_vectors_whose_digits_may_overflow_are_refused():
  with pytest.raises(ValueError, match='up to 512'):
    many.frame_similarity(
      np.ones((4, 1, 513)), np.ones((1, 4, 1, 513)), products='digits'
    )
