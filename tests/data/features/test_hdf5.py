"""The published HDF5 layout, read and written."""

import h5py
import numpy as np
import pytest

from deltax.data.features.hdf5 import Hdf5Features, write_hdf5
from deltax.data.features.shards.records import FeatureError
from deltax.data.features.store import FeatureStore, open_features

GZIP = {'compression': 'gzip', 'compression_opts': 9}


def regions(seed=0, shape=(5, 9, 16)):
  values = np.random.default_rng(seed).standard_normal(shape)
  return values.astype(np.float32)


@pytest.fixture
def published(tmp_path):
  """A file as the published ones were made: h5py alone, gzip 9."""
  path = tmp_path / 'features.hdf5'
  with h5py.File(path, 'w') as file:
    for k, name in enumerate(['1/1_1_Y', '1/1_2_Y', '24/24_1_Y', 'a.mp4']):
      options = {'compression': 'gzip', 'compression_opts': 9}
      file.create_dataset(name, data=regions(k), **options)
    file.create_dataset('frames', data=regions(4)[:, 0])
  return path


def test_a_published_file_is_read(published):
  features = open_features(published)
  names = ['1/1_1_Y', '1/1_2_Y', '24/24_1_Y', 'a.mp4']
  assert features.names == (*names, 'frames')
  assert len(features) == 5
  for k, name in enumerate(names):
    assert name in features
    assert features.shape(name) == (5, 9, 16)
    assert features[name].dtype == np.float32
    np.testing.assert_array_equal(features[name], regions(k))
  assert features.fingerprint is None
  assert features.description == {}


def test_features_without_regions_have_one(published):
  with Hdf5Features(published) as features:
    assert features.shape('frames') == (5, 1, 16)
    np.testing.assert_array_equal(features['frames'], regions(4)[:, :1])


@pytest.mark.parametrize('name', ['1', '', '/', 'b', '/a.mp4', '1/../a.mp4', 3])
def test_groups_and_other_spellings_are_no_videos(published, name):
  features = Hdf5Features(published)
  assert name not in features
  if isinstance(name, str):
    with pytest.raises(KeyError, match='no features of'):
      features[name]


@pytest.mark.parametrize('gzip', [9, None])
def test_a_store_is_written_as_published_and_read_back(tmp_path, gzip):
  with FeatureStore(
    tmp_path / 's', fingerprint='f', description={'name': 'x'}
  ) as store:
    for k, name in enumerate(['b', '1/1_1_Y', '1/2/3.mp4']):
      store.add(name, regions(k, (k + 1, 9, 16)))
    path = tmp_path / 'out.hdf5'
    write_hdf5(path, store, gzip=gzip)
    with h5py.File(path) as file:  # as the published reader does
      for name in store.names:
        assert file[name].dtype == np.float32
        assert file[name].compression_opts == gzip
        np.testing.assert_array_equal(file[name][:], store[name])
    features = open_features(path)
    assert set(features.names) == set(store.names)
    assert features.fingerprint == 'f'
    assert features.description == {'name': 'x'}
  assert [p.name for p in tmp_path.iterdir() if 'hdf5' in p.name] == [
    'out.hdf5'
  ]


@pytest.mark.parametrize(
  'names',
  [['a', 'a/b'], ['a/b/c', 'a'], ['a//b'], ['/a'], ['a/'], ['.'], ['\0']],
)
def test_a_name_that_hdf5_cannot_hold_is_refused(tmp_path, names):
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    for name in names:
      store.add(name, regions())
    with pytest.raises(ValueError, match='cannot be a name in an HDF5 file'):
      write_hdf5(tmp_path / 'out.hdf5', store)
  assert not list(tmp_path.glob('*out*'))


def test_damaged_features_are_named(published):
  with h5py.File(published) as file:
    chunk = file['1/1_2_Y'].id.get_chunk_info(0)
  data = bytearray(published.read_bytes())
  data[chunk.byte_offset + chunk.size // 2] ^= 0x55
  published.write_bytes(data)
  features = Hdf5Features(published)
  with pytest.raises(FeatureError, match=r"hdf5: .* '1/1_2_Y' are damaged"):
    features['1/1_2_Y']
  np.testing.assert_array_equal(features['1/1_1_Y'], regions(0))


@pytest.mark.parametrize('values', [np.zeros(3), np.zeros((2, 3), int)])
def test_what_is_no_feature_is_named(tmp_path, values):
  with h5py.File(tmp_path / 'x.hdf5', 'w') as file:
    file['odd'] = values
  with pytest.raises(FeatureError, match=r"'odd' is .* expected float"):
    Hdf5Features(tmp_path / 'x.hdf5')['odd']


def test_a_file_of_another_kind_is_refused(tmp_path):
  (tmp_path / 'x.hdf5').write_bytes(b'no HDF5' * 99)
  with pytest.raises(ValueError, match=r'x\.hdf5 is no readable HDF5 file'):
    open_features(tmp_path / 'x.hdf5')
  with pytest.raises(FileNotFoundError, match='none: no such file'):
    Hdf5Features(tmp_path / 'none')


def test_what_lies_in_another_file_is_not_read(published, tmp_path):
  """Links and data sets that lead elsewhere: one may name any file."""
  other = tmp_path / 'other.hdf5'
  with h5py.File(other, 'w') as file:
    file['secret'] = regions()
  (tmp_path / 'raw').write_bytes(regions().tobytes())
  with h5py.File(published, 'a') as file:
    file['external'] = h5py.ExternalLink(str(other), 'secret')
    file['to_itself'] = h5py.SoftLink('/to_itself')
    file['folder'] = h5py.ExternalLink(str(other), '/')
    file.create_dataset(
      'outside', (5, 9, 16), 'f4', external=str(tmp_path / 'raw')
    )
    layout = h5py.VirtualLayout((5, 9, 16), 'f4')
    layout[:] = h5py.VirtualSource(str(other), 'secret', (5, 9, 16))
    file.create_virtual_dataset('virtual', layout)
  with Hdf5Features(published) as features:
    for name in ('external', 'to_itself', 'folder/secret'):
      assert name not in features and name not in features.names
      with pytest.raises(KeyError, match='no features of'):
        features[name]
    for name in ('outside', 'virtual'):
      with pytest.raises(FeatureError, match='values lie in another file'):
        features[name]


def test_values_that_the_file_cannot_hold_take_no_memory(published):
  with h5py.File(published, 'a') as file:
    file.create_dataset('vast', (10**6, 1000, 1000), 'f4', chunks=(1, 9, 9))
    file.create_dataset('bytes', (10**9,), 'u1', chunks=(999,))
    file.create_dataset('empty', dtype='f4', data=h5py.Empty('f4'))
  with Hdf5Features(published) as features:
    with pytest.raises(FeatureError, match=r"'vast' .* are announced where 0"):
      features['vast']
    for name in ('bytes', 'empty'):
      with pytest.raises(FeatureError, match=f"'{name}' is .* expected float"):
        features[name]


def test_a_black_video_is_read_however_small_it_is_packed(tmp_path):
  with h5py.File(tmp_path / 'a.hdf5', 'w') as file:
    file.create_dataset('black', data=np.zeros((400, 9, 64), 'f4'), **GZIP)
  with Hdf5Features(tmp_path / 'a.hdf5') as features:
    assert not features['black'].any()


@pytest.mark.parametrize(
  ('attribute', 'value'),
  [
    ('fingerprint', 3),
    ('fingerprint', np.arange(3)),
    ('description', 3),
    ('description', '[1'),
    ('description', '[]'),
    ('description', b'\xff'),
  ],
)
def test_attributes_are_texts_or_refused(published, attribute, value):
  with h5py.File(published, 'a') as file:
    file.attrs[attribute] = value
  with Hdf5Features(published) as features:
    with pytest.raises(FeatureError, match=f'its {attribute} is damaged'):
      getattr(features, attribute)


def test_a_list_of_no_known_kind_does_not_end_the_process(published):
  with h5py.File(published, 'a') as file:
    file.attrs['fingerprint'] = 'ab12'
  content = bytearray(published.read_bytes())
  kind = content.index(b'\x19\x01\x01', content.index(b'fingerprint'))
  content[kind + 1] = 0x09  # a text is 1, a list 0
  published.write_bytes(content)
  with Hdf5Features(published) as features:
    with pytest.raises(FeatureError, match='its fingerprint is damaged'):
      print(features.fingerprint)


def test_a_damaged_list_of_names_is_refused(published):
  content = published.read_bytes()
  published.write_bytes(content.replace(b'SNOD', b'SNOX'))
  with Hdf5Features(published) as features:
    with pytest.raises(FeatureError, match='its list of names is damaged'):
      print(features.names)


@pytest.mark.parametrize('size', [0, 2**64 - 8, 2**63])
def test_a_heap_in_which_hdf5_never_ends_is_refused(published, size):
  with h5py.File(published, 'a') as file:
    file.attrs['fingerprint'] = 'ab12'
  with Hdf5Features(published) as features:
    assert features.fingerprint == 'ab12'
  content = bytearray(published.read_bytes())
  heap = content.index(b'GCOL')
  free = heap + 16 + 16 + 8  # behind the text, which takes eight bytes
  assert content[free : free + 2] == b'\0\0'
  content[free + 8 : free + 16] = size.to_bytes(8, 'little')
  published.write_bytes(content)
  with Hdf5Features(published) as features:
    with pytest.raises(FeatureError, match='in its heap has an impossible siz'):
      print(features.fingerprint)
