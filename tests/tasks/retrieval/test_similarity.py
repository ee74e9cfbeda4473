"""The similarity task: its objectives by slow definitions, and its score."""

import functools

import jax
import numpy as np
import pytest

from deltax import data, retrieval, tasks

ROWS, FRAMES = 3, 16
NETWORKS = ('visil', 'fine_attention', 'fine_binary', 'coarse')
TINY = {'coarse': dict(clusters=4, size=16, heads=2, hidden=32, dropout=0.0)}
ROLES = ('anchor', 'positive', 'negative')


@functools.cache
def batch_of(**options):
  dataset = data.make_dataset(
    'triplets',
    'train',
    batch_size=ROWS,
    train=True,
    features='',
    frames=FRAMES,
    **options,
  )
  return dataset[0]


@functools.cache
def pairs():
  dataset = data.make_dataset(
    'pairs', 'test', batch_size=8, train=False, features='', frames=FRAMES
  )
  return dataset[0]


def make(network, **options):
  own = TINY.get(network, {}) | options.pop('options', {})
  return tasks.make_task('similarity', network=network, options=own, **options)


@functools.cache
def start(network, objective='distillation'):
  """Parameters; the comparator's outputs, linear in its last, leave [-1, 1]."""
  views = objective == 'self_supervised'
  task, batch = make(network, objective=objective), batch_of(views=views)
  params, state = task.init(jax.random.key(0), batch)
  assert state == {}
  if network == 'coarse':
    return params
  first, second = ('view_a', 'view_b') if views else ROLES[:2]
  raw = by_pair(network, batch, first, second, 0, params)[1]
  last = {
    k: x * 1.5 / np.abs(raw).max() for k, x in params['head']['fconv'].items()
  }
  return {**params, 'head': {**params['head'], 'fconv': last}}


def losses(network, batch, **options):
  task = make(network, **options)
  params = start(network, options.get('objective', 'distillation'))
  found, state = jax.jit(task.losses)(params, {}, batch, jax.random.key(1))
  assert state == {}
  return jax.device_get(found)


@functools.cache
def compared(network, train=True):
  net = retrieval.create(network, **TINY.get(network, {}))

  def run(params, query, target, query_mask, target_mask):
    if network == 'coarse':
      one = net.apply({'params': params}, query, query_mask)
      return (one * net.apply({'params': params}, target, target_mask)).sum(), 0
    videos = query, target, query_mask, target_mask
    found = net.apply({'params': params}, *videos, train=train)
    return found.score[0], found.raw[0]

  return jax.jit(run)


def by_pair(network, batch, first, second, row, params=None, train=True):
  """Score and raw map of one pair, by itself."""
  names = (first, second, f'{first}_mask', f'{second}_mask')
  videos = [batch[name][row][None] for name in names]
  params = start(network) if params is None else params
  return jax.device_get(compared(network, train)(params, *videos))


def outside(raw):
  return np.maximum(np.abs(raw) - 1, 0).sum()


def longer(batch, more=8, junk=0.0):
  """The batch with more frames that pad, of which some hold `junk`."""
  found = dict(batch)
  for name in batch:
    if f'{name}_mask' in batch:
      mask, video = batch[f'{name}_mask'], batch[name]
      added = ((0, 0), (0, more))
      found[f'{name}_mask'] = np.pad(mask, added)
      padded = np.pad(video, (*added, (0, 0), (0, 0)))
      empty = found[f'{name}_mask'][..., None, None] == 0
      found[name] = np.where(empty, np.float32(junk), padded)
  return found


@pytest.mark.parametrize('network', NETWORKS)
def test_distillation_is_the_distance_to_the_teacher(network):
  batch = batch_of()
  found = losses(network, batch, penalty_weight=0.25)
  for row in range(ROWS):
    pair = [by_pair(network, batch, 'anchor', n, row) for n in ROLES[1:]]
    wanted = batch['scores'][row]
    if network == 'coarse':
      wanted = (wanted + 1) / 2
    expected = np.mean(
      [abs(p[0] - w) for p, w in zip(pair, wanted, strict=True)]
    )
    np.testing.assert_allclose(found['distillation'][row], expected, atol=2e-5)
    if network != 'coarse':
      penalty = 0.25 * sum(outside(raw) for _, raw in pair)
      np.testing.assert_allclose(found['penalty'][row], penalty, rtol=1e-3)
  if network == 'coarse':
    assert set(found) == {'distillation'}
  else:
    assert found['penalty'].max() > 0


@pytest.mark.parametrize('network', ['visil', 'coarse'])
def test_triplets_want_a_margin(network):
  batch = batch_of()
  found = losses(network, batch, objective='triplet', margin=1.5)
  for row in range(ROWS):
    near, far = (
      by_pair(network, batch, 'anchor', n, row)[0] for n in ROLES[1:]
    )
    expected = max(0.0, far - near + 1.5)
    np.testing.assert_allclose(found['triplet'][row], expected, atol=2e-5)
  assert found['triplet'].max() > 0


def test_without_a_comparator_scores_are_a_chamfer_similarity_by_hand():
  batch = batch_of()
  task = make('fine_plain', options=dict(comparator=False), objective='triplet')
  found, _ = jax.jit(task.losses)({}, {}, batch, jax.random.key(0))
  for row in range(ROWS):
    videos = {n: batch[n][row][batch[f'{n}_mask'][row] > 0] for n in ROLES}

    def score(name, videos=videos):
      best = []
      for frame in videos['anchor']:
        frames = [(frame @ x.T).max(1).mean() for x in videos[name]]
        best.append(max(frames))
      return np.mean(best)

    expected = max(0.0, score('negative') - score('positive') + 0.5)
    np.testing.assert_allclose(found['triplet'][row], expected, atol=1e-5)


def test_self_supervision_compares_every_view_with_every_other():
  batch = batch_of(views=True)
  objective = dict(objective='self_supervised', penalty_weight=0.5)
  found = losses('s2vs', batch, **objective)
  params = start('s2vs', 'self_supervised')
  views = [('view_a', i) for i in range(ROWS)]
  views += [('view_b', i) for i in range(ROWS)]
  joined = {
    end: np.stack([batch[name + end][row] for name, row in views])
    for end in ('', '_mask')
  }
  count = len(views)
  alike = np.eye(ROWS, dtype=bool)[np.arange(count) % ROWS][
    :, np.arange(count) % ROWS
  ]
  similarity, beyond = np.zeros((count, count)), np.zeros(count)
  for i in range(count):
    for j in range(count):
      videos = [joined[''][k][None] for k in (i, j)]
      masks = [joined['_mask'][k][None] for k in (i, j)]
      score, raw = compared('s2vs')(params, *videos, *masks)
      similarity[i, j] = score / 2 + 0.5
      beyond[i] += outside(raw)
  expected = {name: np.zeros(ROWS) for name in found}
  for i in range(count):
    logits = np.exp(similarity[i] / 0.03)
    others = logits[~alike[i]].sum()
    positives = [j for j in range(count) if alike[i, j] and j != i]
    terms = [-np.log(logits[j] / (logits[j] + others)) for j in positives]
    hardest = similarity[i][~alike[i]].max()
    for name, value in (
      ('contrast', np.mean(terms)),
      ('hard_negative', -3 * np.log(1 - hardest)),
      ('self_match', -3 * np.log(similarity[i, i])),
      ('penalty', 0.5 * beyond[i]),
    ):
      expected[name][i % ROWS] += value / 2
  for name, values in expected.items():
    np.testing.assert_allclose(found[name], values, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize('network', [*NETWORKS, 's2vs'])
def test_frames_that_pad_never_count(network):
  task, params = make(network), start(network)
  evaluate = jax.jit(lambda p, b: task.evaluate(p, {}, b)['score'])
  names = [n for n in pairs() if n.startswith(('query', 'target'))]
  batch = {name: pairs()[name] for name in [*names, 'relevant']}
  assert any((batch[f'{n}_mask'] == 0).any() for n in ('query', 'target'))
  expected = evaluate(params, batch)
  for junk in (0.0, 0.3):
    found = evaluate(params, longer(batch, junk=junk))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_an_evaluation_gives_the_hard_codes_and_its_own_pairs():
  batch, params = pairs(), start('fine_binary')
  found = make('fine_binary').evaluate(params, {}, batch)
  for name in ('query_id', 'target_id', 'relevant'):
    np.testing.assert_array_equal(found[name], batch[name])
  for row in range(3):
    score, _ = by_pair(
      'fine_binary', batch, 'query', 'target', row, train=False
    )
    np.testing.assert_allclose(found['score'][row], score, atol=2e-5)


def slow_map(score, query_id, relevant):
  precisions = []
  for query in sorted(set(query_id)):
    every = zip(score, query_id, relevant, strict=True)
    rows = [(-s, r) for s, q, r in every if q == query]
    hits, found = 0, []
    for rank, (_, hit) in enumerate(sorted(rows), 1):
      hits += hit
      if hit:
        found.append(hits / rank)
    if found:
      precisions.append(sum(found) / len(found))
  return sum(precisions) / len(precisions)


def arrays(seed=0, count=60):
  draw = np.random.default_rng(seed)
  query = draw.integers(0, 5, count).astype(np.int32)
  return {
    'score': draw.permutation(count).astype(np.float32) / count,
    'query_id': query,
    'target_id': np.arange(count, dtype=np.int32),
    # Query 2 has nothing relevant and does not count.
    'relevant': ((draw.random(count) < 0.3) & (query != 2)).astype(np.float32),
  }


def test_the_score_is_the_mean_average_precision_of_the_queries():
  summarise = make('fine_plain').summarise
  for seed in range(5):
    given = arrays(seed)
    expected = slow_map(
      *(given[name].tolist() for name in ('score', 'query_id', 'relevant'))
    )
    found = summarise(given)
    assert set(found) == {'map'}
    assert found['map'] == pytest.approx(expected, rel=1e-6)


def test_where_nothing_is_relevant_the_score_is_zero():
  given = arrays()
  given['relevant'] = np.zeros_like(given['relevant'])
  assert make('fine_plain').summarise(given) == {'map': 0.0}


def test_binary_codes_start_from_the_regions_of_the_batch():
  projection = start('fine_binary')['binarization']['projection']
  np.testing.assert_allclose(
    projection.T @ projection, np.eye(len(projection)), atol=1e-4
  )
  batch = dict(batch_of())
  # What pads is not fitted to.
  batch['anchor'] = longer(batch, more=0, junk=5.0)['anchor']
  again, _ = make('fine_binary').init(jax.random.key(0), batch)
  np.testing.assert_array_equal(again['binarization']['projection'], projection)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(network='coars'), "no network 'coars'; known: visil"),
    (
      dict(network='visil', objective='l2'),
      "no objective 'l2'; known: distillation, triplet, self_supervised",
    ),
    (
      dict(network='coarse', objective='self_supervised'),
      'self-supervision is for networks that compare frames',
    ),
  ],
)
def test_unknown_names_are_told_with_the_known_ones(options, message):
  with pytest.raises(ValueError, match=message):
    tasks.make_task('similarity', **options)
