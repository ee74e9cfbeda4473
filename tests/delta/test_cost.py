"""Multiply-accumulates against closed forms, by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Depthwise, LowRank, Spec, count, distill, losses
from deltax.delta.cost import as_published


class Forms(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Conv(8, (3, 3), name='plain')(x)
    x = nn.Conv(16, (3, 3), strides=2, use_bias=False, name='stride')(x)
    x = nn.Conv(16, (3, 3), kernel_dilation=2, use_bias=False, name='dilate')(x)
    x = nn.Conv(
      16, (5, 3), feature_group_count=4, use_bias=False, name='group'
    )(x)
    x = nn.Conv(6, (1, 1), padding='VALID', name='last')(x)
    return nn.Dense(3, name='dense')(x.mean((1, 2)))


@pytest.fixture
def forms():
  net, frame = Forms(), jnp.zeros((2, 10, 14, 3))
  spec = Spec(layers=lambda layers: [x for x in layers if x.groups == 1][1:])
  delta = distill(net, spec)
  params = delta.init(
    jax.random.key(0), net.init(jax.random.key(0), frame), frame
  )
  return delta, params, frame


def test_the_teacher_is_counted_as_by_hand(forms):
  delta, params, frame = forms
  counts = {row.name: row.key for row in delta.macs(params, frame).rows}
  assert counts == {
    'plain': 10 * 14 * 8 * (9 * 3 + 1),
    'stride': 5 * 7 * 16 * 9 * 8,
    'dilate': 5 * 7 * 16 * 9 * 16,
    'group': 5 * 7 * 16 * 15 * 4,
    'last': 5 * 7 * 6 * (16 + 1),
    'dense': 6 * 3,
  }


def test_students_are_counted_as_by_hand(forms):
  delta, params, frame = forms
  params['gates']['dilate'] = jnp.array([1.0])
  rows = {row.name: row for row in delta.macs(params, frame).rows}
  assert rows['stride'].candidate == 'low_rank_4_out'
  # The first of the pair strides over rows only, the second over columns.
  assert rows['stride'].later == 5 * 14 * 4 * 3 * 8 + 5 * 7 * 16 * 3 * 4
  assert rows['dilate'].candidate == 'full'
  assert rows['dilate'].later == rows['dilate'].key
  assert rows['last'].later == 5 * 7 * (1 * 16 + 6 * 1)
  assert rows['plain'].later == rows['plain'].key
  assert rows['plain'].candidate == ''


def test_the_amortised_cost_is_the_mean_over_an_interval(forms):
  delta, params, frame = forms
  macs = delta.macs(params, frame)
  assert macs.key == sum(row.key for row in macs.rows)
  assert macs.amortised(1) == macs.key
  assert macs.amortised(4) == (macs.key + 3 * macs.later) / 4


def test_every_candidate_has_a_price_in_the_budget(forms):
  delta, params, frame = forms
  prices, own = delta.costs(params, frame)
  total = sum(own.values())
  full = {path: jnp.array([1.0, 0.0]) for path in prices}
  cheap = {path: jnp.array([0.0, 1.0]) for path in prices}
  np.testing.assert_allclose(losses.budget(full, prices, own), 1.0)
  expected = sum(cost for _, cost in prices.values()) / total
  np.testing.assert_allclose(losses.budget(cheap, prices, own), expected)
  assert 0 < expected < 1


def test_a_width_too_small_to_divide_is_kept():
  net, frame = nn.Sequential([nn.Conv(3, (3, 3))] * 3), jnp.zeros((1, 8, 8, 3))
  spec = Spec(layers=lambda x: x, candidates=(LowRank(16, 'min'),))
  delta = distill(net, spec)
  params = delta.init(
    jax.random.key(0), net.init(jax.random.key(0), frame), frame
  )
  shapes = {
    v['low_rank_16_min']['first'].shape for v in params['students'].values()
  }
  assert shapes == {(3, 1, 3, 3)}


def test_a_candidate_without_a_start_is_left_out_and_told(forms):
  _, params, frame = forms
  delta = distill(Forms(), Spec(layers=lambda layers: layers))
  params = delta.init(jax.random.key(0), params['teacher'], frame)
  assert params['students']['group']['full']['kernel'].shape == (5, 3, 4, 16)
  assert 'group' not in params['gates']
  rows = {row.name: row for row in delta.macs(params, frame).rows}
  assert rows['group'].candidates == {'full': rows['group'].key}
  reason = 'a convolution of 4 groups has no low-rank start'
  assert rows['group'].left_out == {'low_rank_4_out': reason}
  assert not rows['plain'].left_out


def test_a_layer_without_any_candidate_stays_the_teachers_own(forms):
  _, params, frame = forms
  spec = Spec(layers=lambda layers: layers[3:5], candidates=(Depthwise(),))
  delta = distill(Forms(), spec)
  variables = params['teacher']
  with pytest.raises(
    ValueError,
    match=r'nothing has a student; left out were group: depthwise \(a conv.* '
    r'4 groups .*\); last: depthwise .* the network has plain',
  ):
    delta.init(jax.random.key(0), variables, frame)
  spec = Spec(layers=lambda layers: layers[2:5], candidates=(Depthwise(),))
  delta = distill(Forms(), spec)
  params = delta.init(jax.random.key(0), variables, frame)
  assert set(params['students']) == {'dilate'}
  rows = {row.name: row for row in delta.macs(params, frame).rows}
  assert rows['last'].later == rows['last'].key
  assert 'as dear as itself' in rows['last'].left_out['depthwise']


def test_a_row_prices_every_candidate_in_the_order_of_the_spec(forms):
  delta, params, frame = forms
  sorted_by_name = jax.tree.map(lambda x: x, params)
  for row in delta.macs(sorted_by_name, frame).rows:
    if row.candidate:
      policy = 'min' if row.name == 'dense' else 'out'
      assert list(row.candidates) == ['full', f'low_rank_4_{policy}']
      assert row.later == row.candidates[row.candidate]


def test_a_network_is_counted_without_students_too(forms):
  delta, params, frame = forms
  alone = count(Forms(), params['teacher'], frame)
  assert alone.key == alone.later == delta.macs(params, frame).key


class Active(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(4, (3, 3), name='first')(x))
    x = nn.relu(nn.Conv(8, (3, 3), strides=2, name='middle')(x))
    x = nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return nn.Conv(2, (1, 1), name='last')(nn.swish(x))


def test_the_published_counter_adds_relus_pooling_and_biases_of_students():
  net, frame = Active(), jnp.zeros((2, 12, 16, 3))
  variables = net.init(jax.random.key(0), frame)
  delta = distill(net)
  params = delta.init(jax.random.key(0), variables, frame)
  plain = delta.macs(params, frame)
  macs = as_published(plain, net, variables, frame)
  others = 12 * 16 * 4 + 6 * 8 * 8 + 6 * 8 * 8
  assert macs.key == plain.key + others
  assert macs.later == plain.later + others + 6 * 8 * 8
  rows = {row.name: row for row in macs.rows}
  assert rows['middle'].candidates['full'] == rows['middle'].key
  assert rows['last'] == plain.rows[-1]
