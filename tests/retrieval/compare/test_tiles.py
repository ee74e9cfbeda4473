"""Long videos in tiles: the score of the whole, in bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import retrieval
from deltax.retrieval.compare import bits
from deltax.retrieval.compare.tiles import compare_long

TILE = 16


def regions(seed, frames):
  x = np.random.default_rng(seed).standard_normal((frames, 2, 32))
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def network(name, **options):
  net = retrieval.create(name, **options)
  sample = jnp.zeros((1, 4, 2, 32))
  variables = jax.jit(net.init)(jax.random.key(1), sample, sample)
  # Biases make the borders differ from the inside.
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(2)
  leaves = [x + 0.1 * rng.standard_normal(x.shape).astype('f4') for x in leaves]
  return net, jax.tree.unflatten(tree, leaves)


def whole(net, variables, query, target):
  """The plain network on both videos, padded to multiples of 4."""
  codes, masks = [], []
  for video in (query, target):
    missing = -len(video) % 4
    codes.append(np.pad(video, ((0, missing), (0, 0), (0, 0)))[None])
    masks.append(np.pad(np.ones(len(video), 'f4'), (0, missing))[None])
  return jax.jit(lambda *args: net.apply(variables, *args, method='compare'))(
    *codes, *masks
  )


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('fine_plain', {}),
    ('fine_binary', {}),
    ('visil', {}),
    ('visil_symmetric', {}),
    ('s2vs', {}),
    ('fine_plain', {'comparator': False}),
  ],
)
@pytest.mark.parametrize('lengths', [(48, 80), (41, 67), (6, 50)])
def test_tiles_give_the_score_and_the_map_of_the_whole(name, options, lengths):
  net, variables = network(name, **options)
  query, target = (regions(seed, n) for seed, n in enumerate(lengths))
  target[20:24] = query[1:5]
  if name == 'fine_binary':
    query, target = np.sign(query), np.sign(target)
  expected = whole(net, variables, query, target)
  if name == 'fine_binary':
    query, target = (np.asarray(bits.pack(x)) for x in (query, target))
  found = compare_long(
    net, variables, query, target, tile=TILE, products='float32', with_map=True
  )
  close = dict(rtol=0, atol=1e-6)
  np.testing.assert_allclose(found.score, expected.score[0], **close)
  mask = np.asarray(expected.mask[0]) > 0
  limited = np.where(mask, np.clip(expected.raw[0], -1, 1), 0)
  rows, columns = found.map.shape
  np.testing.assert_allclose(found.map, limited[:rows, :columns], **close)
  assert not mask[rows:].any() and not mask[:, columns:].any()
  back = retrieval.chamfer(limited.T, mask.any(0), mask.any(1))
  if not net.symmetric:
    np.testing.assert_allclose(found.back, back, **close)


def test_a_tile_as_large_as_the_videos_changes_nothing():
  net, variables = network('fine_plain')
  query, target = regions(0, 24), regions(1, 40)
  scores = [
    compare_long(net, variables, query, target, tile=tile).score
    for tile in (8, 20, 64)
  ]
  np.testing.assert_allclose(scores, scores[0], rtol=0, atol=1e-6)


def test_without_the_halo_the_score_would_differ():
  net, variables = network('fine_plain')
  query, target = regions(0, 24), regions(1, 48)
  score = compare_long(net, variables, query, target, tile=TILE).score
  parts = [
    whole(net, variables, query, target[i : i + 16]) for i in (0, 16, 32)
  ]
  joined = np.concatenate([np.clip(x.raw[0], -1, 1) for x in parts], 1)
  assert abs(joined.max(1).mean() - score) > 1e-4


def test_the_longest_array_is_a_tile(monkeypatch):
  from deltax.retrieval.compare import tiles

  shapes = set()
  compare = tiles._compare

  def spy(*args):
    shapes.update(x.shape for x in args[3:])
    return compare(*args)

  monkeypatch.setattr(tiles, '_compare', spy)
  net, variables = network('fine_plain')
  compare_long(net, variables, regions(0, 10), regions(1, 300), tile=TILE)
  assert shapes == {(12, 2, 32), (12,), (32, 2, 32), (32,)}


@pytest.mark.parametrize('tile', [0, 10])
def test_tiles_are_multiples_of_four(tile):
  net, variables = network('fine_plain')
  with pytest.raises(ValueError, match=f'tiles of {tile} frames'):
    compare_long(net, variables, regions(0, 8), regions(1, 8), tile=tile)
