"""The selection task: its loss by hand, and what its scores count."""

import functools

import jax
import numpy as np
import pytest

from deltax import data, retrieval, tasks
from deltax.training import evaluate

HIDDEN = 6


def make(**options):
  own = dict(hidden=HIDDEN, dropout=0.0)
  return tasks.make_task('selection', options=own, **options)


@functools.cache
def pairs(split='train', size=8):
  return data.make_dataset(
    'scored_pairs',
    split,
    batch_size=size,
    train=split == 'train',
    features='',
    frames=16,
  )


@functools.cache
def start():
  return jax.device_get(make().init(jax.random.key(0), pairs()[0]))


def own_numbers(params, batch, name):
  """What the selector says of each video by itself, without what pads."""
  net = retrieval.create('selector', hidden=HIDDEN)
  variables = {'params': params, **start()[1]}
  run = jax.jit(functools.partial(net.apply, method='self_similarity'))
  return run(variables, batch[name], batch[f'{name}_mask'])


def decided(params, batch, statistics=None):
  """Logits of the small network, in plain numpy."""
  x = np.stack(
    [
      own_numbers(params, batch, 'query'),
      own_numbers(params, batch, 'target'),
      batch['coarse'],
    ],
    -1,
  )
  for layer in '12':
    x = x @ params['mlp'][f'linear{layer}']['kernel']
    if statistics is None:
      mean, variance = x.mean(0), x.var(0)
    else:
      own = statistics['mlp'][f'norm{layer}']
      mean, variance = own['mean'], own['var']
    norm = params['mlp'][f'norm{layer}']
    x = (x - mean[None]) / np.sqrt(variance + 1e-5)[None]
    x = np.maximum(x * norm['scale'][None] + norm['bias'][None], 0)
  last = params['mlp']['output']
  return x @ last['kernel'][:, 0] + last['bias']


def labels(batch, threshold):
  return abs((batch['scores'] + 1) / 2 - batch['coarse']) > threshold


@pytest.mark.parametrize('threshold', [0.2, 0.05])
def test_the_loss_is_the_cross_entropy_with_who_deserves(threshold):
  batch, (params, state) = pairs()[0], start()
  task = make(threshold=threshold)
  found, updates = jax.jit(task.losses)(params, state, batch, jax.random.key(1))
  truth = labels(batch, threshold)
  assert 0 < truth.mean() < 1 or threshold == 0.05
  chance = 1 / (1 + np.exp(-decided(params, batch).astype(np.float64)))
  expected = -np.log(np.where(truth, chance, 1 - chance))
  assert set(found) == {'selection'}
  np.testing.assert_allclose(found['selection'], expected, rtol=1e-3)
  before, after = (s['batch_stats']['mlp']['norm1'] for s in (state, updates))
  assert not np.allclose(before['mean'], after['mean'])


def test_dropout_is_drawn_from_the_key():
  batch, (params, state) = pairs()[0], start()
  options = dict(hidden=HIDDEN, dropout=0.5)
  run = jax.jit(tasks.make_task('selection', options=options).losses)
  found = [
    run(params, state, batch, jax.random.key(seed))[0]['selection']
    for seed in (1, 1, 2)
  ]
  np.testing.assert_array_equal(found[0], found[1])
  assert not np.allclose(found[0], found[2])


def test_an_evaluation_counts_what_a_loop_counts():
  (params, state), task = start(), make()
  params = {**params, 'mlp': {**params['mlp']}}
  params['mlp']['output'] = {
    'kernel': params['mlp']['output']['kernel'],
    'bias': np.float32([-0.1]),
  }
  dataset = pairs('validation', 5)
  scores, counts = evaluate(
    task, params, state, dataset, devices=jax.devices()[:1]
  )
  right, hits, chosen, deserving, total = 0, 0, 0, 0, 0
  for index in range(len(dataset)):
    batch = dataset[index]
    logits = decided(params, batch, state['batch_stats'])
    truth = labels(batch, 0.2)
    for row in np.flatnonzero(batch['mask']):
      own = logits[row] > 0
      right += own == truth[row]
      hits += own and truth[row]
      chosen += own
      deserving += truth[row]
      total += 1
  assert (
    counts['pairs']
    == total
    == sum(dataset[i]['mask'].sum() for i in range(len(dataset)))
  )
  assert scores['accuracy'] == pytest.approx(right / total)
  precision, recall = hits / max(chosen, 1), hits / max(deserving, 1)
  f1 = 2 * precision * recall / max(precision + recall, 1e-9)
  assert scores['f1'] == pytest.approx(f1)


@pytest.mark.parametrize(
  ('counts', 'accuracy', 'f1'),
  [
    # 3 of 4 chosen deserve it, of 6 that do: precision 3/4, recall 1/2.
    (dict(right=6, found=3, chosen=4, deserving=6, pairs=10), 0.6, 0.6),
    (dict(right=10, found=0, chosen=0, deserving=0, pairs=10), 1.0, 0.0),
  ],
)
def test_scores_of_counts(counts, accuracy, f1):
  scores = make().summarise({k: np.float64(v) for k, v in counts.items()})
  assert scores == pytest.approx({'accuracy': accuracy, 'f1': f1})


def test_unknown_names_are_told():
  with pytest.raises(ValueError, match=r"no task 'select'; known: .*selection"):
    tasks.make_task('select')
