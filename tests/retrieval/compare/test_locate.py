"""What two videos have in common is found where it is, and nothing else is."""

import time

import numpy as np
import pytest

from deltax.retrieval.compare import likeness, locate
from deltax.retrieval.compare.bits import pack
from deltax.retrieval.compare.likeness import frame_likeness
from deltax.retrieval.compare.locate import Frames


def film(seed, moments, regions=4, size=64):
  """Regions of a video that exists at any moment, and changes in seconds."""
  scenes = np.random.default_rng(seed).normal(size=(250, regions, size))
  place = np.asarray(moments, float) / 1.5 + 4
  share = (place % 1)[:, None, None]
  now = place.astype(int)
  mixed = (1 - share) * scenes[now] + share * scenes[now + 1]
  return mixed.astype(np.float32)


def video(codes, end=None):
  times = np.arange(len(codes), dtype=float)
  return Frames(codes, times, 0.0, float(len(codes) if end is None else end))


def edited(seed, length, start, count, moments):
  """A video that shows, from second `start`, another's at these moments."""
  codes = film(seed, np.arange(length))
  codes[start : start + count] = film(1, moments)
  return video(codes)


def assert_close(part, query, target, within=1.0):
  np.testing.assert_allclose(part.query, query, atol=within)
  np.testing.assert_allclose(part.target, target, atol=within)


@pytest.mark.parametrize('pace', [0.5, 0.8, 1.0, 1.4, 2.0, -1.0])
def test_a_copy_is_found_at_its_pace_within_a_second(pace):
  query = video(film(1, np.arange(60)))
  first = 12.4 if pace > 0 else 46.4
  moments = first + pace * np.arange(20)
  (part,) = locate.locate(query, edited(2, 50, 17, 20, moments))
  ends = sorted((first - pace / 2, first + 19.5 * pace))
  assert_close(part, ends, (16.5, 36.5))
  assert part.backward == (pace < 0)
  assert 0.5 < part.score <= 1


def test_what_only_another_view_of_the_query_shows_is_found_there():
  query, moments = video(film(3, np.arange(30))), 5 + np.arange(15)
  target = edited(2, 40, 12, 15, moments)
  views = [film(4, np.arange(30)), film(1, np.arange(30))]
  assert locate.locate(query, target) == []
  (part,) = locate.locate(query, target, views=views)
  assert_close(part, (5, 20), (12, 27))
  # What is in the query as it is counts, whatever a view has.
  (same,) = locate.locate(query._replace(codes=views[1]), target, views=views)
  assert same.query == part.query and same.surety == part.surety


def test_the_offset_of_a_copy_is_found_to_a_fraction_of_a_frame():
  query = video(film(1, np.arange(60)))
  for late in (0.0, 0.3, 0.5, 0.8):
    target = edited(2, 50, 17, 25, 20 + late + np.arange(25))
    (part,) = locate.locate(query, target)
    assert part.query[0] - part.target[0] == pytest.approx(3 + late, abs=0.15)


def test_a_whole_copy_reaches_the_ends_of_both_videos():
  query = Frames(film(1, np.arange(13)), np.arange(13.0), 0.0, 12.6)
  (part,) = locate.locate(query, query._replace(end=12.7))
  assert_close(part, (0.0, 12.6), (0.0, 12.6), within=0.11)
  assert part.query[1] <= 12.6
  assert part.score == pytest.approx(1, abs=0.05)


def test_several_copies_are_told_the_surest_first():
  codes = film(2, np.arange(80))
  codes[5:30] = film(1, np.arange(40, 65))
  codes[50:62] = film(1, np.arange(10, 22))
  first, second = locate.locate(video(film(1, np.arange(70))), video(codes))
  assert_close(first, (40, 65), (5, 30))
  assert_close(second, (10, 22), (50, 62))


def test_a_part_shown_twice_is_found_twice():
  codes = film(2, np.arange(60))
  codes[5:20] = codes[35:50] = film(1, np.arange(20, 35))
  parts = locate.locate(video(film(1, np.arange(50))), video(codes))
  assert len(parts) == 2
  for part in parts:
    np.testing.assert_allclose(part.query, (20, 35), atol=1)


@pytest.mark.parametrize('seed', range(6))
def test_videos_that_have_nothing_in_common_have_no_part(seed):
  query, target = film(10 + seed, np.arange(90)), film(seed, np.arange(70))
  assert locate.locate(video(query), video(target)) == []
  bits = [np.asarray(pack(np.sign(x))) for x in (query, target)]
  assert locate.locate(*map(video, bits)) == []


def test_noise_has_no_part_whatever_its_length_and_takes_seconds():
  rng = np.random.default_rng(0)
  for length in (8, 60, 900):
    noise = rng.integers(0, 2**32, (2, length, 4, 2), dtype=np.uint32)
    start = time.process_time()
    assert locate.locate(*map(video, noise)) == []
  assert time.process_time() - start < 10


@pytest.mark.parametrize('length', [1, 2, 3])
def test_the_shortest_videos_are_compared(length):
  query = video(film(1, np.arange(length)))
  for target in (query, video(film(2, np.arange(30)))):
    for part in locate.locate(query, target):
      assert 0 <= part.query[0] < part.query[1] <= query.end
  still = video(np.ones((length, 4, 64), np.float32))
  locate.locate(still, still)


def test_of_very_long_videos_every_nth_frame_is_compared_but_at_the_ends(
  monkeypatch,
):
  moments = 100.3 + np.arange(90)
  query = video(film(1, np.arange(300)))
  target = edited(2, 280, 120, 90, moments)
  monkeypatch.setattr(locate, '_CELLS', 10_000)
  (part,) = locate.locate(query, target)
  assert_close(part, (99.8, 189.8), (119.5, 209.5), within=0.6)


def test_likeness_is_by_how_much_best_matches_exceed_the_usual(monkeypatch):
  query, target = film(1, np.arange(11)), film(2, np.arange(7), regions=3)

  def centred(x):
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    x = x - x.mean((0, 1))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

  products = np.einsum('trd,spd->tsrp', centred(query), centred(target))
  excess, left = [], []
  for best, axis in ((products.max(3), 1), (products.max(2), 0)):
    usual = np.median(best, axis, keepdims=True)
    left.append(np.abs(best - usual).ravel())
    n = best.shape[axis]
    usual = (n * usual + 8 * np.median(usual)) / (n + 8)
    excess.append(np.maximum(best - usual, 0).mean(2))
  unit = 1.4826 * np.median(np.concatenate(left))
  expected = (excess[0] + excess[1]) / 2 / unit
  for tile in ((512, 256), (4, 3)):
    monkeypatch.setattr(likeness, '_ROWS', tile[0])
    monkeypatch.setattr(likeness, '_COLUMNS', tile[1])
    values = frame_likeness(query, target).values
    np.testing.assert_allclose(values, expected, atol=1e-3)


def test_bits_are_compared_as_their_signs():
  signs = [np.sign(film(n, np.arange(20))) for n in (1, 2)]
  one, other = frame_likeness(*signs), frame_likeness(*map(packed, signs))
  np.testing.assert_allclose(one.values, other.values, atol=1e-4)


def packed(codes):
  return np.asarray(pack(codes))


def test_more_frames_around_the_ends_place_them_within_a_frame():
  """A copy at 10 frames a second, whose ends lie between two seconds."""
  seconds, dense = np.arange(40.0), np.arange(400) / 10
  starts, ends = 12.3, 27.8  # of the target; shows the query from 5.12 on

  def target(moments):
    codes = film(2, moments)
    inside = (moments >= starts) & (moments < ends)
    codes[inside] = film(1, moments[inside] - starts + 5.12)
    return Frames(codes, moments, 0.0, 40.0)

  def query(moments):
    return Frames(film(1, moments), moments, 0.0, 40.0)

  (part,) = locate.locate(query(seconds), target(seconds))
  assert_close(part, (5.12, 20.62), (starts, ends), within=1.0)
  films = query(seconds).codes, target(seconds).codes
  better = locate.sharpen(part, query(dense), target(dense), films, 2.0)
  assert_close(better, (5.12, 20.62), (starts, ends), within=0.1)
