"""The published networks' numbers, with weights and inputs by rule."""

import functools

import dns_networks
import dns_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dns_networks import run

from deltax import retrieval

FINE = ['fg_att', 'fg_bin', 'fg_none']
TEACHERS = {'visil_head_3840': 3840, 'visil_head_512_symmetric': 512}
QUERIES = np.repeat(np.arange(3), 4)
TARGETS = np.tile(np.arange(4), 3)


def compare(net, variables, *videos):
  return run(net, None, variables, *videos)


def encode(net, variables, video):
  return run(net, 'encode', variables, video)


def close(actual, expected, tolerance=1e-5):
  """Equal but for the tolerance; axes of one element do not matter."""
  actual, expected = np.squeeze(actual), np.squeeze(expected)
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def pairs(queries, targets):
  """All pairs of two lists of videos, padded, query by query."""
  (query, query_mask), (target, target_mask) = (
    dns_rule.padded(videos) for videos in (queries, targets)
  )
  return (
    query[QUERIES],
    target[TARGETS],
    query_mask[QUERIES],
    target_mask[TARGETS],
  )


def test_the_rule_gives_the_published_inputs():
  golden = dns_rule.load('inputs.npz')
  queries, targets = dns_rule.inputs()
  close(queries[0][::2, :, ::8], golden['q'], 1e-7)
  close(targets[0][::2, :, ::8], golden['t'], 1e-7)
  videos, teacher = dns_rule.triplets()
  close(teacher, golden['teacher'], 0)
  for name, batch in (('Q', queries), ('T', targets), ('triplet', videos)):
    padded, mask = dns_rule.padded(batch)
    close(mask, golden[f'{name}_mask'], 0)
    close(padded.sum((1, 2, 3)), golden[f'{name}_sums'], 1e-3)


@pytest.mark.parametrize('name', dns_networks.NETWORKS)
def test_the_rule_gives_the_published_weights(name):
  listed = dns_rule.load(f'statedict_{name}.json')
  state = dns_rule.weights(f'statedict_{name}.json')
  total = sum(array.astype(np.float64).sum() for array in state.values())
  assert total == pytest.approx(listed['sum'], abs=1e-6)
  _, variables = dns_networks.network(name)
  count = sum(x.size for x in jax.tree.leaves(variables['params']))
  assert count == listed['parameters']


@pytest.mark.parametrize('name', FINE)
def test_a_fine_student_indexes_and_compares_as_published(name):
  golden = dns_rule.load(f'{name}.npz')
  net, variables = dns_networks.network(name)
  queries, targets = dns_rule.inputs()
  query, target = queries[0][None], targets[0][None]
  for key, video in (('q', query), ('t', target)):
    code = encode(net, variables, video[0])
    if name == 'fg_bin':
      np.testing.assert_array_equal(code, golden[f'index_{key}_sign'])
    else:
      close(code[::2, :, ::8], golden[f'index_{key}'], 2e-6)
    if name == 'fg_att':
      weights = np.linalg.norm(code, axis=-1, keepdims=True)
      close(weights, golden[f'att_weights_{key}'], 2e-6)
  found = compare(net, variables, query, target)
  close(found.frames, golden['f2f'])
  close(found.raw, golden['visil_raw'])
  close(jnp.clip(found.raw, -1, 1), golden['sim_matrix'])
  close(found.score, golden['sim_qt'])
  assert found.mask is None
  close(compare(net, variables, target, query).score, golden['sim_tq'])
  close(compare(net, variables, query, query).score, golden['sim_qq'])


@pytest.mark.parametrize('name', FINE)
def test_a_fine_student_compares_padded_pairs_as_published(name):
  golden = dns_rule.load(f'{name}.npz')
  net, variables = dns_networks.network(name)
  query, target, *masks = pairs(*dns_rule.inputs())
  found = compare(net, variables, query, target, *masks)
  real = golden['batch_f2f_mask']
  np.testing.assert_array_equal(
    masks[0][:, :, None] * masks[1][:, None, :], real
  )
  close(found.frames * real, golden['batch_f2f'])
  close(found.raw, golden['batch_visil_raw'])
  np.testing.assert_array_equal(found.mask, golden['batch_visil_mask'])
  close(found.score.reshape(3, 4), golden['batch_sim'])


@pytest.mark.parametrize('name', FINE)
def test_a_fine_student_compares_videos_of_any_length_as_published(name):
  golden = dns_rule.load(f'{name}.npz')
  net, variables = dns_networks.network(name)
  queries, targets = dns_rule.inputs()

  # The comparators of all three are one program.
  after = retrieval.create('fine_plain')
  head = {'params': {'head': variables['params']['head']}}
  scale = 512 if name == 'fg_bin' else 1

  def score(query, target):
    products = np.einsum('trd,spd->tsrp', query, target)
    frames = products.max(-1).mean(-1)[None] / scale
    return run(after, 'compare_frames', head, frames).score[0]

  def scores(queries, targets):
    queries, targets = (
      [np.asarray(encode(net, variables, video)) for video in videos]
      for videos in (queries, targets)
    )
    return np.array([[score(q, t) for t in targets] for q in queries])

  whole = [retrieval.pad_short(video) for video in targets]
  close(scores(queries, whole), golden['pair_sim_unmasked'])
  for count in range(1, 6):
    copied = ('q0', 12, 0, 0, count)
    short = dns_rule.video(f'short{count}', count, copied=copied)
    short = retrieval.pad_short(short)
    assert len(short) == golden[f'short{count}_len']
    close(scores(queries[:1], [short]), golden[f'short{count}_sim_q'])
    close(scores([short], queries[:1]), golden[f'short{count}_sim_q_rev'])
  one = [
    [retrieval.unit(video.mean(1, keepdims=True))]
    for video in (queries[0], targets[0])
  ]
  close(scores(*one), golden['one_region_sim'])
  chunks = [targets[0][:8], targets[0][8:16], targets[0][16:]]
  close(scores(queries[:1], chunks).mean(), golden['chunk8_sim'])


@pytest.mark.parametrize(('name', 'size'), TEACHERS.items())
def test_the_teacher_compares_as_published(name, size):
  golden = dns_rule.load(f'{name}.npz')
  net, variables = dns_networks.network(name)
  queries, targets = dns_rule.inputs(size)
  query, target = queries[0][None], targets[0][None]
  for key, video in (('q', query), ('t', target)):
    code = np.asarray(encode(net, variables, video[0]))
    weights = (code * video[0]).sum(-1, keepdims=True)
    close(weights, golden[f'att_weights_{key}'])
    if key == 'q':
      close(code[..., :16], golden['prepared_q_head'], 2e-6)
      close(code.sum(), golden['prepared_q_sum'], 1e-3)
  found = compare(net, variables, query, target)
  close(found.frames, golden['f2f'])
  close(found.raw, golden['visil_raw'])
  close(found.score, golden['sim_qt'])
  close(compare(net, variables, target, query).score, golden['sim_tq'])
  close(compare(net, variables, query, query).score, golden['sim_qq'])
  frames_alone = net.clone(comparator=False)
  attention = {'params': {'attention': variables['params']['attention']}}
  matched = compare(frames_alone, attention, query, target)
  close(matched.score, golden['no_comparator_qt'])
  # The published scores are of single pairs; ours are padded, and equal.
  whole = [retrieval.pad_short(video) for video in targets]
  scores = compare(net, variables, *pairs(queries, whole)).score
  close(scores.reshape(3, 4), golden['pair_sim'])


def test_the_self_supervised_network_compares_as_published():
  golden = dns_rule.load('s2vs.npz')
  net, variables = dns_networks.network('s2vs')
  queries, targets = dns_rule.inputs()
  query, target = queries[0][None], targets[0][None]
  close(compare(net, variables, query, target).score, golden['sim_qt'])
  both = compare(net.clone(symmetric=True), variables, query, target)
  close(both.score, golden['sim_qt_symmetric'])
  attention = {'params': {'attention': variables['params']['attention']}}
  alone = compare(net.clone(comparator=False), attention, query, target)
  close(alone.score, golden['sim_qt_chamfer_only'])
  found = compare(net, variables, *pairs(queries, targets))
  close(found.score.reshape(3, 4), golden['batch_sim'])
  np.testing.assert_array_equal(found.raw * (1 - found.mask), 0)


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('cg', {}),
    ('cg_nonetvlad', {}),
    ('cg_notransformer', {}),
    ('cg_plain', dict(attention=False, transformer=False, netvlad=False)),
  ],
)
def test_the_coarse_student_embeds_as_published(name, options):
  golden = dns_rule.load(f'{name}.npz')
  if options:
    net, variables = retrieval.create('coarse', **options), {}
  else:
    net, variables = dns_networks.network(name)
  queries, targets = dns_rule.inputs()
  embed = functools.partial(compare, net)
  close(embed(variables, queries[0][None]), golden['emb_q'], 2e-6)
  queries, targets = map(dns_rule.padded, (queries, targets))
  query, target = embed(variables, *queries), embed(variables, *targets)
  close(query, golden['emb_Q'], 2e-6)
  close(target, golden['emb_T'], 2e-6)
  if name == 'cg':
    close(query @ target.T, golden['sim_QT'])


def test_the_stages_of_the_coarse_student_are_as_published():
  golden = dns_rule.load('cg.npz')
  net, variables = dns_networks.network('cg')
  queries, targets = dns_rule.inputs()
  query = queries[0][None]
  _, state = net.apply(variables, query, capture_intermediates=True)
  stages = state['intermediates']
  (weighed,) = stages['weights']['__call__']
  close((weighed * query).sum(-1), golden['att_weights_q'], 2e-6)
  close(retrieval.unit(weighed.sum(-2)), golden['frames_q'], 2e-6)
  close(
    retrieval.unit(stages['encoder']['__call__'][0]),
    retrieval.unit(golden['transformer_q']),
    2e-6,
  )
  close(
    retrieval.unit(stages['pool']['__call__'][0]),
    retrieval.unit(golden['netvlad_q']),
    2e-6,
  )
  embed = functools.partial(compare, net, variables)
  alone = [embed(video[None])[0] for video in queries + targets]
  close(alone, golden['emb_one_by_one'], 2e-6)
  close(embed(targets[3][None, :1]), golden['emb_1frame'], 2e-6)
  close(embed(targets[0][None]), golden['emb_t'], 2e-6)


def test_the_selector_decides_as_published():
  golden = dns_rule.load('selector.npz')
  net, variables = dns_networks.network('selector')

  def alike(*videos):
    return run(net, 'self_similarity', variables, *videos)

  def decide(rows):
    logits = run(net, 'decide', variables, *np.array(rows).T)
    return jax.nn.sigmoid(logits)

  queries, targets = dns_rule.inputs()
  close(alike(queries[0][None]), golden['z_q'])
  close(alike(targets[0][None]), golden['z_t'])
  query, target = map(dns_rule.padded, (queries, targets))
  close(alike(*query), golden['z_Q'])
  close(alike(*target), golden['z_T'])
  _, state = net.apply(
    variables,
    queries[0][None],
    method='self_similarity',
    capture_intermediates=True,
  )
  stages = state['intermediates']
  frames = stages['attention']['__call__'][0].mean(-2)
  close(frames @ frames.swapaxes(1, 2), golden['selfsim_q'])
  close(stages['head']['__call__'][0][0], golden['selfsim_raw_q'])
  scores = decide(golden['mlp_in'])
  close(scores, golden['score'])
  order = np.argsort(-scores[:4])
  np.testing.assert_array_equal(order, golden['order_desc_q0'])
  close(decide(golden['mlp_grid_in']), golden['mlp_grid_score'])
  rows = (query[0][QUERIES], target[0][TARGETS], query[1][QUERIES])
  coarse = golden['mlp_in'][:, 2]
  logits = compare(net, variables, *rows, target[1][TARGETS], coarse)
  close(jax.nn.sigmoid(logits), golden['score'])
