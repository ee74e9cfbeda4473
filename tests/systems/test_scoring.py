"""Scores of many pairs are those of the networks on one pair at a time."""

import functools

import jax
import numpy as np
import pytest

from deltax import retrieval
from deltax.data.features.made import make_features
from deltax.data.features.similarities import Similarities
from deltax.retrieval.system import Network, System
from deltax.systems.folder import UNTRAINED, Part
from deltax.systems.scoring import score_all, score_pairs

LENGTHS = (8, 12)
LONGEST = 24  # a copy may take twice as long
TINY = {
  'coarse': dict(clusters=3, size=8, heads=2, hidden=8),
  'selector': dict(hidden=4),
}


@functools.cache
def features():
  return make_features(
    sources=3, copies=1, frames=LENGTHS, regions=2, size=32
  ).features


@functools.cache
def part(name, **options):
  options = options or TINY.get(name, {})
  net = retrieval.create(name, **options)
  video = np.zeros((1, 8, 2, 32), np.float32)
  pair = video if name == 'coarse' else (video, video)
  inputs = {
    'coarse': (video,),
    'selector': (*pair, None, None, np.zeros(1, np.float32)),
  }.get(name, pair)
  init = jax.jit(lambda key: net.init(key, *inputs))
  return Part(name, options, jax.device_get(init(jax.random.key(3))))


@functools.cache
def network(name):
  own = part(name)
  return retrieval.create(own.name, **own.options), own.variables


def apply(name, *videos, method=None):
  """One pair or video, padded to the longest of all."""
  added = [LONGEST - len(x) for x in videos]
  padded = [
    np.pad(x, ((0, more), (0, 0), (0, 0)))[None]
    for x, more in zip(videos, added, strict=True)
  ]
  masks = [np.float32(np.arange(LONGEST) < len(x))[None] for x in videos]
  return _jitted(name, method)(network(name)[1], *padded, *masks)


@functools.cache
def _jitted(name, method):
  return jax.jit(functools.partial(network(name)[0].apply, method=method))


def coarse_score(query, target):
  one, other = (
    np.asarray(apply('coarse', features()[name]))[0] for name in (query, target)
  )
  return float(one @ other)


def fine_score(name, query, target):
  return float(apply(name, features()[query], features()[target]).score[0])


def system(fine='fine_attention', selector=True):
  def own(name):
    return Network(*network(name))

  return System(
    extract=None,
    coarse=own('coarse'),
    fine=own(fine),
    selector=own('selector') if selector else None,
    description={},
    fingerprint='',
  )


def test_every_query_is_scored_with_every_video_by_all_networks():
  names = sorted(features())
  queries, database = names[:2], names[1:]
  found = score_all(system(), features(), queries, database)
  own = {
    name: apply('selector', features()[name], method='self_similarity')[0]
    for name in names
  }
  for i, query in enumerate(queries):
    for j, target in enumerate(database):
      cheap = coarse_score(query, target)
      np.testing.assert_allclose(found.coarse[i, j], cheap, atol=1e-5)
      wanted = fine_score('fine_attention', query, target)
      np.testing.assert_allclose(found.fine[i, j], wanted, atol=1e-5)
      logit = _jitted('selector', 'decide')(
        network('selector')[1],
        *(np.float32([x]) for x in (own[query], own[target], cheap)),
      )
      np.testing.assert_allclose(found.selector[i, j], logit[0], atol=1e-4)
  assert found.fine.dtype == found.coarse.dtype == np.float32
  assert set(found.seconds) == {'coarse', 'selector', 'fine'}
  assert min(found.seconds.values()) >= 0
  frames = np.mean([len(features()[name]) for name in database])
  assert found.bytes == {
    'coarse': 4 * 8,
    'selector': 4,
    'fine': pytest.approx(4 * 2 * 32 * frames),
  }


def test_without_a_selector_the_coarse_scores_say_what_needs_the_fine_one():
  names = sorted(features())[:2]
  found = score_all(system(selector=False), features(), names, names)
  np.testing.assert_array_equal(found.selector, found.coarse)


def test_a_name_without_features_is_an_error():
  with pytest.raises(KeyError, match='nobody'):
    score_all(system(), features(), ['source-0'], ['source-0', 'nobody'])


def pairs():
  return Similarities(
    {
      'source-0': ({'source-0-copy-0': 1.0, 'gone': 1.0}, {'source-1': -1.0}),
      'source-1': ({'gone': 1.0}, {'source-2': -1.0, 'source-0': -1.0}),
      'gone': ({'source-0': 1.0}, {'source-1': -1.0}),
      'source-2': ({'gone': 1.0}, {'lost': -1.0}),
    }
  )


@pytest.mark.parametrize('name', ['coarse', 'fine_attention', 'fine_binary'])
def test_pairs_keep_their_roles_and_get_the_scores_of_the_network(name):
  found = score_pairs(part(name), features(), pairs()).pairs
  assert {a: tuple(map(set, both)) for a, both in found.items()} == {
    'source-0': ({'source-0-copy-0'}, {'source-1'}),
    'source-1': (set(), {'source-2', 'source-0'}),
  }
  for anchor, both in found.items():
    for scores in both:
      for other, score in scores.items():
        assert type(score) is float and -1 <= score <= 1 + 1e-6
        expected = (
          coarse_score(anchor, other)
          if name == 'coarse'
          else fine_score(name, anchor, other)
        )
        assert score == pytest.approx(expected, abs=2e-5)


def test_networks_without_variables_score_too():
  for role in ('coarse', 'fine'):
    found = score_pairs(UNTRAINED[role], features(), pairs()).pairs
    positive, negative = found['source-0']
    assert positive['source-0-copy-0'] > negative['source-1']


def test_a_selector_scores_no_pairs():
  with pytest.raises(ValueError, match='a selector scores no pairs'):
    score_pairs(part('selector'), features(), pairs())
