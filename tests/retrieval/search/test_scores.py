"""Scores that people can read."""

import numpy as np
import pytest

from deltax.retrieval.search.scores import calibrate, normalise


@pytest.mark.parametrize('own', [1.0, 0.2, 0.0, -0.5, -0.99, -1.0])
def test_a_video_against_itself_is_one(own):
  assert calibrate(own, own) == 1
  assert calibrate(own, own, own, own) == 1


def test_scores_stay_between_zero_and_one_and_in_order():
  scores = np.linspace(-1, 1, 21)
  for own in (-0.95, 0.0, 0.7):
    found = calibrate(scores, own)
    assert found.min() == max(0, 1 - (own + 1) / max(1 + own, 0.1))
    assert found.max() == 1
    assert np.all(np.diff(found) >= 0)


def test_nothing_in_common_is_zero():
  assert calibrate(-1.0, 0.4) == 0


def test_a_network_that_hardly_knows_a_video_makes_little_of_little():
  step = calibrate(-0.999, -0.999) - calibrate(-0.9999, -0.999)
  assert 0 < step < 0.01


def test_both_directions_count_the_same():
  there = calibrate([0.1, 0.3], 0.5, [-0.2, 0.4], [0.6, 0.5])
  back = calibrate([-0.2, 0.4], [0.6, 0.5], [0.1, 0.3], 0.5)
  np.testing.assert_allclose(there, back)
  np.testing.assert_allclose(there[0], (1.1 / 1.5 + 0.8 / 1.6) / 2)


def test_one_direction_does_not_do_for_two():
  with pytest.raises(ValueError, match='back_own'):
    calibrate(0.1, 0.5, back=0.2)


def test_normalising_subtracts_the_mean_of_the_highest_of_the_background():
  rng = np.random.default_rng(0)
  scores, background = rng.normal(size=(3, 5)), rng.normal(size=(3, 20))
  found = normalise(scores, background, top=4, weight=1.5)
  for mine, before, others in zip(found, scores, background, strict=True):
    bias = np.mean(sorted(others)[-4:])
    np.testing.assert_allclose(mine, before - 1.5 * bias)


def test_a_query_that_resembles_everything_falls_behind():
  scores = np.array([[0.9, 0.8], [0.7, 0.1]])
  background = np.array([[0.8, 0.7, 0.8], [0.0, 0.1, 0.0]])
  found = normalise(scores, background, top=2)
  assert found[1, 0] > found[0].max()


def test_fewer_background_videos_than_top_all_count():
  np.testing.assert_allclose(normalise([[1.0]], [[0.5, 0.1]], top=10), [[0.7]])


@pytest.mark.parametrize(
  ('scores', 'background', 'top', 'message'),
  [
    (np.ones((2, 3)), np.ones((3, 4)), 1, 'same queries'),
    (np.ones(3), np.ones((3, 4)), 1, 'same queries'),
    (np.ones((2, 3)), np.ones((2, 0)), 1, '0 background videos'),
    (np.ones((2, 3)), np.ones((2, 1)), 0, 'top 0'),
  ],
)
def test_a_background_that_does_not_fit_is_refused(
  scores, background, top, message
):
  with pytest.raises(ValueError, match=message):
    normalise(scores, background, top=top)
