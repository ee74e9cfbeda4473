"""Planted copies come back, and nothing else does."""

import time

import numpy as np
import pytest

from deltax.retrieval.compare.segments import find_segments


def background(rows, columns, seed=0, noise=0.15):
  rng = np.random.default_rng(seed)
  return np.clip(rng.normal(-0.6, noise, (rows, columns)), -1, 1)


def plant(similarity, query, target, value=0.6):
  """A copy: query places (first, last) shown at target places."""
  (top, bottom), (left, right) = query, target
  for place in np.linspace(0, 1, 4 * max(bottom - top, abs(right - left))):
    row = round(top + place * (bottom - top))
    column = round(left + place * (right - left))
    similarity[row, column] = value
  return similarity


def overlap(segment, query, target):
  """Intersection over union, the smaller of both videos'; in places."""
  found = []
  for (first, last), start, end in (
    (query, segment.query_start, segment.query_end),
    (target, segment.target_start, segment.target_end),
  ):
    first, last = 4 * min(first, last), 4 * (max(first, last) + 1)
    common = min(last, end) - max(first, start)
    found.append(common / (max(last, end) - min(first, start)))
  return min(found)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
  ('query', 'target'),
  [
    ((3, 20), (10, 27)),  # as fast
    ((3, 20), (10, 43)),  # half the speed
    ((2, 29), (10, 24)),  # about twice
    ((0, 29), (5, 44)),  # all of it, a half slower
  ],
)
def test_a_copy_is_found_where_it_is(query, target, seed):
  similarity = plant(background(30, 50, seed), query, target)
  (segment,) = find_segments(similarity)
  assert overlap(segment, query, target) > 0.85
  assert segment.score == pytest.approx(0.6, abs=0.1)
  assert not segment.backward


@pytest.mark.parametrize('seed', range(4))
def test_several_copies_come_the_longest_first(seed):
  similarity = background(40, 60, seed)
  copies = [((22, 38), (2, 18)), ((5, 14), (40, 49)), ((5, 9), (52, 56))]
  for query, target in copies:
    plant(similarity, query, target)
  found = find_segments(similarity)
  assert len(found) == 3
  for segment, copy in zip(found, copies, strict=True):
    assert overlap(segment, *copy) > 0.8


def test_a_copy_that_drops_out_for_a_moment_is_one():
  similarity = plant(background(30, 40), (4, 24), (8, 28))
  similarity[12:15, :] = -0.5
  (segment,) = find_segments(similarity)
  assert overlap(segment, (4, 24), (8, 28)) > 0.9


def test_copies_with_a_longer_cut_between_them_are_two():
  similarity = plant(background(40, 40, noise=0), (2, 36), (2, 36))
  similarity[14:24, :] = -0.1
  assert len(find_segments(similarity)) == 2
  assert len(find_segments(similarity, gap=10)) == 1


def test_a_copy_played_backwards_says_so():
  similarity = plant(background(30, 40), (4, 20), (30, 14))
  (segment,) = find_segments(similarity)
  assert segment.backward
  assert overlap(segment, (4, 20), (14, 30)) > 0.9


def test_a_blurred_copy_is_still_one():
  similarity = background(40, 40)
  for shift, value in ((-1, 0.3), (1, 0.3), (0, 0.8)):
    plant(similarity, (5, 30), (7 + shift, 32 + shift), value)
  (segment,) = find_segments(similarity)
  assert overlap(segment, (5, 30), (7, 32)) > 0.85


@pytest.mark.parametrize('seed', range(8))
def test_videos_without_a_copy_have_no_segments(seed):
  assert find_segments(background(40, 60, seed)) == ()


@pytest.mark.parametrize('size', [12, 60, 900])
def test_noise_above_the_threshold_has_no_segments_and_takes_seconds(size):
  """An hour against an hour, which once was a match of 3,590 frames."""
  noise = np.random.default_rng(size).uniform(-1, 1, (size, size))
  start = time.process_time()
  assert find_segments(noise) == ()
  assert time.process_time() - start < 10


def test_a_copy_within_noise_is_found():
  noise = np.random.default_rng(0).uniform(-1, 0.5, (80, 90))
  (segment,) = find_segments(plant(noise, (20, 40), (50, 70), 0.9))
  assert overlap(segment, (20, 40), (50, 70)) > 0.85


def test_a_video_against_itself_is_one_segment():
  similarity = plant(background(25, 25), (0, 24), (0, 24), 0.9)
  (segment,) = find_segments(similarity)
  assert segment[:4] == (0, 100, 0, 100)


def test_masked_places_never_match():
  similarity = plant(background(20, 20), (2, 10), (2, 10))
  plant(similarity, (12, 19), (12, 19))
  mask = np.zeros((20, 20))
  mask[:12, :12] = 1
  (segment,) = find_segments(similarity, mask)
  assert segment.query_end <= 48 and segment.target_end <= 48


def test_no_two_segments_overlap_in_both_videos():
  similarity = background(60, 60)
  for order in ([3, 0, 4, 1, 5, 2], [0, 3, 1, 4, 2, 5]):
    for n, m in enumerate(order):
      plant(similarity, (10 * n, 10 * n + 8), (10 * m, 10 * m + 8))
  found = find_segments(similarity)
  assert len(found) > 4
  for i, a in enumerate(found):
    for b in found[:i]:
      apart = (
        a.query_end <= b.query_start or b.query_end <= a.query_start,
        a.target_end <= b.target_start or b.target_end <= a.target_start,
      )
      assert any(apart)


def test_one_row_may_match():
  similarity = np.full((1, 6), -0.5)
  similarity[0, 3] = 0.4
  assert find_segments(similarity)[0][:4] == (0, 4, 12, 16)


def test_the_threshold_decides():
  similarity = plant(background(20, 20), (2, 12), (4, 14), 0.3)
  assert find_segments(similarity, threshold=0.5) == ()
  assert len(find_segments(similarity - 0.2, threshold=-0.2)) == 1


def test_a_mask_of_another_shape_is_refused():
  with pytest.raises(ValueError, match=r'\(3, 3\)'):
    find_segments(np.zeros((3, 4)), np.zeros((3, 3)))
