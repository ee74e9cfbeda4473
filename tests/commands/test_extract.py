"""`deltax extract` and `deltax whiten`, as they are typed."""

import numpy as np
import pytest

from deltax import commands
from deltax.data.features.hdf5 import write_hdf5
from deltax.data.features.store import FeatureStore
from deltax.data.video.files import read_video, write_video
from deltax.retrieval import fitting
from deltax.systems import extractors


class Grid:
  """Mean colours of a 3 x 3 grid, and what it was made with."""

  def __init__(self, name, whitening=None, weights=None):
    self.description = {'name': name, 'whitened': None}
    self.fingerprint = f'{name} {whitening} {weights}'

  def __call__(self, frames):
    grid = frames[:, :222, :222].reshape(len(frames), 3, 74, 3, 74, 3)
    means = grid.mean((2, 4), dtype=np.float64).astype(np.float32)
    return means.reshape(len(frames), 9, 3) / 255


@pytest.fixture
def videos(tmp_path, monkeypatch):
  """Two videos and a broken one; extractors are cheap."""
  monkeypatch.setattr(extractors, 'make_extractor', Grid)
  folder = tmp_path / 'videos'
  (folder / 'more').mkdir(parents=True)
  rng = np.random.default_rng(0)
  for name in ('a.mp4', 'more/b.mkv'):
    frames = rng.integers(0, 256, (30, 4, 6, 3), np.uint8)
    write_video(folder / name, frames.repeat(16, 1).repeat(16, 2), 5)
  (folder / 'junk.mp4').write_bytes(b'junk' * 99)
  return folder


@pytest.fixture
def raw(tmp_path):
  """A store of features that are not whitened, and all of them at once."""
  rng = np.random.default_rng(1)
  mixed = rng.standard_normal((6, 6)).astype(np.float32)
  samples = []
  with FeatureStore(tmp_path / 'raw', fingerprint='f') as store:
    for k in range(4):
      regions = rng.standard_normal((10 + k, 9, 6)).astype(np.float32)
      samples.append(regions @ mixed + np.float32(3))
      store.add(f'{k}', samples[-1])
  return tmp_path / 'raw', np.concatenate(samples).reshape(-1, 6)


def test_files_that_were_replaced_and_what_is_passed_by_are_told(
  tmp_path, videos, capsys
):
  (videos / 'notes.txt').write_text('no video')
  words = ['extract', str(videos), '--out', str(tmp_path / 'out')]
  commands.main(words)
  assert f'passed by: 1 text ({videos}/notes.txt)' in capsys.readouterr().out
  (videos / 'more/b.mkv').touch()
  write_video(videos / 'a.mp4', np.zeros((5, 32, 32, 3), np.uint8), 5)
  commands.main(words)
  told = capsys.readouterr().out
  assert '1 have the features of another file' in told
  assert 'that was there before: a.mp4; a new store' in told
  # A store of an older version learns what its files are.
  (tmp_path / 'out.files.jsonl').unlink()
  commands.main(words)
  assert 'another file' not in capsys.readouterr().out
  write_video(videos / 'a.mp4', np.zeros((6, 32, 32, 3), np.uint8), 5)
  commands.main(words)
  assert 'another file that was there before: a.mp4' in capsys.readouterr().out


def test_videos_become_features_and_failures_are_told(tmp_path, videos, capsys):
  commands.main(['extract', str(videos), '--out', str(tmp_path / 'out')])
  told = capsys.readouterr().out
  assert '2 videos, 2 of them new; 0 were there' in told
  assert f'1 are left out, listed in {tmp_path}/out.failed.jsonl' in told
  store = FeatureStore(tmp_path / 'out')
  assert store.names == ('a.mp4', 'more/b.mkv')
  assert store.fingerprint == 'efficientnet_lite0 None None'
  assert store.description == {
    'name': 'efficientnet_lite0',
    'whitened': None,
  }
  expected = Grid('')(read_video(videos / 'more/b.mkv').frames)
  np.testing.assert_array_equal(store['more/b.mkv'], expected)


def test_a_second_call_adds_only_what_is_new(tmp_path, videos, capsys):
  out = ['--out', str(tmp_path / 'out'), '--no-endings', '--dtype', 'float16']
  commands.main(['extract', str(videos / 'a.mp4'), *out])
  commands.main(['extract', str(videos), *out])
  assert '2 videos, 1 of them new; 1 were there' in capsys.readouterr().out
  store = FeatureStore(tmp_path / 'out')
  assert store.names == ('a', 'more/b')
  assert store.dtype == 'float16'


def test_options_reach_the_extractor_and_guard_the_store(
  tmp_path, videos, capsys
):
  typed = ['extract', str(videos), '--out', str(tmp_path / 'out')]
  options = ['--extractor', 'resnet50', '--weights', 'r.pth']
  commands.main([*typed, *options, '--whitening', 'w.npz'])
  store = FeatureStore(tmp_path / 'out')
  assert store.fingerprint == 'resnet50 w.npz r.pth'
  with pytest.raises(SystemExit):
    commands.main([*typed, *options])
  assert 'cannot be continued with resnet50 None' in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, videos, capsys):
  with pytest.raises(SystemExit):
    commands.main(['extract', 'nowhere', '--out', str(tmp_path / 'out')])
  error = capsys.readouterr().err
  assert error == 'deltax extract: nowhere: no such file or folder\n'
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('hdf5', [False, True])
def test_a_whitening_is_that_of_all_regions_at_once(
  tmp_path, raw, hdf5, capsys
):
  store, samples = raw
  if hdf5:
    write_hdf5(tmp_path / 'raw.hdf5', FeatureStore(store))
    store = tmp_path / 'raw.hdf5'
  out = tmp_path / 'new' / 'w.npz'
  commands.main(['whiten', str(store), '--out', str(out), '--size', '4'])
  told = capsys.readouterr().out
  assert '6 to 4 numbers, fitted to 414 regions of 4 videos' in told
  found = extractors.read_whitening(out)
  expected = fitting.fit_whitening(samples, 4)
  np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
  signs = np.sign((found.projection * expected.projection).sum(0))
  np.testing.assert_allclose(
    found.projection, expected.projection * signs[None], rtol=1e-4, atol=1e-7
  )
  assert [path.name for path in out.parent.iterdir()] == ['w.npz']


@pytest.mark.parametrize(('channels', 'size'), [(75, 64), (32, 32), (530, 512)])
def test_by_default_words_of_bits_are_filled(tmp_path, channels, size):
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    rng = np.random.default_rng(0)
    store.add('v', rng.standard_normal((60, 9, channels)))
  out = tmp_path / 'w.npz'
  commands.main(['whiten', str(tmp_path / 's'), '--out', str(out)])
  assert extractors.read_whitening(out).projection.shape == (channels, size)


def test_whitened_features_are_uncorrelated(raw):
  _, samples = raw
  sums = fitting.moments([samples[:100], samples[100:].reshape(-1, 2, 6)])
  fitted = fitting.whitening_from_moments(sums, 6)
  white = (samples - fitted.mean[None]) @ fitted.projection
  np.testing.assert_allclose(white.T @ white, np.eye(6), atol=1e-4)


@pytest.mark.parametrize(
  ('description', 'shapes', 'size', 'message'),
  [
    ({'whitened': 512}, [(60, 9, 6)], 4, 'are whitened already'),
    ({}, [(60, 9, 6)], 7, 'expected 1 to 6'),
    ({}, [(2, 2, 6)], 4, '4 regions are too few to keep 4 features'),
    ({}, [], 4, 'no features to take sums of'),
    ({}, [(60, 9, 6), (60, 9, 5)], 4, 'of 5 numbers among features of 6'),
  ],
)
def test_what_cannot_be_whitened_is_one_sentence(
  tmp_path, capsys, description, shapes, size, message
):
  options = {'fingerprint': 'f', 'description': description}
  with FeatureStore(tmp_path / 's', **options) as store:
    for k, shape in enumerate(shapes):
      regions = np.random.default_rng(k).standard_normal(shape)
      store.add(f'{k}', regions)
  out = str(tmp_path / 'w.npz')
  with pytest.raises(SystemExit):
    commands.main(
      ['whiten', str(tmp_path / 's'), '--out', out, '--size', str(size)]
    )
  assert message in capsys.readouterr().err
  assert not (tmp_path / 'w.npz').exists()


def test_applied_at_once_features_are_as_if_extracted_whitened(
  tmp_path, videos, raw
):
  store, _ = raw
  about = Grid('grid')
  with FeatureStore(
    tmp_path / 'own',
    fingerprint=about.fingerprint,
    description={'name': 'grid'},
  ) as own:
    for name in ('0', '1'):
      own.add(name, FeatureStore(store)[name])
  out = tmp_path / 'w.npz'
  arguments = ['whiten', str(tmp_path / 'own'), '--out', str(out)]
  arguments += ['--size', '4', '--apply', str(tmp_path / 'whitened')]
  commands.main(arguments)
  found = FeatureStore(tmp_path / 'whitened')
  fitted = extractors.read_whitening(out)
  assert found.fingerprint == Grid('grid', out).fingerprint
  for name in ('0', '1'):
    white = (FeatureStore(store)[name] - fitted.mean) @ fitted.projection
    white /= np.linalg.norm(white, axis=-1, keepdims=True)
    np.testing.assert_allclose(found[name], white, atol=1e-5)


@pytest.mark.parametrize(
  ('description', 'message'),
  [({}, 'which extractor'), ({'name': 'grid'}, 'with these weights')],
)
def test_features_of_another_extractor_are_not_whitened(
  tmp_path, videos, capsys, description, message
):
  with FeatureStore(
    tmp_path / 's', fingerprint='f', description=description
  ) as store:
    store.add('v', np.random.default_rng(0).standard_normal((60, 9, 6)))
  arguments = ['whiten', str(tmp_path / 's'), '--out', str(tmp_path / 'w.npz')]
  with pytest.raises(SystemExit):
    commands.main([*arguments, '--apply', str(tmp_path / 'whitened')])
  assert message in capsys.readouterr().err
  assert not (tmp_path / 'w.npz').exists()
