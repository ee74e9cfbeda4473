"""Anybody's videos as clips: by time, not over cuts, whole videos held out."""

import pathlib
import re

import jax
import numpy as np
import pytest
from own_films import SIZE, counting, films, make, prepared, scene

from deltax.data.own import choose, prepare
from deltax.data.own.split import split_videos
from deltax.data.video.files import write_video
from deltax.data.video.frames import read_frames


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return films(tmp_path_factory.mktemp('films'))


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def test_a_batch_is_what_every_data_set_gives_and_follows_the_seed(
  folder, home
):
  first, again, other = (
    make(folder, home, held_out='long.mp4', seed=seed) for seed in (3, 3, 4)
  )
  batch = first[7]
  assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
    'frames': ((4, 2, *SIZE, 3), np.uint8),
    'times': ((4, 2), np.float32),
    'mask': ((4,), np.float32),
  }
  for name, value in again[7].items():
    np.testing.assert_array_equal(batch[name], value)
  assert not np.array_equal(batch['times'], other[7]['times'])
  assert len(first) > 10**9


def test_processes_make_consecutive_stretches(folder, home, monkeypatch):
  whole = make(folder, home, held_out='long.mp4')[5]
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  half = make(folder, home, held_out='long.mp4')[5]
  np.testing.assert_array_equal(half['frames'], whole['frames'][2:])


def test_a_cut_is_found_and_no_clip_goes_over_it(folder, home):
  stored = prepared(folder, home / 'own_videos')['cut.mp4'].stored
  assert np.flatnonzero(stored.starts).tolist() == [0, 20]
  held = ['long.mp4', 'below/*']
  for length, seen_least in ((2, 2), (3, 2)):
    clips = make(folder, home, held_out=held, clip_length=length, batch_size=64)
    times = np.concatenate([clips[k]['times'] for k in range(4)])
    sides = times > 19.5 / 25
    assert (sides == sides[:, :1]).all()
    assert len(np.unique(sides)) == seen_least
  evaluated = make(folder, home, 'validation', held_out='cut.mp4')
  times = np.concatenate([evaluated[k]['times'] for k in range(len(evaluated))])
  sides = times > 19.5 / 25
  assert (sides == sides[:, :1]).all()


def test_distances_are_right_by_time_where_the_rate_varies(tmp_path):
  # 25 frames a second, then 5, then one that stands for 2 seconds.
  gaps = [0.04] * 20 + [0.2] * 10 + [2.0] + [0.04] * 15
  times = np.concatenate([[0], np.cumsum(gaps)])
  write_video(
    tmp_path / 'a.mkv', counting(len(times) - 1), 25, times=times.tolist()
  )
  write_video(tmp_path / 'b.mkv', scene(0, 20), 25)
  clips = make(
    tmp_path,
    tmp_path / 'data',
    held_out='b.mkv',
    max_distance=7,
    batch_size=400,
    flip=False,
  )[0]
  shown = clips['times']
  distances = 25 * np.diff(shown, axis=1)[:, 0]
  assert distances.min() > 0.5
  assert distances.max() < 7.5
  rounded = np.rint(distances)
  assert set(rounded.astype(int)) == set(range(1, 8))
  # Nothing joins the frames before and after the standstill.
  assert not ((shown[:, 0] < 2.9) & (shown[:, 1] > 3.0)).any()
  # Each time is that of the frame it stands beside.
  numbers = clips['frames'].mean((2, 3, 4)) / 5
  nearest = abs(shown[..., None] - times[:-1]).argmin(-1)
  np.testing.assert_allclose(numbers, nearest, atol=0.45)


def test_strides_of_longer_clips_reach_as_far_as_told():
  times = np.arange(40) / 10
  shots = choose.Shots(times, np.full(40, 40), 10.0, 4)
  assert choose.longest_stride(shots, 0, 4) == 4
  assert choose.longest_stride(shots, 34, 4) == 1
  assert choose.clip_at(shots, 5, 4, 3).tolist() == [5, 8, 11, 14]
  assert choose.clip_at(shots, 36, 4, 1).tolist() == [36, 37, 38, 39]
  assert choose.find_keys(shots, 4).max() == 36
  assert choose.clip_at(shots, 39, 1, 1).tolist() == [39]


def test_frames_of_a_clip_are_the_nearest_in_time_not_in_number():
  times = np.array([0.0, 0.1, 0.2, 0.3, 0.62, 0.7, 0.8, 0.9, 1.3, 1.4])
  shots = choose.Shots(times, np.full(10, 10), 10.0, 5)
  assert choose.clip_at(shots, 2, 2, 4).tolist() == [2, 4]
  assert choose.clip_at(shots, 0, 4, 3).tolist() == [0, 3, 4, 7]
  # Where there is none so near, the next one.
  assert choose.clip_at(shots, 3, 2, 1).tolist() == [3, 4]
  assert choose.clip_at(shots, 3, 3, 1).tolist() == [3, 4, 5]


def test_videos_of_two_rates_move_as_far_at_one_nominal_rate(folder, home):
  clips = make(
    *(folder, home),
    held_out='cut.mp4',
    fps=5,
    max_distance=3,
    batch_size=200,
    jitter=0.1,
  )[0]
  distances = 5 * np.diff(clips['times'], axis=1)
  np.testing.assert_allclose(distances, np.rint(distances), atol=0.05)
  assert set(np.rint(distances).ravel()) == {1, 2, 3}


def test_a_video_that_is_too_short_is_left_out_or_told(folder, home, tmp_path):
  write_video(tmp_path / 'short.mp4', scene(5, 3), 25)
  places = [folder, tmp_path / 'short.mp4']
  held = ['cut.mp4', 'short.mp4']
  clips = make(
    places, home, 'validation', held_out=held, clip_length=8, batch_size=2
  )
  assert len(clips) == 3  # two of the first shot, three of the second
  with pytest.raises(
    ValueError,
    match=re.escape(
      "no shot of the 1 videos of 'validation' is long enough for a clip of 8 "
      'frames: short.mp4'
    ),
  ):
    make(places, home, 'validation', held_out='short.mp4', clip_length=8)


def test_one_video_only_is_a_clear_error(folder, home):
  with pytest.raises(ValueError, match=r'only one video .*cut\.mp4; name anot'):
    make(folder / 'cut.mp4', home)


def test_likely_misuses_are_told(folder, home):
  for options, message in (
    ({'held_out': 'nobody*'}, r"held_out='nobody\*' is no readable video"),
    ({'held_out': '*'}, 'held_out names all 3 videos'),
    ({'held_out_share': 1.0}, r'held_out_share in \(0, 1\)'),
    ({'clip_length': None}, 'needs a clip_length'),
    ({'crop': (49, 64)}, 'crop of 49x64 is larger than frames of 48x64'),
    ({'fit': 'wide'}, "unknown fit 'wide', known: cover"),
    ({'max_distance': 0}, 'positive clip_length, max_distance'),
    ({'max_bytes': 10_000}, 'fewer than two frames of 9,216 bytes'),
    ({'videos': ()}, 'needs videos=: files or folders'),
  ):
    with pytest.raises(ValueError, match=message):
      make(**{'videos': folder, 'home': home} | options)
  with pytest.raises(ValueError, match="unknown split 'val'"):
    make(folder, home, 'val')
  with pytest.raises(FileNotFoundError, match='nowhere'):
    make(folder / 'nowhere', home)


def shown(dataset):
  """Every frame of an evaluation set, without padding."""
  batches = [dataset[k] for k in range(len(dataset))]
  return np.concatenate([b['frames'][b['mask'] > 0] for b in batches])


def test_videos_held_out_by_name_are_never_trained_on(folder, home):
  for held in ('other.mkv', 'below/other.mkv', ['bel*'], str(folder / '*.mkv')):
    train = make(folder, home, held_out=held, batch_size=60, flip=False)
    held_frames = shown(make(folder, home, 'validation', held_out=held))
    stored = prepared(folder, home / 'own_videos')['below/other.mkv'].stored
    for frame in held_frames.reshape(-1, *SIZE, 3):
      assert (stored.frames == frame).all((1, 2, 3)).any()
    trained = train[0]['frames'].reshape(-1, *SIZE, 3)
    for frame in stored.frames[::10]:
      assert not (trained == frame).all((1, 2, 3)).any()


def test_a_choice_by_content_stays_when_videos_are_added():
  videos = {
    f'{k}.mp4': prepare.Footage(
      pathlib.Path(f'{k}.mp4'), np.random.default_rng(k).bytes(16).hex(), None
    )
    for k in range(40)
  }
  few = dict(list(videos.items())[:20])
  before = split_videos(few, (), 0.25)
  after = split_videos(videos, (), 0.25)
  assert 1 <= len(before['validation']) < 10
  for part in before:
    assert before[part].keys() <= after[part].keys()
  # Whatever a video is called.
  renamed = {f'x{name}': video for name, video in few.items()}
  other = split_videos(renamed, (), 0.25)
  assert {name[1:] for name in other['train']} == before['train'].keys()
  pair = dict(list(videos.items())[:2])
  for share in (0.001, 0.999):
    parts = split_videos(pair, (), share)
    assert len(parts['train']) == len(parts['validation']) == 1


def test_crops_flips_and_jitter_are_shared_by_a_clip(tmp_path):
  still = scene(0, 1).repeat(20, 0)
  write_video(tmp_path / 'a.mp4', still, 25, crf=1)
  write_video(tmp_path / 'b.mp4', scene(1, 20), 25)
  options = dict(held_out='b.mp4', batch_size=40, clip_length=3, crop=(32, 40))
  data = tmp_path / 'data'
  frames = make(tmp_path, data, jitter=0.5, **options)[0]['frames']
  assert frames.shape == (40, 3, 32, 40, 3)
  assert abs(np.diff(frames.astype(int), axis=1)).max() <= 16
  assert len({clip.tobytes() for clip in frames[:, 0]}) == 40
  plain = make(tmp_path, data, **options)[0]['frames'][:, 0].astype(int)
  whole = next(read_frames(tmp_path / 'a.mp4')).astype(int)
  windows = np.lib.stride_tricks.sliding_window_view(
    whole, (32, 40), (0, 1)
  ).transpose(0, 1, 3, 4, 2)
  flipped, corners = [], set()
  for clip in plain:
    errors = [
      abs(windows - image).mean((2, 3, 4)) for image in (clip, clip[:, ::-1])
    ]
    assert min(error.min() for error in errors) < 2
    turned = errors[1].min() < errors[0].min()
    flipped.append(turned)
    corners.add(int(errors[int(turned)].argmin()))
  assert 8 < sum(flipped) < 32
  assert len(corners) > 20


def test_frames_that_hardly_differ_are_drawn_less_often(tmp_path):
  moving = scene(0, 40, step=2)
  film = np.concatenate([moving, moving[-1:].repeat(40, 0), scene(7, 80, 2)])
  write_video(tmp_path / 'a.mp4', film, 25)
  write_video(tmp_path / 'b.mp4', scene(1, 20), 25)
  clips = make(
    *(tmp_path, tmp_path / 'data'),
    held_out='b.mp4',
    batch_size=800,
    max_distance=5,
  )[0]
  keys = np.rint(25 * clips['times'][:, 0])
  still = ((keys >= 40) & (keys < 80)).sum()
  moves = ((keys >= 90) & (keys < 130)).sum()
  assert still < 0.35 * moves
  assert still > 10


def test_videos_are_drawn_as_often_as_they_are_long(folder, home):
  clips = make(
    folder, home, held_out='other.mkv', batch_size=900, max_distance=3
  )
  # Only the longer one has frames after 1.8 seconds: 14 of 103 frames.
  late = (clips[0]['times'][:, 0] > 1.81).mean()
  assert 0.08 < late < 0.2


def test_evaluation_covers_every_video_evenly_and_is_the_same_each_time(
  folder, home
):
  options = dict(
    held_out=['long.mp4', 'other.mkv'], clip_length=5, clips_per_video=4
  )
  first, second = (
    make(folder, home, 'validation', batch_size=5, **options) for _ in range(2)
  )
  assert len(first) == 2
  assert first[1]['mask'].tolist() == [1, 1, 1, 0, 0]
  times = np.concatenate([first[k]['times'] for k in range(2)])[:8]
  of_long = times[np.isclose(np.diff(times, axis=1)[:, 0], 0.04, atol=1e-3)]
  assert len(of_long) == 4
  np.testing.assert_allclose(np.diff(of_long, axis=1), 0.04, atol=1e-3, rtol=0)
  np.testing.assert_allclose(np.diff(of_long[:, 0]), 0.6, atol=1e-3)
  for k in range(2):
    for name, value in first[k].items():
      np.testing.assert_array_equal(value, second[k][name])
