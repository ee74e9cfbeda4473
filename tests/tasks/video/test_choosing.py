"""Students within a budget, chosen before any training."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from deltax import delta as delta_wing
from deltax.tasks.video import choosing


class Block(nn.Module):
  """Two convolutions and a shortcut."""

  @nn.compact
  def __call__(self, x):
    y = nn.relu(nn.Conv(x.shape[-1], (3, 3), name='one')(x))
    return nn.relu(x + nn.Conv(x.shape[-1], (3, 3), name='two')(y))


class Net(nn.Module):
  """A stem, three blocks, a head."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(16, (3, 3), (2, 2), name='stem')(x))
    for n in range(3):
      x = Block(name=f'block_{n}')(x)
    return nn.Conv(4, (1, 1), name='head')(x)


ROWS = (('skip',), ('low_rank', 4), ('teacher',))


@pytest.fixture(scope='module')
def given():
  """A network, its variables, clips of soft blobs, and a frame."""
  blobs = jax.random.normal(jax.random.key(0), (4, 3, 6, 8, 3))
  clips = [jax.image.resize(blobs, (4, 3, 24, 32, 3), 'cubic')]
  net = Net()
  variables = net.init(jax.random.key(1), clips[0][:, 0])
  return net, variables, clips, clips[0][:1, 0]


def chosen(given, targets, **wishes):
  net, variables, clips, frame = given
  return choosing.choose(
    *(net, variables, {'reference': 'key'}, clips, frame, targets),
    candidates=ROWS,
    **wishes,
  )


def share(given, spec):
  """Of the network's multiply-accumulates, those of a later frame."""
  net, variables, _, frame = given
  delta = delta_wing.distill(net, delta_wing.make_spec(**spec))
  params = delta.init(jax.random.key(0), variables, frame)
  delta.step(params, delta.keyframe(params, frame)[0], frame)
  macs = delta.macs(params, frame)
  return macs.later / macs.key


def test_a_choice_keeps_to_its_share_of_the_whole_frame(given):
  targets = 0.25, 0.5, 0.9
  shares = [share(given, spec) for spec in chosen(given, targets)]
  assert np.all(np.array(shares) <= np.array(targets) + 0.01)
  assert shares == sorted(shares)
  assert shares[0] < shares[-1]


def test_blocks_and_spans_are_chosen_beside_layers(given):
  (spec,) = chosen(
    *(given, [0.3]),
    blocks=('Block',),
    spans=(('block_1/one', 'block_1/two'),),
    block_candidates=(('residual', 4, 2),),
  )
  assert spec['blocks'] or spec['spans']
  assert share(given, spec) <= 0.31
  kinds = {spec['choices'][path][0] for path in spec['blocks']}
  assert kinds <= {'residual'}
  nearly_all = chosen(given, [0.97], blocks=('Block',))[0]
  assert 'teacher' in {row[0] for row in nearly_all['choices'].values()}


def test_all_else_of_a_spec_stays(given):
  (spec,) = chosen(given, [0.5])
  assert spec['reference'] == 'key'


@pytest.mark.parametrize('off', [0.7, 1.0, 1.4])
def test_a_choice_by_time_is_corrected_by_what_it_takes(off):
  """Parts that add up to more or less than the whole does."""

  def named(limit):
    if limit < 5:
      raise ValueError('below the cheapest')
    return {'limit': limit, 'choices': {'a': ('skip',)}}

  def measured(spec):
    return off * spec['limit'] / 100

  found = choosing._corrected(named, measured, 0.3, 100.0)
  assert measured(found) == pytest.approx(0.3, rel=0.02)


def test_a_correction_ends_between_too_little_and_too_much():
  """Corrections by the difference alone would go to and fro over a step."""
  limits = []

  def named(limit):
    limits.append(limit)
    return {'choices': {'a': ('skip',)}, 'limit': limit}

  def measured(spec):
    share = spec['limit'] / 100
    steps = ((0.18, 0.117), (0.21, 0.153), (0.217, 0.17))
    return next((took for end, took in steps if share < end), 0.189)

  found = choosing._corrected(named, measured, 0.17, 100.0)
  assert measured(found) == pytest.approx(0.17, rel=0.05)
  assert len(limits) <= 6


def test_a_target_that_even_corrections_miss_gives_the_nearest():
  def named(limit):
    if limit < 20:
      raise ValueError('below the cheapest')
    return {'limit': limit, 'choices': {'a': ('skip',)}}

  found = choosing._corrected(named, lambda spec: 0.5, 0.25, 100.0)
  assert found['limit'] == 25.0


@pytest.mark.parametrize(
  ('targets', 'wishes', 'message'),
  [
    ([0.0], {}, 'a target is a positive share below 1, got 0'),
    ([1.0], {}, 'a target is a positive share below 1, got 1'),
    ([0.3], {'by': 'watts'}, "chosen by 'macs' or 'time', got 'watts'"),
    ([0.001], {}, 'the cheapest choice costs'),
  ],
)
def test_what_cannot_be_chosen_is_told(given, targets, wishes, message):
  with pytest.raises(ValueError, match=message):
    chosen(given, targets, **wishes)


def test_the_network_itself_is_no_choice_by_time():
  def named(limit):
    row = ('teacher',) if limit > 70 else ('skip',)
    return {'limit': limit, 'choices': {'a': row}}

  found = choosing._corrected(named, lambda spec: 0.5, 0.9, 100.0)
  assert found['choices'] == {'a': ('skip',)}


def test_a_correction_goes_back_halfway_from_the_network_itself():
  """A first choice takes far less than its parts say; the next is no choice."""

  def named(limit):
    row = ('teacher',) if limit > 60 else ('skip',)
    return {'limit': limit, 'choices': {'a': row}}

  def measured(spec):
    return spec['limit'] / 100 - 0.2

  found = choosing._corrected(named, measured, 0.5, 100.0)
  assert 0.3 < measured(found) <= 0.4
