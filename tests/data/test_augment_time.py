"""Reordering frames: the published draws, and what every order must obey."""

import dns_rule
import numpy as np
import pytest

from deltax.data import augment_time

GOLDEN = dns_rule.load('evaluation.json')['augment']


@pytest.mark.parametrize('case', GOLDEN)
def test_the_published_draws_are_reproduced(case):
  expected = GOLDEN[case]
  rng = np.random.RandomState(expected['seed'])
  order = augment_time.draw_order(expected['frames'], rng)
  np.testing.assert_array_equal(order, expected['out'])


def test_half_of_all_videos_stay_and_no_order_invents_frames():
  rng = np.random.default_rng(0)
  kept = 0
  for _ in range(2000):
    order = augment_time.draw_order(40, rng)
    assert 4 <= len(order) <= 300
    assert set(order.tolist()) <= set(range(40))
    kept += order.tolist() == list(range(40))
  # 0.5, and a few shuffles or drops that change nothing
  assert 950 < kept < 1100


def test_short_videos_stay_and_long_ones_lose_their_end():
  for seed in range(40):
    rng = np.random.default_rng(seed)
    assert augment_time.draw_order(8, rng).tolist() == list(range(8))
    assert len(augment_time.draw_order(900, rng)) <= 300
