"""Extractors: what they give does not depend on how they are asked."""

import functools

import jax
import numpy as np
import pytest
import small_backbone
from small_backbone import CHANNELS, CHUNK, NAME

from deltax import delta, models
from deltax.models.inputs import normalise
from deltax.retrieval import region_pool
from deltax.retrieval.fitting import Whitening, whiten
from deltax.systems import extractors


@pytest.fixture(scope='module', autouse=True)
def tiny():
  with small_backbone.installed():
    yield


@functools.cache
def weights(seed=0):
  net = models.create(NAME, num_classes=None)
  frames = np.zeros((1, 64, 64, 3), np.float32)
  return jax.device_get(jax.jit(net.init)(jax.random.key(seed), frames))


def frames_of(count, seed=0):
  draw = np.random.default_rng(seed)
  coarse = draw.integers(0, 256, (count, 10, 10, 3)).astype(np.uint8)
  return coarse.repeat(16, 1).repeat(16, 2)


def whitening(size=8, channels=CHANNELS):
  draw = np.random.default_rng(3)
  return Whitening(
    draw.standard_normal(channels).astype(np.float32) / 10,
    draw.standard_normal((channels, size)).astype(np.float32),
  )


@functools.cache
def plain():
  return extractors.make_extractor(NAME, weights=weights())


def test_regions_are_pooled_from_the_stages_of_the_network():
  frames = frames_of(CHUNK)
  net = models.create(NAME, num_classes=None)
  maps = jax.jit(net.apply)(weights(), normalise(frames))
  expected = jax.jit(region_pool)(maps)
  found = plain()(frames)
  assert found.shape == (CHUNK, 4, CHANNELS) and found.dtype == np.float32
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize('count', [1, 3, 4, 9])
def test_regions_of_a_frame_do_not_depend_on_its_chunk(count):
  frames, whole = frames_of(9), plain()(frames_of(9))
  np.testing.assert_allclose(
    plain()(frames[9 - count :]), whole[9 - count :], atol=1e-5
  )


def test_whitening_follows_pooling(tmp_path):
  own = whitening()
  np.savez(tmp_path / 'w.npz', **own._asdict())
  frames = frames_of(2)
  expected = whiten(own, plain()(frames))
  for given in (own, tmp_path / 'w.npz', str(tmp_path / 'w.npz')):
    made = extractors.make_extractor(NAME, whitening=given, weights=weights())
    np.testing.assert_allclose(made(frames), expected, atol=1e-5)
    assert made.description == {'name': NAME, 'whitened': 8}


@pytest.mark.parametrize(
  'wrong',
  [
    whitening(channels=CHANNELS - 1),
    Whitening(whitening().mean, whitening().projection[1:]),
    Whitening(whitening().mean[None], whitening().projection),
    Whitening(whitening().mean, whitening().projection[:, 0]),
  ],
)
def test_whitening_that_does_not_fit_is_refused(wrong):
  with pytest.raises(ValueError, match=f'{NAME} have {CHANNELS} numbers'):
    extractors.make_extractor(NAME, whitening=wrong, weights=weights())


def test_a_file_that_is_no_whitening_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'none\.npz: no such file'):
    extractors.read_whitening(tmp_path / 'none.npz')
  (tmp_path / 'junk.npz').write_bytes(b'junk')
  np.savez(tmp_path / 'half.npz', mean=np.zeros(3))
  for name in ('junk', 'half'):
    with pytest.raises(ValueError, match=f'{name}.npz is no file of whitening'):
      extractors.read_whitening(tmp_path / f'{name}.npz')


def test_the_fingerprint_is_of_all_that_is_computed_with():
  changed = jax.tree.map(np.array, weights())
  changed['params']['conv0']['kernel'][0, 0, 0, 0] += 1e-3
  other = whitening()
  other.mean[0] += 1e-3
  made = [
    dict(weights=weights()),
    dict(weights=changed),
    dict(weights=weights(), whitening=whitening()),
    dict(weights=weights(), whitening=other),
  ]
  found = [extractors.make_extractor(NAME, **o).fingerprint for o in made]
  assert len(set(found)) == len(made)
  assert found[0] == plain().fingerprint


SPEC = {'candidates': [['full']]}


def students(change=1.0):
  """Parameters of a delta network whose students are copies, times `change`."""
  net = models.create(NAME, num_classes=None)
  distilled = delta.distill(net, delta.make_spec(**SPEC))
  frame = np.zeros((1, 64, 64, 3), np.float32)
  params = distilled.init(jax.random.key(0), weights(), frame)
  scaled = jax.tree.map(lambda x: change * x, params['students'])
  return {**params, 'students': scaled}


def make_delta(params, interval):
  return extractors.make_delta_extractor(
    NAME, params, spec=SPEC, interval=interval
  )


def test_students_that_are_copies_of_their_teachers_give_the_same_regions():
  frames, expected = frames_of(6), plain()(frames_of(6))
  copies = make_delta(students(), 3)
  np.testing.assert_allclose(copies(frames), expected, atol=1e-4)
  assert copies.description == {
    'name': NAME,
    'interval': 3,
    'spec': SPEC,
    'whitened': None,
  }
  assert copies.fingerprint != plain().fingerprint


@pytest.mark.parametrize('interval', [1, 2, 3, 4])
def test_students_are_those_of_the_rollout(interval):
  net = models.create(NAME, num_classes=None)
  distilled = delta.distill(net, delta.make_spec(**SPEC))
  params, frames = students(0.5), frames_of(CHUNK, seed=1)
  maps = distilled.rollout(params, normalise(frames)[None], interval=interval)
  expected = region_pool([x[0] for x in maps])
  found = make_delta(params, interval)(frames)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('interval', [0, CHUNK + 1])
def test_an_interval_is_within_the_frames_of_a_call(interval):
  with pytest.raises(ValueError, match=f'expected 1 to {CHUNK}'):
    make_delta(students(), interval)


def test_only_frames_between_key_frames_have_students():
  frames, expected = frames_of(6), plain()(frames_of(6))
  found = make_delta(students(0.5), 3)(frames)
  far = np.abs(found - expected).max((1, 2)) > 1e-3
  # A chunk of four frames begins with a key frame too.
  np.testing.assert_array_equal(far, [0, 1, 1, 0, 0, 1])


@pytest.mark.parametrize(
  'frames',
  [
    np.zeros((2, 160, 160, 3), np.float32),
    np.zeros((160, 160, 3), np.uint8),
    np.zeros((2, 3, 160, 160), np.uint8),
  ],
)
def test_other_frames_are_refused(frames):
  with pytest.raises(ValueError, match=r'expected uint8 \[T, H, W, 3\]'):
    plain()(frames)


def test_a_video_without_frames_is_refused():
  with pytest.raises(ValueError, match='without frames'):
    plain()(np.zeros((0, 160, 160, 3), np.uint8))


def test_unknown_names_and_missing_weights_are_told():
  with pytest.raises(ValueError, match="no extractor 'vgg'; known: efficient"):
    extractors.make_extractor('vgg')
  with pytest.raises(ValueError, match='resnet50 has no packaged weights'):
    extractors.make_extractor('resnet50')


def test_weights_are_packaged_only_if_the_name_gives_them(monkeypatch):
  assert not extractors.is_packaged(plain())
  backbone = extractors._Backbone((0, 1, 2, 3), packaged=True)
  monkeypatch.setitem(extractors.EXTRACTORS, NAME, backbone)
  for seed, expected in ((0, True), (1, False)):
    monkeypatch.setattr(
      extractors, 'packaged_weights', lambda name, seed=seed: weights(seed)
    )
    assert extractors.is_packaged(plain()) == expected
