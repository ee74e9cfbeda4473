"""Imitation of any network: what is trained, what is judged, what is shown."""

import functools
import pathlib

import jax
import numpy as np
import optax
import pytest

from deltax import tasks, training
from deltax.report.pictures import outputs as pictures
from deltax.tasks import parts
from deltax.tasks.imitation import drawing, outputs, task
from deltax.tasks.network import bring

FILE = pathlib.Path(__file__).with_name('brought_networks.py')
PREPARED = {'function': f'{FILE}:prepare'}
NETWORKS = {
  f'{FILE}:maps': {'classes': 'classes', 'depth': 'values'},
  f'{FILE}:edges': {'output': 'probabilities'},
}
SIZE, INTERVALS = (24, 32), (2, 3)


@functools.cache
def made(name, **options):
  return tasks.make_task(
    'imitation',
    model=name,
    size=SIZE,
    preparation=PREPARED,
    delta={
      'intervals': INTERVALS,
      'spec': {'candidates': (('low_rank', 2),)},
      **options,
    },
  )


def batch_at(seed, time=6):
  draw = np.random.default_rng(seed)
  still = draw.integers(0, 256, (2, 1, 3, 4, 3)).repeat(8, 2).repeat(8, 3)
  noise = draw.integers(-20, 20, (2, time, *SIZE, 3)) * np.arange(time).reshape(
    1, time, 1, 1, 1
  )
  frames = np.clip(still + noise // 4, 0, 255).astype(np.uint8)
  return {'frames': frames, 'mask': np.ones(2, np.float32)}


@functools.cache
def started(name):
  return made(name).init(jax.random.key(0), batch_at(0))


@pytest.mark.parametrize('name', NETWORKS)
def test_only_students_learn_and_they_agree_more(name):
  own, batch = made(name), batch_at(1, time=3)
  optimizer = training.make_optimizer(
    name='adamw',
    learning_rate=3e-3,
    schedule='constant',
    steps=40,
    groups=(('^teacher/', 'frozen'), ('^(students|gates)/', {})),
  )
  params, state = started(name)
  opt_state = optimizer.init(params)

  @jax.jit
  def step(params, opt_state, state, key):
    def total(params):
      losses, after = own.losses(params, state, batch, key)
      return sum(loss.mean() for loss in losses.values()), (losses, after)

    slope, (losses, after) = jax.grad(total, has_aux=True)(params)
    updates, opt_state = optimizer.update(slope, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, after, losses

  seen = []
  for key in jax.random.split(jax.random.key(2), 40):
    params, opt_state, state, losses = step(params, opt_state, state, key)
    seen.append({n: float(x.mean()) for n, x in losses.items()})
  assert set(seen[0]) == {
    *(f'imitation/{output}' for output in NETWORKS[name]),
    *('distillation', 'budget'),
  }
  for output in NETWORKS[name]:
    first, *_, last = (each[f'imitation/{output}'] for each in seen)
    assert 0 < last < 0.9 * first
  before = started(name)[0]
  jax.tree.map(
    np.testing.assert_array_equal, params['teacher'], before['teacher']
  )
  assert jax.tree.leaves(params['students'])[0].any()


@pytest.mark.parametrize('name', NETWORKS)
def test_scores_are_those_of_the_rollouts_beside_copying(name):
  own, batch = made(name), batch_at(3)
  params, state = started(name)
  counts = jax.jit(own.evaluate)(params, state, batch)
  summed = {n: np.asarray(x).sum(0) for n, x in counts.items()}
  scores = own.summarise(summed)
  assert scores['teacher/score'] == 1
  # Copying by hand: the network on the key frame of each frame.
  brought = bring(name, {}, PREPARED)
  kinds = NETWORKS[name]
  variables = parts.variables_of(params, state)
  flat = batch['frames'].reshape(-1, *SIZE, 3)
  run = jax.jit(lambda x: brought.net.run(variables, brought.prepare(x)))
  outs = jax.tree.map(
    lambda x: np.asarray(x).reshape(2, 6, *x.shape[1:]), run(flat)
  )
  for interval in INTERVALS:
    keys = [t - t % interval for t in range(6)]
    copied = jax.tree.map(lambda x, keys=keys: x[:, keys], outs)
    judged = outputs.judge('copied', kinds, copied, outs)
    judged = {n: np.asarray(x).sum(0) for n, x in judged.items()}
    expected = outputs.scores_of('copied', kinds, judged, interval)
    for score, value in expected.items():
      network, _, rest = score.partition('/')
      got = scores[f'{network}_{interval}/{rest}']
      assert got == pytest.approx(value, abs=1e-6), score
    assert scores[f'delta_{interval}/score_0'] == pytest.approx(1, abs=1e-5)
    later = [scores[f'delta_{interval}/score_{d}'] for d in range(1, interval)]
    assert scores[f'delta_{interval}/score'] == pytest.approx(np.mean(later))
    assert 0 < scores[f'delta_{interval}/score'] < 1


def test_consistency_is_counted_where_the_motion_is_known():
  name = f'{FILE}:maps'
  own, batch = made(name), batch_at(4, time=3)
  shape = batch['frames'].shape[:4]
  batch['flow'] = np.zeros((*shape, 2), np.float32)
  batch['visible'] = np.ones(shape, bool)
  params, state = started(name)
  counts = jax.jit(own.evaluate)(params, state, batch)
  scores = own.summarise({n: np.asarray(x).sum(0) for n, x in counts.items()})
  # Copied through three frames, nothing changes where nothing moves.
  assert scores['copied_3/consistency'] == 1
  assert 0 < scores['teacher/consistency'] < 1


@pytest.mark.parametrize('name', NETWORKS)
def test_outputs_that_are_not_told_are_guessed(name):
  brought = bring(name, {}, PREPARED)
  assert task.kinds_of(brought, None, SIZE, None) == NETWORKS[name]


def test_a_task_is_made_without_a_pass_and_asks_when_it_is_traced():
  name = f'{FILE}:maps'
  make = functools.partial(
    tasks.make_task,
    *('imitation',),
    model=name,
    preparation=PREPARED,
    delta={'intervals': (2,), 'spec': {'candidates': (('low_rank', 2),)}},
  )
  make(size=(1 << 20, 1 << 20))  # a pass on such frames would take all memory
  own = make(size=SIZE)
  counts = jax.eval_shape(own.evaluate, *started(name), batch_at(0))
  assert 'delta_2/classes:confusion' in counts


@pytest.mark.parametrize(
  ('told', 'words'),
  [
    ({'other': 'values'}, "no output 'other'; it has 'classes'"),
    ({'depth': 'metres'}, "'depth' cannot be of the kind 'metres'; known: cla"),
  ],
)
def test_an_output_or_a_kind_that_there_is_not_is_named(told, words):
  brought = bring(f'{FILE}:maps', {}, PREPARED)
  with pytest.raises(ValueError, match=words):
    task.kinds_of(brought, told, SIZE, None)


def test_scores_of_clips_shorter_than_an_interval_end_with_them():
  kinds = {'output': 'logits'}
  counts = {'d/output:overlap': np.array([[1, 2, 3, 4]] * 4)}
  scores = outputs.scores_of('d', kinds, counts, 9)
  assert 'd/score_3' in scores and 'd/score_4' not in scores
  assert scores['d/score'] == 0.5


@pytest.mark.parametrize('kind', outputs.KINDS)
@pytest.mark.parametrize('shape', [(6, 8, 5), (6, 8, 1), (9, 5), (7, 5), (5,)])
def test_any_output_is_drawn(kind, shape):
  rng = np.random.default_rng(0)
  target, other = rng.uniform(0, 1, (2, *shape))
  picture = pictures.painter(kind, target, (24, 32))(other)
  same = pictures.difference(kind, target, target, (24, 32))
  apart = pictures.difference(kind, target, other, (24, 32))
  for drawn in (picture, same, apart):
    assert drawn.shape == (24, 32, 3) and drawn.dtype == np.uint8
  assert pictures.keys_of(kind).keys() <= {
    *pictures.BINARY,
    *pictures.labels.CHANGES,
  }


def test_somebodys_own_function_draws_a_picture_or_boxes():
  frame = np.full((40, 48, 3), 100, np.uint8)
  outs = {'classes': np.zeros((20, 24, 6)), 'depth': np.ones((20, 24, 1))}
  kinds = NETWORKS[f'{FILE}:maps']
  draw = drawing.make_drawing(f'{FILE}:draw', kinds)
  np.testing.assert_array_equal(draw(frame, outs), 255 - frame)
  boxed = drawing.make_drawing(f'{FILE}:boxes', kinds)(frame, outs)
  assert (boxed != frame).any() and boxed.shape == frame.shape
  plain = drawing.make_drawing('', kinds)(frame, outs)
  assert plain.shape == frame.shape and plain.dtype == np.uint8
  wrong = drawing.make_drawing(f'{FILE}:maps', kinds)
  with pytest.raises(Exception, match='maps'):
    wrong(frame, outs)
