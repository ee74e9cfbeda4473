"""Units that no change reaches."""

import jax
import jax.numpy as jnp
import pytest

from deltax import models
from deltax.delta import distill, make_spec
from deltax.delta.plan import Planner
from deltax.delta.search.flow import (
  FRAME,
  joint_of_moved,
  sources,
  unmoved,
)
from deltax.delta.search.joint import Offer, Price

# a -> b -> c, and d beside them.
CHAIN = {
  'a': frozenset([FRAME]),
  'b': frozenset('a'),
  'c': frozenset('b'),
  'd': frozenset([FRAME]),
}


def offers_of(skip, low, whole):
  """Offers of the units of `CHAIN`: harm of skipping, of a student, of none."""
  return [
    Offer(
      path,
      frozenset(path),
      {
        'skip': Price(skip[path], 0.0),
        'low': Price(low[path], 1.0),
        'teacher': Price(whole[path], 3.0),
      },
    )
    for path in CHAIN
  ]


def every(a, b, c, d):
  return dict(zip('abcd', (a, b, c, d), strict=True))


def came(chosen):
  return {path: CHAIN[path] for path in chosen}


def test_the_units_of_a_network_are_followed():
  frame = jnp.zeros((1, 64, 64, 3))
  net = models.create('ddrnet_tiny', num_classes=5)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  spec = make_spec(
    blocks=('layer4_0', 'layer4_1'),
    block_candidates=(('residual', 4, 2),),
    candidates=(('low_rank', 4),),
  )
  delta = distill(net, spec)
  plan = Planner(delta.net, delta.spec)(variables, frame.shape)
  found = sources(plan, variables, frame.shape)
  assert found.keys() == plan.selected.keys()
  assert found['conv1_3'] == {FRAME}  # the first layer has no students
  assert found['compression4_0'] == {'layer4_0'}
  first = found['layer5_0/conv1']
  assert first == found['layer5_0/downsample_0'] >= {'layer4_0'}
  # The branch of low resolution is reached by two ways.
  (other,) = first - {'layer4_0'}
  assert 'spp/scale0_2' not in unmoved(found, ['layer4_0'])
  behind = unmoved(found, ['layer4_0', other])
  assert {'compression4_0', 'layer5_0/conv1', 'spp/scale0_2'} <= behind
  assert not {'layer4__0', 'final_layer/conv1'} & behind


def test_nothing_is_paid_behind_what_is_skipped():
  """Skipping `a` does little: so are `b` and `c`, and `d` is not."""
  offers = offers_of(
    every(0.1, 5.0, 5.0, 9.0), every(0.0, 1.0, 1.0, 4.0), every(0, 0, 0, 0)
  )
  assert joint_of_moved(offers, 3.0, came) == {
    **{'a': 'skip', 'b': 'skip', 'c': 'skip'},
    'd': 'teacher',
  }


def test_what_stands_before_others_is_not_skipped():
  """Skipping `a` does much, though a student of it is hardly better alone."""
  offers = offers_of(
    every(5.0, 9.0, 9.0, 1.0), every(4.9, 1.0, 1.0, 0.9), every(4.8, 1, 1, 0)
  )
  assert joint_of_moved(offers, 3.0, came) == {
    **{'a': 'low', 'b': 'low', 'c': 'low'},
    'd': 'skip',
  }


def test_where_there_is_no_money_to_revive_all_behind_is_skipped():
  offers = offers_of(
    every(5.0, 9.0, 9.0, 1.0), every(4.9, 1.0, 1.0, 0.9), every(4.8, 1, 1, 0)
  )
  chosen = joint_of_moved(offers, 1.0, came)
  skipped = {path for path, name in chosen.items() if name == 'skip'}
  assert not unmoved(CHAIN, skipped) - skipped


def test_what_the_frame_never_reaches_costs_nothing():
  offers = offers_of(every(9, 9, 9, 9), every(1, 1, 1, 1), every(0, 0, 0, 0))

  def constant(chosen):
    return came(chosen) | {'d': frozenset()}

  assert joint_of_moved(offers, 9.0, constant)['d'] == 'skip'


def test_a_limit_below_the_cheapest_choice_is_told():
  offers = [Offer('a', frozenset('a'), {'low': Price(1.0, 2.0)})]
  with pytest.raises(ValueError, match=r'limit|cheapest'):
    joint_of_moved(offers, 1.0, came)
