"""Searching an index: what is found, by which student, and where."""

import functools

import jax
import numpy as np
import pytest

from deltax import retrieval
from deltax.data.features.made import make_features
from deltax.retrieval import system as retrieval_system
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search import fine_search
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.search.rerank import by_budget
from deltax.retrieval.search.searcher import Budget, Searcher, search
from deltax.retrieval.system import (
  Network,
  System,
  encode,
  encode_clips,
  encode_coarse,
  encode_fine,
  needs,
  vectors_of,
)
from deltax.systems import index_features

SIZE, REGIONS = 32, 2


def draw(name, *arguments, **options):
  net = retrieval.create(name, **options)
  init = jax.jit(lambda key: net.init(key, *arguments))
  return Network(net, init(jax.random.key(7)))


@functools.cache
def make_system(fine='plain', selector=False):
  """The untrained system, or one of small random networks."""
  regions = np.zeros((1, 8, REGIONS, SIZE), np.float32)
  net = (
    Network(retrieval.create('fine_plain', comparator=False), {})
    if fine == 'plain'
    else draw(f'fine_{fine}', regions, regions)
  )
  coarse = retrieval.create(
    'coarse', attention=False, transformer=False, netvlad=False
  )
  score = np.zeros(1, np.float32)
  decide = (
    draw('selector', regions, regions, None, None, score, hidden=4)
    if selector
    else None
  )
  return System(
    extract=lambda frames: frames,
    coarse=Network(coarse, {}),
    fine=net,
    selector=decide,
    description={'fine': fine},
    fingerprint='abc',
  )


def regions_of(seed, frames=12):
  """Unit vectors that change slowly, as a video's do."""
  rng = np.random.default_rng(seed)
  steps = rng.standard_normal((frames, REGIONS, SIZE))
  slow = steps + np.roll(steps, 1, 0) + rng.standard_normal((1, 1, SIZE))
  return unit(slow)


def unit(x):
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def add(index, system, videos, **options):
  fine = FineSearch(system.fine)
  made = []
  for name, regions in videos.items():
    codes = encode(system, regions)
    made.append(
      IndexedVideo(
        name=name,
        path=f'/videos/{name}',
        coarse=codes.coarse,
        fine=codes.fine,
        times=2.0 * np.arange(len(regions)),
        selector=float(codes.selector),
        own=fine.with_itself(codes.fine).back,
        duration=2.0 * len(regions),
        **options,
      )
    )
  index.add(made)


LENGTHS = (3, 11, 12)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """`(fine, selector) -> (index, system, {name: regions})`, each made once."""

  @functools.cache
  def build(fine='plain', selector=False):
    system = make_system(fine, selector)
    folder = tmp_path_factory.mktemp('search') / 'index'
    index = Index.create(folder, fingerprint='abc', description={})
    videos = {
      f'v{n}': regions_of(n, frames) for n, frames in enumerate(LENGTHS * 8)
    }
    add(index, system, videos)
    return index, system, videos

  return build


def names(found):
  return [match.name for match in found.matches]


def coarse_scores(index, codes):
  """By all vectors of the query, as these videos have one each."""
  return (index.coarse() @ vectors_of(codes).T).max(1)


def coarse_order(index, system, regions):
  scores = coarse_scores(index, encode(system, regions))
  return [index.names[i] for i in np.argsort(-scores, kind='stable')]


@pytest.mark.parametrize('fine', ['plain', 'attention', 'binary'])
def test_a_video_finds_itself_with_a_score_of_one(built, fine):
  index, system, videos = built(fine)
  searcher = Searcher(index, system)
  for name in ('v0', 'v8'):
    for symmetric in (False, True):
      found = searcher.search(videos[name], k=3, symmetric=symmetric)
      best = found.matches[0]
      assert best.name == name and best.reranked
      assert best.path == f'/videos/{name}'
      assert best.score == pytest.approx(1, abs=1e-5)
      assert best.coarse == pytest.approx(1, abs=1e-5)
      assert all(0 <= match.score <= 1 for match in found.matches)


@pytest.mark.parametrize('fine', ['plain', 'attention', 'binary'])
def test_pairs_score_as_the_network_says_one_by_one(built, fine):
  index, system, videos = built(fine)
  net, variables = system.fine
  query = videos['v1']
  found = FineSearch(system.fine).compare(
    encode(system, query).fine,
    dict(enumerate(index.table['frames'])),
    index.fine,
  )
  compare = jax.jit(net.apply)
  for name, regions in videos.items():
    masks = []
    padded = []
    for video in (query, regions):
      length = 4 * -(-len(video) // 4)
      padding = ((0, length - len(video)), (0, 0), (0, 0))
      padded.append(np.pad(video, padding)[None])
      masks.append((np.arange(length) < len(video)).astype(np.float32)[None])
    alone = compare(variables, *padded, *masks)
    pair = found[index.row(name)]
    np.testing.assert_allclose(pair.score, alone.score[0], atol=1e-5)
    inside = np.asarray(alone.mask[0]) > 0
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    whole = np.clip(alone.raw[0, :rows, :columns], -1, 1)
    np.testing.assert_allclose(pair.back, whole.max(0).mean(), atol=1e-5)


def test_a_budget_of_pairs_is_kept(built):
  index, system, videos = built()
  searcher = Searcher(index, system)
  for pairs in (0, 1, 5, 9, 100):
    found = searcher.search(videos['v5'], k=6, budget=Budget(pairs))
    assert found.pairs == min(pairs, len(videos))
    reranked = [match for match in found.matches if match.reranked]
    assert len(reranked) == min(pairs, 6)  # and these come first
    assert found.videos == len(videos)


def test_a_search_for_scores_alone_gives_the_same_ones(built):
  index, system, videos = built('plain', True)
  searcher, query = Searcher(index, system), videos['v5']
  whole, alone = (
    searcher.search(query, k=len(videos), budget=Budget(24), locate=locate)
    for locate in (True, False)
  )
  assert any(match.where for match in whole.matches)
  assert alone.matches == tuple(m._replace(where=()) for m in whole.matches)


@pytest.mark.parametrize('selector', [False, True])
@pytest.mark.parametrize('fine', ['plain', 'attention'])
def test_without_calibration_re_ranked_videos_stand_before_the_others(
  built, fine, selector
):
  index, system, videos = built(fine, selector)
  searcher, query = Searcher(index, system), videos['v5']
  codes = encode(system, query)
  lengths = dict(enumerate(index.table['frames']))
  pairs = FineSearch(system.fine).compare(codes.fine, lengths, index.fine)
  coarse = coarse_scores(index, codes)
  for budget in (0, 1, 2, 5, 12, 23, 24, 100):
    found = searcher.search(query, k=len(videos), budget=Budget(budget))
    assert len(found.matches) == len(videos)
    compared = [match.row for match in found.matches if match.reranked]
    rest = [match.row for match in found.matches if not match.reranked]
    assert len(compared) == found.pairs == min(budget, len(videos))
    assert [match.row for match in found.matches] == compared + rest
    for rows, scores in (
      (compared, [pairs[row].score for row in compared]),
      (rest, coarse[rest]),
      (compared + rest, [match.score for match in found.matches]),
    ):
      assert (np.diff(scores) <= 1e-5).all(), (budget, rows)
    # The best coarse score is among what is looked at, whoever is in need.
    assert budget < 5 or coarse.argmax() in compared


def average_precision(relevant):
  hits = np.flatnonzero(relevant)
  return float(np.mean((np.arange(len(hits)) + 1) / (hits + 1)))


def test_re_ranking_a_few_makes_no_search_worse(tmp_path):
  # As of images: all frames have much in common, so that coarse scores lie
  # close to 1, far above the fine ones.
  common = 2 * unit(np.random.default_rng(9).standard_normal(SIZE))
  made = make_features(
    sources=12, copies=3, frames=(8, 16), regions=REGIONS, size=SIZE, noise=1.5
  )
  videos = {name: unit(x + common) for name, x in made.features.items()}
  system = make_system()
  index = Index.create(tmp_path / 'i', fingerprint='abc', description={})
  add(index, system, videos)
  searcher, precision = Searcher(index, system), {}
  for budget in (0, 4, 8, 24, 48):
    precision[budget] = []
    for query in set(made.source.values()):
      found = searcher.search(
        videos[query], k=len(videos), budget=Budget(budget)
      )
      relevant = [made.source[name] == query for name in names(found)]
      precision[budget].append(average_precision(relevant))
  alone, *reranked = (np.mean(values) for values in precision.values())
  assert 0.9 < alone and min(reranked) >= alone - 1e-9


def test_without_a_budget_the_coarse_student_decides(built):
  index, system, _ = built()
  query = regions_of(99)
  found = search(index, system, query, k=10, budget=Budget(0))
  assert names(found) == coarse_order(index, system, query)[:10]
  for match in found.matches:
    assert not match.reranked and not match.where
    scale = system.calibration
    expected = scale.readable(scale.coarse_odds(match.coarse))
    assert match.score == pytest.approx(expected) and match.score < 0.5


def test_the_selector_says_what_is_compared(built):
  index, system, videos = built('plain', True)
  query = regions_of(5, 12)
  found = search(index, system, query, k=len(videos), budget=Budget(10))
  codes = encode(system, query)
  coarse = coarse_scores(index, codes)
  need = needs(system.selector, codes.selector, index.table['selector'], coarse)
  chosen = by_budget(coarse, need, 15, pairs=2)  # of the 15 best
  reranked = {match.name for match in found.matches if match.reranked}
  assert reranked >= {index.names[row] for row in chosen}
  assert len(reranked) == 10
  # The rest of the budget went to the best coarse scores.
  others = reranked - {index.names[row] for row in chosen}
  top = by_budget(coarse, None, 10, pairs=10)
  assert others <= {index.names[row] for row in top}


def test_a_budget_of_time_is_kept(built, monkeypatch):
  index, system, videos = built()
  searcher, query = Searcher(index, system), videos['v5']
  none = searcher.search(query, budget=Budget(milliseconds=0))
  assert none.pairs == 0 and not any(m.reranked for m in none.matches)
  much = searcher.search(query, budget=Budget(milliseconds=1e6))
  assert much.pairs == len(videos)
  ticks = iter(range(10**6))
  monkeypatch.setattr(fine_search.time, 'perf_counter', lambda: next(ticks))
  some = searcher.search(query, k=4, budget=Budget(milliseconds=1250))
  # One chunk by need takes the second that there is; a quarter is left over,
  # which is time to begin the rest.
  assert fine_search.CHUNK <= some.pairs <= len(videos)
  assert all(match.reranked for match in some.matches)
  one = searcher.search(query, k=4, budget=Budget(milliseconds=1e-3))
  assert one.pairs < len(videos) + 1


def assert_same_where(one, other):
  flat = [
    [[*w.query, *w.target, w.score] for w in where] for where in (one, other)
  ]
  np.testing.assert_allclose(*flat, atol=1e-4)


def test_blocks_of_any_size_give_the_same_scores(built, monkeypatch):
  index, system, videos = built('attention')
  whole = search(index, system, videos['v5'], k=24)
  monkeypatch.setattr(fine_search, 'CELLS', 24 * 24)
  small = search(index, system, videos['v5'], k=24)
  assert names(whole) == names(small)
  for a, b in zip(whole.matches, small.matches, strict=True):
    assert a.score == pytest.approx(b.score, abs=1e-5)
    assert_same_where(a.where, b.where)


@pytest.mark.parametrize('fine', ['plain', 'attention', 'binary'])
def test_pairs_too_long_for_a_block_score_the_same(built, fine, monkeypatch):
  index, system, videos = built(fine)
  whole = search(index, system, videos['v5'], k=24)
  monkeypatch.setattr(fine_search, 'CELLS', 15)
  tiled = search(index, system, videos['v5'], k=24)
  expected = {match.name: match for match in whole.matches}
  for match in tiled.matches:
    assert match.score == pytest.approx(expected[match.name].score, abs=1e-5)
    assert_same_where(match.where, expected[match.name].where)


def test_a_part_of_a_video_is_found_where_it_is(tmp_path):
  system = make_system()
  index = Index.create(tmp_path / 'i', fingerprint='abc', description={})
  host = regions_of(1, 60)
  query = regions_of(2, 32)
  host[20:36] = query[8:24]
  add(index, system, {'host': host, 'other': regions_of(3, 60)})
  times = 100 + 0.5 * np.arange(32)
  found = search(index, system, query, times=times, duration=116.5)
  best = found.matches[0]
  assert best.name == 'host' and best.duration == 120
  where = best.where[0]
  np.testing.assert_allclose(where.query, (104, 112), atol=1)
  np.testing.assert_allclose(where.target, (40, 72), atol=4)
  assert 0.5 < where.score <= 1
  others = [match for match in found.matches if match.name == 'other']
  assert not others[0].where  # nothing is told of what does not match


@pytest.mark.parametrize('fine', ['plain', 'attention', 'binary'])
def test_a_long_video_is_encoded_part_by_part(fine, monkeypatch):
  system = make_system(fine)
  video = regions_of(1, 40)
  whole = encode(system, video)
  monkeypatch.setattr(retrieval_system, 'LONG', 16)
  parts = encode(system, video)
  for codes in (parts.fine, encode_fine(system.fine, video)):
    assert codes.dtype == whole.fine.dtype
    np.testing.assert_allclose(codes, whole.fine, atol=1e-6)
  assert np.linalg.norm(parts.coarse) == pytest.approx(1, abs=1e-5)
  assert parts.coarse @ whole.coarse > 0.95
  assert parts.selector.shape == whole.selector.shape
  with pytest.raises(ValueError, match=r'T at least 1'):
    encode(system, video[:0])


@pytest.mark.parametrize('frames', [5, 6, 7, 12, 16, 17, 40, 41])
def test_clips_overlap_by_half_however_a_video_comes_in_parts(
  frames, monkeypatch
):
  coarse, video = make_system().coarse, regions_of(1, frames)
  last = frames - 6
  starts = [*range(0, last, 3), last] if last > 0 else []
  expected = [encode_coarse(coarse, video[n : n + 6]) for n in starts]
  for long in (1024, 16, 3):
    monkeypatch.setattr(retrieval_system, 'LONG', long)
    clips = encode_clips(coarse, video)
    assert clips.shape == (len(starts), *encode_coarse(coarse, video).shape)
    np.testing.assert_allclose(
      clips, np.reshape(expected, clips.shape), atol=1e-6
    )


def test_a_long_video_against_itself_is_compared_part_by_part(monkeypatch):
  fine = FineSearch(make_system().fine)
  video = regions_of(1, 40)
  whole = fine.with_itself(video)
  monkeypatch.setattr(fine_search, 'ALONE', 16)
  np.testing.assert_allclose(fine.with_itself(video), whole, atol=0.02)


def test_symmetric_scores_know_what_else_is_in_a_video(tmp_path):
  system = make_system()
  index = Index.create(tmp_path / 'i', fingerprint='abc', description={})
  query = regions_of(2, 12)
  add(
    index,
    system,
    {'host': np.concatenate([query, regions_of(1, 36)]), 'same': query},
  )
  both = {m.name: m for m in search(index, system, query).matches}
  assert both['host'].score == pytest.approx(1, abs=1e-4)
  both = {
    m.name: m for m in search(index, system, query, symmetric=True).matches
  }
  assert both['same'].score == pytest.approx(1, abs=1e-4)
  assert both['host'].score < 0.95


def test_the_background_is_never_found_but_taken_off(built, tmp_path):
  index, system, videos = built()
  with pytest.raises(ValueError, match='no background videos to normalise'):
    search(index, system, videos['v5'], normalise=True)
  own = Index.create(tmp_path / 'i', fingerprint='abc', description={})
  add(own, system, {f'v{n}': videos[f'v{n}'] for n in range(6)})
  shared = {f'b{n}': regions_of(1000 + n) for n in range(5)}
  add(own, system, shared, background=True)
  plain = search(own, system, videos['v5'])
  found = search(own, system, videos['v5'], normalise=True)
  assert plain.videos == 6 and len(plain.matches) == 6
  assert sorted(names(found)) == [f'v{n}' for n in range(6)]
  assert found.matches[0].name == 'v5'
  assert found.pairs == 6


def test_a_normalised_score_is_less_the_mean_of_the_best_background(tmp_path):
  system = make_system('attention')
  index = Index.create(tmp_path / 'i', fingerprint='abc', description={})
  add(index, system, {'v': regions_of(1), 'w': regions_of(2)})
  shared = {f'b{n}': regions_of(50 + n, (12, 3)[n % 2]) for n in range(6)}
  add(index, system, shared, background=True)
  query = np.concatenate([regions_of(1, 8), shared['b2'][:4]])
  fine = FineSearch(system.fine)
  codes = encode(system, query)
  own = fine.with_itself(codes.fine)
  marks, dots, scale = [], [], system.calibration
  for row, name in enumerate(index.names):
    if name in shared:
      pair = fine.compare(codes.fine, {row: len(shared[name])}, index.fine)[row]
      self_score = fine.with_itself(encode(system, shared[name]).fine).back
      there = (pair.score + 1) / (own.score + 1)
      back = (pair.back + 1) / (self_score + 1)
      both = (min(there, 1) + min(back, 1)) / 2
      marks.append(scale.readable(scale.fine_odds(both)))
      dot = float(coarse_scores(index, codes)[row])
      dots.append(scale.readable(scale.coarse_odds(dot)))
  for budget, mean in ((Budget(9), np.mean(marks)), (Budget(0), np.mean(dots))):
    options = {'symmetric': True, 'budget': budget}
    plain = search(index, system, query, **options)
    found = search(index, system, query, normalise=True, **options)
    for one, other in zip(plain.matches, found.matches, strict=True):
      assert other.score == pytest.approx(one.score - mean, abs=1e-5)


def test_another_model_is_refused_and_both_are_named(built):
  index, system, _ = built()
  with pytest.raises(ValueError, match=r'the model abc, and this is def:'):
    Searcher(index, system._replace(fingerprint='def'))


def test_an_empty_index_gives_nothing_and_a_removed_video_is_not_found(
  tmp_path,
):
  system = make_system()
  index = Index.create(tmp_path / 'i', fingerprint='abc', description={})
  query = regions_of(0)
  assert search(index, system, query).matches == ()
  add(index, system, {'a': query, 'b': regions_of(1), 'c': regions_of(2)})
  index.remove(['a'])
  assert names(search(index, system, query))[0] in ('b', 'c')
  assert len(search(index, system, query).matches) == 2
  index.remove(['b', 'c'])
  assert search(index, system, query).matches == ()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'k': 0}, 'expected k >= 1'),
    ({'budget': Budget(-1)}, 'no budget below 0'),
    ({'budget': Budget(milliseconds=-1)}, 'no budget below 0'),
  ],
)
def test_senseless_options_are_refused(built, options, message):
  index, system, videos = built()
  with pytest.raises(ValueError, match=message):
    search(index, system, videos['v0'], **options)


def test_approximate_coarse_search_still_gives_exact_scores(tmp_path):
  pytest.importorskip('faiss')
  system = make_system()
  videos = {f'v{n}': regions_of(n) for n in range(60)}
  found = []
  for kind in ('exact', 'ivf_rabitq'):
    index = Index.create(
      tmp_path / kind, fingerprint='abc', description={}, coarse_search=kind
    )
    add(index, system, videos)
    found.append(search(index, system, videos['v9'], k=8))
  exact, near = ({m.name: m for m in f.matches} for f in found)
  assert names(found[0])[0] == names(found[1])[0] == 'v9'
  for name in exact.keys() & near.keys():
    assert exact[name].coarse == pytest.approx(near[name].coarse, abs=1e-6)
    assert exact[name].score == pytest.approx(near[name].score, abs=1e-6)


def partial_copies(copies=12, films=30, frames=300):
  """Long films of many scenes, and queries of ten frames of some of them."""
  rng = np.random.default_rng(4)
  features, queries = {}, {}
  for n in range(films):
    scenes = np.repeat(
      rng.standard_normal((frames // 12, REGIONS, SIZE)), 12, 0
    )
    drift = 0.3 * rng.standard_normal((frames, REGIONS, SIZE))
    features[f'film {n}'] = film = unit(scenes + drift)
    start = int(rng.integers(frames - 10))
    noise = 0.5 * rng.standard_normal((10, REGIONS, SIZE)) / SIZE**0.5
    queries[f'film {n}'] = unit(film[start : start + 10] + noise)
  return features, dict(list(queries.items())[:copies])


def test_a_short_copy_in_a_long_film_is_among_the_best_by_the_coarse_score(
  tmp_path,
):
  system, (features, queries) = make_system(), partial_copies()
  with_clips = index_features(tmp_path / 'new', features, system)
  before = Index.create(tmp_path / 'old', fingerprint='abc', description={})
  add(before, system, features)  # one vector a film
  recall = {}
  for index in (before, with_clips):
    searcher = Searcher(index, system)
    hits = [
      name in names(searcher.search(query, k=3, budget=Budget(0)))
      for name, query in queries.items()
    ]
    recall[index] = np.mean(hits)
  assert recall[with_clips] == 1 and recall[before] < 0.7
  # And a short video in a long query.
  name, query = next(iter(queries.items()))
  short = index_features(tmp_path / 'short', {**queries, 'own': query}, system)
  found = search(short, system, features[name], k=2, budget=Budget(0))
  assert set(names(found)) == {name, 'own'}
