"""Systems on the disk: what is loaded is what was saved, or it is refused."""

import json

import jax
import numpy as np
import pytest
import small_backbone
from small_backbone import CHANNELS, NAME, Small

from deltax import delta, models, retrieval
from deltax.retrieval.calibration import UNCALIBRATED, Calibration
from deltax.retrieval.fitting import Whitening
from deltax.retrieval.system import encode
from deltax.systems import extractors, folder
from deltax.systems.folder import Part

SIZE = 32


@pytest.fixture(scope='module', autouse=True)
def small_network():
  with small_backbone.installed():
    yield


@pytest.fixture(scope='module')
def weights(small_network):
  frame = np.zeros((1, 112, 112, 3), np.float32)
  init = jax.jit(Small(None).init)
  return jax.device_get(init(jax.random.key(0), frame))


@pytest.fixture(scope='module')
def extractor(weights):
  draw = np.random.default_rng(0)
  whitening = Whitening(
    draw.standard_normal(CHANNELS).astype(np.float32),
    draw.standard_normal((CHANNELS, SIZE)).astype(np.float32),
  )
  return extractors.make_extractor(NAME, whitening=whitening, weights=weights)


def part(name, *inputs, **options):
  net = retrieval.create(name, **options)
  init = jax.jit(lambda key: net.init(key, *inputs))
  return Part(name, options, jax.device_get(init(jax.random.key(1))))


@pytest.fixture(scope='module')
def system(extractor):
  video, score = np.zeros((1, 8, 1, SIZE), np.float32), np.zeros(1, np.float32)
  parts = {
    'coarse': part('coarse', video, clusters=3, size=8, heads=2, hidden=8),
    'fine': part('fine_binary', video, video),
    'selector': part('selector', video, video, None, None, score, hidden=4),
  }
  return folder.make_system(extractor, parts)


@pytest.fixture
def saved(system, tmp_path):
  folder.save_system(tmp_path / 'more' / 'system', system)
  return tmp_path / 'more' / 'system'


def codes(system):
  draw = np.random.default_rng(1)
  frames = draw.integers(0, 256, (6, 14, 14, 3)).astype(np.uint8)
  return encode(system, system.extract(frames.repeat(8, 1).repeat(8, 2)))


def test_a_loaded_system_gives_the_same_codes(system, saved):
  loaded = folder.open_system(saved)
  assert loaded.fingerprint == system.fingerprint
  assert loaded.description == system.description
  assert sorted(p.name for p in saved.parent.iterdir()) == ['system']
  for found, expected in zip(codes(loaded), codes(system), strict=True):
    np.testing.assert_array_equal(found, expected)


def test_a_system_that_needs_no_training_is_saved_too(extractor, tmp_path):
  made = folder.make_system(extractor)
  assert made.selector is None
  folder.save_system(tmp_path / 'plain', made)
  loaded = folder.open_system(tmp_path / 'plain')
  assert loaded.fingerprint == made.fingerprint
  assert loaded.selector is None


def test_packaged_weights_are_not_copied_but_others_are(
  system, weights, tmp_path, monkeypatch
):
  backbone = extractors._Backbone((0, 1, 2, 3), packaged=True)
  monkeypatch.setitem(extractors.EXTRACTORS, NAME, backbone)
  other = jax.tree.map(lambda x: x + 1, weights)
  for name, packaged in (('same', weights), ('other', other)):
    monkeypatch.setattr(
      extractors, 'packaged_weights', lambda _, own=packaged: own
    )
    folder.save_system(tmp_path / name, system)
    with np.load(tmp_path / name / 'arrays.npz') as file:
      copied = any(key.startswith('backbone/') for key in file)
    assert copied == (name == 'other')
    loaded = folder.open_system(tmp_path / name)
    assert loaded.fingerprint == system.fingerprint
  # 'same' was saved without its weights, and the package has changed since.
  with pytest.raises(ValueError, match='the packaged weights have changed'):
    folder.open_system(tmp_path / 'same')


def test_changed_arrays_are_refused(saved):
  path = saved / 'arrays.npz'
  with np.load(path) as file:
    arrays = dict(file)
  key = next(name for name in arrays if name.startswith('coarse/'))
  arrays[key] = arrays[key] + np.float32(1e-3)
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=r'was saved as .* and is now'):
    folder.open_system(saved)


def test_a_file_that_was_cut_is_refused(saved):
  path = saved / 'arrays.npz'
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(ValueError, match=r'arrays\.npz is broken'):
    folder.open_system(saved)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda about: about.update(version=2), 'has version 2; this library: 1'),
    (lambda about: about.pop('version'), "is broken .*'version'"),
    (lambda about: about.pop('fingerprint'), "is broken .*'fingerprint'"),
    (lambda about: about.pop('description'), "is broken .*'description'"),
    (lambda about: about['description'].pop('fine'), "is broken .*'fine'"),
    (
      lambda about: about['description']['fine'].update(options={'index': 'x'}),
      "no index 'x'|was saved as",
    ),
  ],
)
def test_a_changed_description_is_refused(saved, change, message):
  path = saved / 'system.json'
  about = json.loads(path.read_text())
  change(about)
  path.write_text(json.dumps(about))
  with pytest.raises(ValueError, match=message):
    folder.open_system(saved)


def test_a_folder_without_a_system_is_named(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r'holds no system: no system\.json'
  ):
    folder.open_system(tmp_path)
  (tmp_path / 'system.json').write_text('junk')
  with pytest.raises(ValueError, match=r'system\.json is broken'):
    folder.open_system(tmp_path)


def test_a_calibration_is_saved_and_an_older_system_has_none(system, tmp_path):
  scale = Calibration((3.0, -1.5), (4.0, -2.0), 0.25, 5.0)
  folder.save_system(tmp_path / 's', system._replace(calibration=scale))
  assert folder.open_system(tmp_path / 's').calibration == scale
  path = tmp_path / 's/system.json'
  about = json.loads(path.read_text())
  del about['calibration']
  path.write_text(json.dumps(about))
  opened = folder.open_system(tmp_path / 's')
  assert opened.calibration == UNCALIBRATED
  assert opened.fingerprint == system.fingerprint


def test_nothing_is_overwritten(system, saved):
  before = (saved / 'arrays.npz').read_bytes()
  with pytest.raises(FileExistsError, match='is there already'):
    folder.save_system(saved, system)
  assert (saved / 'arrays.npz').read_bytes() == before


@pytest.fixture
def with_students(weights):
  spec = {'candidates': [['full']]}
  distilled = delta.distill(Small(None), delta.make_spec(**spec))
  frame = np.zeros((1, 112, 112, 3), np.float32)
  params = distilled.init(jax.random.key(0), weights, frame)
  halves = jax.tree.map(lambda x: x / 2 + 0.01, params['students'])
  extractor = extractors.make_delta_extractor(
    NAME, {**params, 'students': halves}, spec=spec, interval=2
  )
  return folder.make_system(extractor)


def test_an_extractor_with_students_is_saved_with_them(with_students, tmp_path):
  folder.save_system(tmp_path / 'system', with_students)
  loaded = folder.open_system(tmp_path / 'system')
  assert loaded.fingerprint == with_students.fingerprint
  assert loaded.description == with_students.description
  assert loaded.description['extractor']['interval'] == 2
  for found, expected in zip(codes(loaded), codes(with_students), strict=True):
    np.testing.assert_array_equal(found, expected)


def test_students_of_blocks_are_saved_too(tmp_path, monkeypatch):
  """Their parameters are lists, with an array for each input."""
  name = 'efficientnet_tiny'
  backbone = extractors._Backbone((6,), packaged=False)
  monkeypatch.setitem(extractors.EXTRACTORS, name, backbone)
  spec = {
    'blocks': ['InvertedResidual'],
    'block_candidates': [['residual', 2, 1]],
    'candidates': [['teacher']],
  }
  net = models.create(name, num_classes=None)
  frame = np.zeros((1, 112, 112, 3), np.float32)
  params = delta.distill(net, delta.make_spec(**spec)).init(
    jax.random.key(0), net.init(jax.random.key(1), frame), frame
  )
  made = folder.make_system(
    extractors.make_delta_extractor(name, params, spec=spec, interval=2)
  )
  folder.save_system(tmp_path / 'system', made)
  loaded = folder.open_system(tmp_path / 'system')
  draw = np.random.default_rng(2)
  frames = draw.integers(0, 256, (4, 112, 112, 3), np.uint8)
  np.testing.assert_array_equal(loaded.extract(frames), made.extract(frames))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'interval': -1}, 'its extractor is damaged: interval is -1'),
    ({'interval': 99}, 'an interval of 99 frames; expected 1 to'),
    ({'spec': {'candidates': [['vgg']]}}, "no candidate 'vgg'"),
    ({'spec': 3}, 'spec is 3, expected'),
    ({'interval': 1}, r'was saved as .* and is now'),
  ],
)
def test_a_changed_description_of_students_is_refused(
  with_students, tmp_path, change, message
):
  folder.save_system(tmp_path / 'system', with_students)
  path = tmp_path / 'system' / 'system.json'
  about = json.loads(path.read_text())
  about['description']['extractor'].update(change)
  path.write_text(json.dumps(about))
  with pytest.raises(ValueError, match=message):
    folder.open_system(tmp_path / 'system')


def test_a_system_has_all_its_parts(extractor):
  with pytest.raises(ValueError, match='the parts coarse, fine, selector; got'):
    folder.make_system(extractor, {'coarse': None, 'find': None})


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda about: about.update(version=[1]), 'has version'),
    (lambda about: about.update(fingerprint=3), 'fingerprint is 3, expected'),
    (lambda about: about['description'].update(fine=3), 'fine is 3, expected'),
    (
      lambda about: about['description']['fine'].update(options=[1]),
      r'fine is an object, expected null, or an object with a name and options',
    ),
    (
      lambda about: about['description']['fine'].update(options={'size': 3}),
      "'fine_binary' has no option size; known: ",
    ),
    (
      lambda about: about['description']['extractor'].update(name={}),
      'name is an object, expected a text',
    ),
    (
      lambda about: about['calibration'].update(fine=[1]),
      'fine has 1 values, expected 2',
    ),
    (
      lambda about: about['calibration'].update(threshold='high'),
      "threshold is 'high', expected a finite number",
    ),
  ],
)
def test_values_of_another_type_are_refused(saved, change, message):
  path = saved / 'system.json'
  about = json.loads(path.read_text())
  change(about)
  path.write_text(json.dumps(about))
  with pytest.raises(ValueError, match=message) as error:
    folder.open_system(saved)
  assert str(saved) in str(error.value)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda arrays: arrays.update(whitening=np.zeros(3)), 'broken'),
    (lambda arrays: arrays.pop('whitening/mean'), 'mean'),
    (
      lambda arrays: arrays.pop('backbone/params/conv0/kernel'),
      'the weights do not fit small_for_tests',
    ),
    (lambda arrays: arrays.update({'coarse/params': np.zeros(1)}), 'saved as'),
  ],
)
def test_arrays_that_make_no_system_are_refused(saved, change, message):
  path = saved / 'arrays.npz'
  with np.load(path) as file:
    arrays = dict(file)
  change(arrays)
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=message) as error:
    folder.open_system(saved)
  assert str(saved) in str(error.value) and '\n' not in str(error.value)
