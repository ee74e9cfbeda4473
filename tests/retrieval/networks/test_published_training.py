"""Two published training steps of each network: losses, gradients, updates."""

import functools

import dns_networks
import dns_rule
import jax
import jax.numpy as jnp
import numpy as np
import optax
import published
import pytest

from deltax import retrieval
from deltax.retrieval.networks import losses

# Gains of the weights that bring scores out of their limits.
STUDENTS = {
  'fg_att': {},
  'fg_att_reg': {'visil_head__fconv__weight': 6.0},
  'fg_bin': {},
  'fg_bin_reg': {'visil_head__fconv__weight': 3.0},
  'fg_none': {},
  'fg_none_reg': {'visil_head__fconv__weight': 3.0},
}
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
once = published.compiled_well  # Adam makes steps of rounding, see below


def batch():
  videos, teacher = dns_rule.triplets()
  return *dns_rule.padded(videos), teacher


def assert_update(name, rate, params, gradients, golden, noise=1e-8):
  """One step of Adam gives the published parameters; returns ours."""
  adam = optax.adam(rate)
  updates, _ = adam.update(gradients, adam.init(params))
  after = optax.apply_updates(params, updates)
  found = dns_networks.published(name, {'params': after})
  for key, expected in golden.items():
    if key.startswith('after1/'):
      key = key.partition('/')[2]
      # A fiftieth of a step. But where gradients cancel, to exactly zero here
      # and in float64, the reference has the rest of its rounding, and Adam
      # makes a step of that.
      size = np.abs(golden[f'grad_sample/{key}'])
      cancelled = (size > 0) & (size < noise)
      error = np.abs(dns_networks.sampled(found[key]) - expected)
      assert (error <= np.where(cancelled, 2 * rate, 0.02 * rate)).all(), key
  return after


@pytest.mark.parametrize('name', STUDENTS)
def test_a_fine_student_trains_as_published(name):
  golden = dns_rule.load(f'train_{name}.npz')
  reference = name.removesuffix('_reg')
  net, variables = dns_networks.network(reference, **STUDENTS[name])
  regions, mask, teacher = batch()

  @once
  @functools.partial(jax.value_and_grad, has_aux=True)
  def step(params):
    codes = net.apply({'params': params}, regions, train=True, method='encode')
    found = [
      net.apply(
        {'params': params},
        codes[:2],
        codes[others],
        mask[:2],
        mask[others],
        method='compare',
      )
      for others in (slice(2, 4), slice(4, 6))
    ]
    scores = jnp.stack([each.score for each in found], -1)
    l1 = losses.distillation(scores, jnp.asarray(teacher)).mean()
    penalty = sum(losses.penalty(each.raw).sum() for each in found)
    return l1 + 1e-3 * penalty, (scores, l1, penalty, codes[0, :2])

  def check(number, atol, total, scores, l1, penalty):
    start = f'step{number}_'
    close(scores[:, 0], golden[start + 'pos'][:, 0], atol=atol)
    close(scores[:, 1], golden[start + 'neg'][:, 0], atol=atol)
    close(l1, golden[start + 'l1'], atol=atol)
    close(penalty, golden[start + 'reg'], atol=atol)
    close(total, golden[start + 'total'], atol=atol)

  params = variables['params']
  (total, (*found, codes)), gradients = step(params)
  check(0, 1e-5, total, *found)
  if reference == 'fg_bin':
    # Where a projection is nearly zero, the step is 800 times steeper.
    close(codes, golden['index_train_a0_f01'], atol=1e-3)
  dns_networks.assert_gradients(reference, gradients, golden)
  params = assert_update(reference, 1e-4, params, gradients, golden)
  (total, (*found, _)), _ = step(params)
  # What cancelled (see assert_update) moved some of the reference's biases: in
  # float64, ours differs from it by as much, 1.5e-5.
  check(1, 2e-5, total, *found)


def test_the_coarse_student_trains_as_published():
  golden = dns_rule.load('train_cg.npz')
  _, variables = dns_networks.network('cg')
  net = retrieval.create('coarse', dropout=0.0)
  regions, mask, teacher = batch()

  @once
  @functools.partial(jax.value_and_grad, has_aux=True)
  def step(params):
    vectors = net.apply({'params': params}, regions, mask, train=True)
    anchor, positive, negative = jnp.split(vectors, 3)
    scores = jnp.stack(
      [(anchor * other).sum(-1) for other in (positive, negative)], -1
    )
    wanted = jnp.asarray(teacher) / 2 + 0.5
    l1 = losses.distillation(scores, wanted).mean()
    return l1, (scores, vectors)

  params = variables['params']
  (l1, (scores, vectors)), gradients = step(params)
  close(vectors, golden['emb'], atol=2e-6)
  close(scores[:, 0], golden['step0_pos'][:, 0])
  close(scores[:, 1], golden['step0_neg'][:, 0])
  close(l1, golden['step0_l1'])
  dns_networks.assert_gradients('cg', gradients, golden)
  params = assert_update('cg', 1e-5, params, gradients, golden)
  (l1, (scores, _)), _ = step(params)
  close(scores[:, 0], golden['step1_pos'][:, 0])
  close(scores[:, 1], golden['step1_neg'][:, 0])
  close(l1, golden['step1_l1'])


def test_the_selector_trains_as_published():
  golden = dns_rule.load('train_selector.npz')
  _, variables = dns_networks.network('selector')
  net = retrieval.create('selector', dropout=0.0)
  queries, targets = dns_rule.inputs()
  triplets, _ = dns_rule.triplets()
  regions, mask = dns_rule.padded(
    [
      *(queries[0], queries[1], triplets[0], triplets[1]),
      *(targets[0], dns_rule.video('t2', 5), triplets[2], triplets[5]),
    ]
  )
  coarse = jnp.array([0.7, 0.1, 0.55, 0.3])
  labels = jnp.array([0.0, 1.0, 1.0, 0.0])

  @once
  @functools.partial(jax.value_and_grad, has_aux=True)
  def step(params, statistics, shift):
    state = {'params': params, 'batch_stats': statistics}
    alike = shift + net.apply(state, regions, mask, method='self_similarity')
    logits, updates = net.apply(
      state,
      alike[:4],
      alike[4:],
      coarse,
      train=True,
      method='decide',
      mutable=['batch_stats'],
    )
    bce = losses.selection(logits, labels).mean()
    return bce, (alike, jax.nn.sigmoid(logits), updates['batch_stats'])

  params, statistics = variables['params'], variables['batch_stats']
  (bce, (alike, chosen, statistics)), gradients = step(params, statistics, 0.0)
  close(alike, golden['step0_z'][:, 0])
  close(chosen, golden['step0_pred'][:, 0])
  close(bce, golden['step0_bce'])
  # Batch norm takes a shift of all inputs away: biases of the comparator that
  # shift all of them have no gradient, but for rounding. Of that Adam makes
  # steps, so that after one the reference is shifted by 1e-4.
  noise = 2e-6
  dns_networks.assert_gradients('selector', gradients, golden, noise=noise)
  params = assert_update('selector', 1e-4, params, gradients, golden, noise)
  _, (alike, *_) = step(params, statistics, 0.0)[0]
  shift = golden['step1_z'].mean() - alike.mean()
  assert abs(shift) < 3e-4
  (bce, (alike, chosen, statistics)), _ = step(params, statistics, shift)
  close(alike, golden['step1_z'][:, 0])
  close(chosen, golden['step1_pred'][:, 0])
  close(bce, golden['step1_bce'])
  # The reference holds what both steps left.
  running = dns_networks.published('selector', {'batch_stats': statistics})
  assert len(running) == 4
  for key, array in running.items():
    close(array, golden[f'after1_buffer/{key}'], atol=5e-6, err_msg=key)


@pytest.mark.parametrize(
  ('name', 'size'),
  [('visil_head_3840', 3840), ('visil_head_512_symmetric', 512)],
)
@pytest.mark.parametrize('start', ['step_', 'stepreg_'])
def test_the_teacher_trains_as_published(name, size, start):
  golden = dns_rule.load(f'{name}.npz')
  gains = {} if start == 'step_' else {'video_comperator__fconv__weight': 6.0}
  net, variables = dns_networks.network(name, **gains)
  videos, _ = dns_rule.triplets(size)
  anchor, positive, negative = (videos[i][None] for i in (0, 2, 4))

  @once
  @functools.partial(jax.value_and_grad, has_aux=True)
  def step(params):
    found = [
      net.apply({'params': params}, anchor, other)
      for other in (positive, negative)
    ]
    scores = [each.score for each in found]
    triplet = losses.triplet(*scores).mean()
    penalty = sum(losses.penalty(each.raw).sum() for each in found)
    return triplet + 0.1 * penalty, (scores, triplet, penalty)

  (total, (scores, triplet, penalty)), gradients = step(variables['params'])
  close(scores[0], golden[start + 'sp'])
  close(scores[1], golden[start + 'sn'])
  close(triplet, golden[start + 'triplet'])
  close(penalty, golden[start + 'reg'])
  close(total, golden[start + 'total'])
  dns_networks.assert_gradients(name, gradients, golden, start)


def test_self_supervision_is_as_published():
  golden = dns_rule.load('s2vs.npz')
  net, variables = dns_networks.network('s2vs')
  videos = [dns_rule.video(f's{i}', 8) for i in range(3)]
  videos += [
    dns_rule.video(f'u{i}', 8, copied=(f's{i}', 8, 0, 0, 8)) for i in range(3)
  ]
  rows, columns = np.divmod(np.arange(36), 6)
  alike = jnp.asarray(golden['ssl_labels'])

  @once
  @functools.partial(jax.value_and_grad, has_aux=True)
  def step(params):
    state = {'params': params}
    codes = net.apply(state, np.stack(videos), train=True, method='encode')
    found = net.apply(state, codes[rows], codes[columns], method='compare')
    similarities = found.score.reshape(6, 6) / 2 + 0.5
    parts = (
      losses.contrast(similarities, alike).mean(),
      losses.hardest_negative(similarities, alike).mean(),
      losses.self_match(similarities).mean(),
      losses.penalty(found.raw).sum(),
    )
    total = parts[0] + 3 * (parts[1] + parts[2]) + parts[3]
    return total, (similarities, parts)

  (total, (similarities, parts)), gradients = step(variables['params'])
  close(similarities, golden['ssl_sim'])
  names = ('ssl_infonce', 'ssl_hardneg', 'ssl_self', 'ssl_reg')
  for name, part in zip(names, parts, strict=True):
    close(part, golden[name], atol=5e-5)
  close(total, golden['ssl_total'], atol=1e-4)
  dns_networks.assert_gradients('s2vs', gradients, golden)
