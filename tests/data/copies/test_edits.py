"""Edits: what they keep, what they change, and where they say the source is."""

import cv2
import numpy as np
import pytest

from deltax.data.copies import edits

TIMED = ('speed', 'trim', 'splice')


def make_clip(count=24, size=(48, 64), rate=4.0, seed=0):
  """Frame t has the mean brightness 30 + 6 t, roughly."""
  rng = np.random.default_rng(seed)
  noise = rng.integers(0, 20, (count, *size, 3))
  level = (30 + 6 * np.arange(count))[:, None, None, None]
  return edits.whole((noise + level).astype(np.uint8), rate)


def edited(name, seed=0, clip=None):
  clip = clip or make_clip()
  host = make_clip(seed=1)._replace(rate=8.0)
  rng = np.random.default_rng(seed)
  return edits.apply([name], clip, host, rng)


@pytest.mark.parametrize('name', edits.EDITS)
def test_an_edit_changes_a_copy_and_never_the_source(name):
  clip = make_clip()
  before = clip.frames.copy(), clip.times.copy()
  for seed in range(5):
    copy = edited(name, seed, clip)
    assert copy.frames.dtype == np.uint8 and copy.rate == clip.rate
    assert copy.frames.shape[1:] == clip.frames.shape[1:]
    assert len(copy.frames) == len(copy.times) > 0
    assert not np.array_equal(copy.frames, clip.frames)
    np.testing.assert_array_equal(clip.frames, before[0])
    np.testing.assert_array_equal(clip.times, before[1])


@pytest.mark.parametrize('name', edits.EDITS)
def test_an_edit_depends_on_its_generator_only(name):
  first, again = edited(name, 3), edited(name, 3)
  np.testing.assert_array_equal(first.frames, again.frames)
  if name != 'flip':
    others = [edited(name, seed).frames for seed in range(4, 8)]
    assert any(not np.array_equal(first.frames, other) for other in others)


@pytest.mark.parametrize('name', sorted(set(edits.EDITS) - set(TIMED)))
def test_edits_of_the_picture_keep_the_time(name):
  copy = edited(name)
  np.testing.assert_array_equal(copy.times, make_clip().times)
  assert edits.segments(copy) == [[0.0, 6.0, 0.0, 6.0]]


@pytest.mark.parametrize('name', TIMED)
def test_edits_in_time_say_which_frames_of_the_source_they_show(name):
  clip = make_clip()
  for seed in range(10):
    copy = edited(name, seed)
    shown = np.flatnonzero(np.isfinite(copy.times))
    for place in shown:
      frame = round(copy.times[place] * clip.rate)
      np.testing.assert_array_equal(copy.frames[place], clip.frames[frame])
    [(start, end, first, last)] = edits.segments(copy)
    assert start == shown[0] / clip.rate
    assert end == (shown[-1] + 1) / clip.rate
    assert first == copy.times[shown[0]]
    assert copy.times[shown[-1]] < last <= 6.6


def test_times_of_edits_are_within_their_limits():
  for seed in range(30):
    assert 12 <= len(edited('speed', seed).frames) <= 48
    assert 10 <= len(edited('trim', seed).frames) <= 18
    splice = edited('splice', seed)
    inner = np.isfinite(splice.times)
    assert 7 <= inner.sum() <= 14
    assert (~inner).sum() >= inner.sum()
    assert not inner[0]


def test_a_slowed_copy_has_a_longer_segment_than_its_source():
  for seed in range(10):
    copy = edited('speed', seed)
    [(start, end, first, last)] = edits.segments(copy)
    pace = (last - first) / (end - start)
    assert 0.45 < pace < 2.1 and abs(np.log2(pace)) > 0.25
    assert (pace > 1) == (len(copy.frames) < 24)


def test_several_edits_are_made_in_one_order_and_keep_the_time():
  clip, host = make_clip(), make_clip(seed=1)
  names = ['low_resolution', 'trim', 'flip']
  both = [
    edits.apply(order, clip, host, np.random.default_rng(0))
    for order in (names, names[::-1])
  ]
  np.testing.assert_array_equal(both[0].frames, both[1].frames)
  start, end, first, last = edits.segments(both[0])[0]
  assert start == 0 and end == last - first < 6


def test_a_short_host_starts_again():
  clip, host = make_clip(), make_clip(count=3, seed=1)
  for name in edits.HOSTED:
    copy = edits.apply([name], clip, host, np.random.default_rng(0))
    assert len(copy.frames) == len(copy.times)


def test_a_source_of_one_frame_can_be_edited():
  clip = make_clip(count=1)
  for name in edits.EDITS:
    copy = edits.apply([name], clip, clip, np.random.default_rng(0))
    assert np.isfinite(copy.times).any() and len(edits.segments(copy)) == 1


def test_letters_of_a_caption_have_an_outline_all_around():
  seen = 0
  for seed in range(12):
    grey = edits.whole(np.full((1, 192, 288, 3), 128, np.uint8), 4.0)
    frame = edited('caption', seed, grey).frames[0].astype(int)
    coloured = (frame.max(-1) > 129) | (np.ptp(frame, axis=-1) > 40)
    assert coloured.sum() > 100
    if (frame[:, 0] == 32).any():  # on a band
      continue
    around = cv2.dilate(coloured.astype(np.uint8), np.ones((3, 3))) > 0
    assert not (around & (frame == 128).all(-1)).any()
    seen += 1
  assert seen > 3


def test_unknown_edits_are_refused_with_the_known_ones():
  with pytest.raises(ValueError, match="unknown edit 'melt', known: speed, "):
    edits.apply(['melt'], make_clip(), make_clip(), np.random.default_rng(0))
