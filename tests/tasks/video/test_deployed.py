"""A deployed teacher is the teacher; predictions go by names, not by order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import delta
from deltax.delta import Frozen, Streamer
from deltax.delta.search.latency import Entry, Latencies
from deltax.layers import BatchNorm, conv2d
from deltax.report import timing
from deltax.tasks.video import deployed


class Net(nn.Module):
  """Three convolutions with batch norm between them."""

  @nn.compact
  def __call__(self, x):
    for i in range(3):
      x = conv2d(8, name=f'conv{i}')(x)
      x = nn.relu(BatchNorm(use_running_average=True, name=f'norm{i}')(x))
    return x


FRAME = (1, 8, 12, 3)
SPEC = delta.make_spec(candidates=(('full',), ('low_rank', 4), ('skip',)))


@pytest.fixture(scope='module')
def variables():
  net = Net()
  found = net.init(jax.random.key(0), jnp.zeros(FRAME))
  draw = np.random.default_rng(0)
  moved = jax.tree.map(
    lambda x: x + draw.uniform(0.1, 1, x.shape).astype(np.float32),
    found['batch_stats'],
  )
  return {**found, 'batch_stats': moved}


def test_a_deployed_teacher_gives_what_the_network_gives(variables):
  net, frame = Net(), jax.random.normal(jax.random.key(1), FRAME)
  frozen = deployed.freeze_teacher(net, variables, frame)
  assert not jax.tree.leaves(frozen.params['variables'])  # all are folded
  carry, out = frozen.keyframe(frozen.params, frame)
  assert carry == {}
  np.testing.assert_allclose(out, net.apply(variables, frame), atol=1e-4)


def test_each_timed_frame_is_of_its_kind():
  """Counted in the calls of networks that are not compiled."""
  seen = []

  class Watched(Streamer):
    def push(self, frame):
      out = super().push(frame)
      seen.append((self is stream, self.is_key))
      return out

  frozen = Frozen({}, lambda p, x: ({}, x), lambda p, c, x: (c, x + 1), None)
  alone, stream = Watched(frozen, interval=1), Watched(frozen, interval=9)
  frame = jnp.zeros(FRAME)
  ms = deployed.measure(alone, frame, stream)
  assert list(sorted(ms)) == ['key', 'later', 'teacher']
  assert all(value > 0 for value in ms.values())
  # Turns of some frames in a row each: of the teacher, key ones, later ones.
  turn = np.repeat(
    [(False, True), (True, True), (True, False)], timing.IN_A_ROW, 0
  )
  assert len(seen) % len(turn) == 0 and len(seen) > len(turn)
  np.testing.assert_array_equal(
    seen, np.tile(turn, (len(seen) // len(turn), 1))
  )
  ms = deployed.measure(alone, frame)
  assert ms['key'] is None and ms['later'] is None and ms['teacher'] > 0


def test_streams_are_timed_at_once_and_staggered():
  traced = []

  def keyframe(params, frames):
    traced.append(('key', len(frames)))
    return {'z': frames}, frames

  def step(params, carry, frames):
    traced.append(('later', len(frames)))
    return {'z': carry['z'] + 1}, frames

  frozen = Frozen({}, keyframe, step, None)
  found = deployed.measure_streams(frozen, jnp.zeros(FRAME), 5, 1.0, count=3)
  # All in one batch, then each alone; compiled once a shape.
  assert sorted(traced) == [('key', 1), ('key', 3), ('later', 1), ('later', 3)]
  assert (found.interval, found.count) == (5, 3)
  for times in (found.at_once, found.staggered):
    assert 0 < times.p50 <= times.p95 <= times.p99


def latencies(names, layers=('conv1',), shape=FRAME, **changes):
  entry = {'full': 4.0, 'low_rank_4_out': 3.0, 'skip': 0.0}
  found = Latencies(
    *('net', shape, 'float32', 'cpu', 'here', 2, 20.0),
    rest=20.0 - 5.0 * len(layers),
    teacher={path: Entry(5.0, 1, 1) for path in layers},
    candidates={
      path: {name: Entry(entry[name], 1, 1) for name in names}
      for path in layers
    },
  )
  return found._replace(**changes)


@pytest.fixture(scope='module')
def chosen(variables):
  """The choices and the cost of a network that chose the second of three."""
  functions = delta.distill(Net(), SPEC)
  params = functions.init(jax.random.key(2), variables, jnp.zeros(FRAME))
  (path,) = params['gates']
  logits = params['gates'][path]
  params['gates'] = {path: jnp.full_like(logits, -9.0).at[1].set(9.0)}
  choices = functions.choose(params)
  assert choices == {'conv1': 1}
  return choices, functions.macs(params, jnp.zeros(FRAME))


def test_a_prediction_goes_by_the_names_of_candidates(chosen):
  for names in (
    ('full', 'low_rank_4_out', 'skip'),
    ('skip', 'full', 'low_rank_4_out'),
  ):
    assert deployed.predict(latencies(names), *chosen, FRAME) == 20 - 5 + 3


def test_what_was_measured_otherwise_predicts_nothing(chosen):
  names = ('full', 'low_rank_4_out')
  for found, message in (
    (latencies(names, shape=(1, 8, 8, 3)), 'frames of 1x8x8x3, these are'),
    (latencies(names, dtype='bfloat16'), 'measured for bfloat16 frames'),
    (latencies(('full', 'skip')), "'low_rank_4_out' of 'conv1' was not"),
    (latencies(names, layers=('other',)), "no layer or block 'conv1'"),
    (latencies(names, layers=('conv1', 'other')), "is chosen for 'other'"),
  ):
    with pytest.raises(ValueError, match=message):
      deployed.predict(found, *chosen, FRAME)
