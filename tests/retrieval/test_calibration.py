"""What scores mean: one scale for both students, and a told share of errors."""

import numpy as np
import pytest

from deltax.retrieval.calibration import (
  UNCALIBRATED,
  Calibration,
  fit_calibration,
)


def drawn(seed, pairs=40_000, share=0.02):
  """Scores of a weak and of a good student, and which pairs are copies."""
  rng = np.random.default_rng(seed)
  copies = rng.random(pairs) < share
  coarse = 0.2 + 0.25 * copies + 0.15 * rng.standard_normal(pairs)
  fine = 0.3 + 0.4 * copies + 0.08 * rng.standard_normal(pairs)
  return np.clip(coarse, 0, 1), np.clip(fine, 0, 1), copies


def average_precision(scores, relevant):
  order = np.argsort(-scores, kind='stable')
  hits = np.flatnonzero(relevant[order])
  return float(np.mean((np.arange(len(hits)) + 1) / (hits + 1)))


@pytest.mark.parametrize('allowed', [1.0, 10.0])
def test_of_a_thousand_others_as_many_as_told_score_one_half(allowed):
  scale = fit_calibration(*drawn(0), false_alarms=allowed)
  coarse, fine, copies = drawn(1)  # other pairs of the same kind
  for odds in (scale.fine_odds(fine), scale.coarse_odds(coarse)):
    alarms = 1000 * (scale.readable(odds[~copies]) >= 0.5).mean()
    assert alarms <= 1.3 * allowed
  alarms = 1000 * (scale.readable(scale.fine_odds(fine[~copies])) >= 0.5).mean()
  assert alarms >= allowed / 2
  assert (scale.readable(scale.fine_odds(fine[copies])) >= 0.5).mean() > 0.9
  assert scale.false_alarms == allowed


def test_odds_are_those_of_the_pairs():
  coarse, fine, copies = drawn(2)
  scale = fit_calibration(coarse, fine, copies)
  odds = scale.fine_odds(fine)
  chance = 1 / (1 + np.exp(-odds))
  # Those of a chance of about a half are copies in about half of the cases.
  near = abs(chance - 0.5) < 0.3
  assert near.sum() > 50
  assert copies[near].mean() == pytest.approx(chance[near].mean(), abs=0.15)


def test_scores_are_readable_and_in_the_order_of_the_odds():
  scale = fit_calibration(*drawn(3))
  odds = np.sort(np.random.default_rng(0).uniform(-60, 60, 1000))
  scores = scale.readable(odds)
  assert (np.diff(scores) >= 0).all()
  assert scores[0] == 0 and scores[-1] == 1
  assert scale.readable(scale.fine_odds(1.0)) == pytest.approx(1)
  assert scale.readable(scale.threshold) == pytest.approx(0.5)
  both = scale.fine_odds(0.0), scale.coarse_odds(0.0)
  assert scale.readable(min(both)) == pytest.approx(0)
  assert scale.coarse_odds(1.0) <= scale.fine_odds(1.0)


@pytest.mark.parametrize('seed', range(20))
def test_where_the_fine_student_is_right_no_budget_makes_the_order_worse(seed):
  rng = np.random.default_rng(seed)
  copies = rng.random(60) < 0.2
  copies[0] = True
  scale = fit_calibration(*drawn(seed))
  before = scale.coarse_odds(rng.random(60))
  # It raises copies and lowers others, by whatever it likes.
  after = before + np.where(copies, 1, -1) * rng.exponential(2, 60)
  looked_at, last = np.zeros(60, bool), average_precision(before, copies)
  for place in rng.permutation(60):
    looked_at[place] = True
    mixed = np.where(looked_at, after, before)
    now = average_precision(mixed, copies)
    assert now >= last - 1e-12
    last = now


def test_from_none_to_all_of_the_pairs_the_order_becomes_better():
  scale = fit_calibration(*drawn(0))
  coarse, fine, copies = drawn(5, pairs=2000)
  before, after = scale.coarse_odds(coarse), scale.fine_odds(fine)
  best_first, found = np.argsort(-coarse), []
  for share in np.linspace(0, 1, 21):
    mixed = before.copy()
    looked_at = best_first[: round(share * len(coarse))]
    mixed[looked_at] = after[looked_at]
    found.append(average_precision(mixed, copies))
  assert min(found) == found[0] and found[-1] > found[0] + 0.3
  # A few pairs less than all of them are no worse than the coarse order either.
  assert (np.diff(found) > -0.02).all()


def test_classes_that_part_at_once_have_a_finite_scale():
  fine = np.array([0.1, 0.2, 0.8, 0.9])
  scale = fit_calibration(fine, fine, [False, False, True, True])
  assert np.isfinite([*scale.coarse, *scale.fine, scale.threshold]).all()
  assert (scale.readable(scale.fine_odds(fine)) >= 0.5).tolist() == [
    *(False, False, True, True)
  ]


def test_a_student_that_knows_nothing_has_no_slope():
  rng = np.random.default_rng(0)
  noise, copies = rng.random(4000), rng.random(4000) < 0.1
  wrong = np.where(copies, 0.2, 0.8) * rng.random(4000)
  scale = fit_calibration(wrong, noise, copies)
  assert scale.coarse[0] == 0


def test_of_what_nothing_is_known_the_coarse_score_promises_nothing():
  every = np.linspace(0, 1, 11)
  coarse = UNCALIBRATED.readable(UNCALIBRATED.coarse_odds(every))
  fine = UNCALIBRATED.readable(UNCALIBRATED.fine_odds(every))
  assert coarse.max() < fine.min() and fine.max() == 1 and coarse.min() == 0


def test_what_does_not_fit_is_named():
  with pytest.raises(ValueError, match=r'expected \[N\] of each'):
    fit_calibration([0.1, 0.2], [0.1], [True])
  for same in ([True, True], [False, False]):
    with pytest.raises(ValueError, match='copies, and others'):
      fit_calibration([0.1, 0.2], [0.1, 0.2], same)
  assert isinstance(UNCALIBRATED, Calibration)
