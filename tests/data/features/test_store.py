"""The feature store: what goes in comes out, whatever happens in between."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from deltax.data.features.shards.records import FeatureError
from deltax.data.features.store import FeatureStore, open_features

NAMES = [
  'a.mp4',
  'b/c/d.mp4',
  'b/c',
  'Übung 1\n',
  '',
  '..',
  '\udcff',
  'x' * 5000,
]

# Adds videos for ever and tells each name once it is added.
CHILD = """
import sys
import zlib
import numpy as np
from deltax.data.features.store import FeatureStore
with FeatureStore(sys.argv[1], fingerprint='f') as store:
  while True:
    k = len(store)
    regions = np.random.default_rng(k).standard_normal((40 + k, 9, 64))
    store.add(f'video {k}', regions.astype(np.float32))
    print(k, flush=True)
"""


def regions(seed=0, shape=(5, 4, 3)):
  values = np.random.default_rng(seed).standard_normal(shape)
  return values.astype(np.float32)


def filled(folder, count=3, **options):
  """A closed store of a few small videos."""
  with FeatureStore(folder, fingerprint='f', **options) as store:
    for k in range(count):
      store.add(f'v{k}', regions(k))
  return folder


def shards(folder):
  return sorted(folder.glob('shard-*'))


def test_what_was_added_is_read_back_bit_by_bit(tmp_path):
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    for k, name in enumerate(NAMES):
      store.add(name, regions(k, (k + 1, 9, 16)))
      np.testing.assert_array_equal(store[name], regions(k, (k + 1, 9, 16)))
  store = open_features(tmp_path / 's')
  assert store.names == tuple(NAMES)
  assert len(store) == len(NAMES)
  for k, name in enumerate(NAMES):
    assert name in store
    assert store.shape(name) == (k + 1, 9, 16)
    assert store[name].dtype == np.float32
    np.testing.assert_array_equal(store[name], regions(k, (k + 1, 9, 16)))


def test_half_the_bytes_keep_half_the_digits(tmp_path):
  filled(tmp_path / 'full')
  filled(tmp_path / 'half', dtype='float16')
  store = FeatureStore(tmp_path / 'half')
  assert store.dtype == 'float16'
  assert store['v1'].dtype == np.float32
  expected = regions(1).astype(np.float16).astype(np.float32)
  np.testing.assert_array_equal(store['v1'], expected)
  full, half = (
    shards(tmp_path / x)[0].stat().st_size for x in ('full', 'half')
  )
  assert full - half == 3 * 2 * regions().size


def test_a_store_tells_what_made_it(tmp_path):
  description = {'name': 'colours', 'whitened': None}
  filled(tmp_path / 's', description=description)
  store = FeatureStore(tmp_path / 's')
  assert store.description == description
  assert store.fingerprint == 'f'


def test_a_store_is_not_continued_with_other_features(tmp_path):
  filled(tmp_path / 's')
  with pytest.raises(ValueError, match=r'fingerprint f; it cannot .* with g'):
    FeatureStore(tmp_path / 's', fingerprint='g')
  with pytest.raises(ValueError, match=r'dtype float32; it cannot .* float16'):
    FeatureStore(tmp_path / 's', fingerprint='f', dtype='float16')
  with pytest.raises(ValueError, match='known: float32, float16'):
    FeatureStore(tmp_path / 's', fingerprint='f', dtype='int8')
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    store.add('more', regions())
  assert FeatureStore(tmp_path / 's').names == ('v0', 'v1', 'v2', 'more')


def test_one_adds_while_others_read(tmp_path):
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    store.add('a', regions(1))
    with pytest.raises(ValueError, match='is being added to already'):
      FeatureStore(tmp_path / 's', fingerprint='f')
    reader = FeatureStore(tmp_path / 's')
    store.add('b', regions(2))
    assert reader.names == ('a',)
    np.testing.assert_array_equal(reader['a'], regions(1))
    assert FeatureStore(tmp_path / 's').names == ('a', 'b')
  FeatureStore(tmp_path / 's', fingerprint='f').close()


def test_a_store_that_is_open_for_reading_takes_nothing(tmp_path):
  store = FeatureStore(filled(tmp_path / 's'))
  with pytest.raises(ValueError, match='open for reading'):
    store.add('w', regions())


@pytest.mark.parametrize(
  ('name', 'values', 'message'),
  [
    ('v0', regions(), "already has features of 'v0'"),
    ('w', regions()[0], r'got float32 \[4, 3\]'),
    ('w', regions()[:0], r'got float32 \[0, 4, 3\]'),
    ('w', regions().astype(int), 'got int64'),
    ('w', regions() * np.nan, 'not all regions are finite'),
    ('w', regions() * 1e6, 'not all regions are finite as float16'),
    ('w' * 2**16, regions(), 'at most 65535 bytes'),
  ],
)
def test_bad_features_are_refused_and_nothing_is_written(
  tmp_path, name, values, message
):
  filled(tmp_path / 's', dtype='float16')
  before = shards(tmp_path / 's')[0].read_bytes()
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    with pytest.raises(ValueError, match=message):
      store.add(name, values)
    assert store.names == ('v0', 'v1', 'v2')
  assert shards(tmp_path / 's')[0].read_bytes() == before


def test_a_missing_video_and_a_missing_store_are_named(tmp_path):
  with pytest.raises(KeyError, match="no features of 'w'"):
    FeatureStore(filled(tmp_path / 's'))['w']
  with pytest.raises(FileNotFoundError, match='none: no feature store there'):
    open_features(tmp_path / 'none')


@pytest.mark.parametrize('about', ['', '[]', '{"version": 99}'])
def test_a_folder_of_another_kind_is_refused(tmp_path, about):
  (filled(tmp_path / 's') / 'store.json').write_text(about)
  with pytest.raises(ValueError, match=r'damaged|version 99, expected 1'):
    FeatureStore(tmp_path / 's')


def test_large_stores_have_several_shards(tmp_path, monkeypatch):
  monkeypatch.setattr('deltax.data.features.store._SHARD_BYTES', 500)
  filled(tmp_path / 's', 7)
  assert len(shards(tmp_path / 's')) > 2
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    store.add('more', regions(99))
  for forget in (False, True):
    if forget:
      (tmp_path / 's' / 'index').unlink()
    store = FeatureStore(tmp_path / 's')
    assert store.names == (*(f'v{k}' for k in range(7)), 'more')
    for k in range(7):
      np.testing.assert_array_equal(store[f'v{k}'], regions(k))


@pytest.mark.parametrize('damage', ['missing', 'old', 'flipped', 'cut'])
def test_without_a_right_index_the_shards_tell(tmp_path, damage):
  index = filled(tmp_path / 's', 2) / 'index'
  old = index.read_bytes()
  with FeatureStore(tmp_path / 's', fingerprint='f') as store:
    store.add('v2', regions(2))
  new = bytearray(index.read_bytes())
  new[-20] ^= 1
  if damage == 'missing':
    index.unlink()
  else:
    content = {'old': old, 'flipped': bytes(new), 'cut': old[:-9]}
    index.write_bytes(content[damage])
  store = FeatureStore(tmp_path / 's')
  assert store.names == ('v0', 'v1', 'v2')
  for k in range(3):
    np.testing.assert_array_equal(store[f'v{k}'], regions(k))


def test_a_shard_cut_anywhere_loses_only_what_was_cut(tmp_path):
  """Every moment of a kill: the file ends at each byte of the last record."""
  folder = filled(tmp_path / 's', 2)
  index = folder / 'index'
  (shard,) = shards(folder)
  whole, first = shard.read_bytes(), FeatureStore(folder)._locations['v0'].end
  index.unlink()
  for length in range(first, len(whole) + 1):
    shard.write_bytes(whole[:length])
    kept = ('v0', 'v1') if length == len(whole) else ('v0',)
    assert FeatureStore(folder).names == kept
    with FeatureStore(folder, fingerprint='f') as store:
      assert store.names == kept
      store.add('new', regions(7))
    index.unlink()
    store = FeatureStore(folder)
    assert store.names == (*kept, 'new')
    np.testing.assert_array_equal(store['v0'], regions(0))
    np.testing.assert_array_equal(store['new'], regions(7))


def test_any_flipped_byte_is_found_and_named(tmp_path):
  folder = filled(tmp_path / 's')
  (shard,) = shards(folder)
  whole = shard.read_bytes()
  entry = FeatureStore(folder)._locations['v1']
  for place in range(entry.start, entry.end):
    damaged = bytearray(whole)
    damaged[place] ^= 1 << place % 8
    shard.write_bytes(damaged)
    store = FeatureStore(folder)
    with pytest.raises(FeatureError, match=r"shard-00000: .* 'v1' are damaged"):
      store['v1']
    np.testing.assert_array_equal(store['v0'], regions(0))
    np.testing.assert_array_equal(store['v2'], regions(2))


def test_without_an_index_a_flipped_byte_costs_one_video(tmp_path):
  folder = filled(tmp_path / 's')
  (folder / 'index').unlink()
  (shard,) = shards(folder)
  whole = shard.read_bytes()
  length = len(whole) // 3
  missing = 0
  for place in range(length, 2 * length):
    damaged = bytearray(whole)
    damaged[place] ^= 1 << place % 8
    shard.write_bytes(damaged)
    store = FeatureStore(folder)
    if 'v1' in store:
      with pytest.raises(FeatureError, match="'v1' are damaged"):
        store['v1']
    missing += 'v1' not in store
    np.testing.assert_array_equal(store['v0'], regions(0))
    np.testing.assert_array_equal(store['v2'], regions(2))
  assert missing == length - regions().nbytes  # all of the header


def test_values_that_never_reached_the_disk_are_dropped(tmp_path):
  """A power failure: the file is long enough, but ends in zeros."""
  folder = filled(tmp_path / 's')
  (folder / 'index').unlink()
  (shard,) = shards(folder)
  whole = shard.read_bytes()
  shard.write_bytes(whole[:-40] + bytes(40))
  with FeatureStore(folder, fingerprint='f') as store:
    assert store.names == ('v0', 'v1')
    store.add('v2', regions(2))
  assert shard.read_bytes() == whole


@pytest.mark.parametrize(
  'error', [OSError(errno.ENOSPC, 'full'), KeyboardInterrupt()]
)
def test_a_failed_write_leaves_no_half_record(tmp_path, monkeypatch, error):
  def failing(_):
    raise error

  folder = filled(tmp_path / 's')
  (shard,) = shards(folder)
  before = shard.read_bytes()
  with FeatureStore(folder, fingerprint='f') as store:
    with monkeypatch.context() as patch:
      patch.setattr(os, 'fsync', failing)
      with pytest.raises(type(error)):
        store.add('w', regions())
    assert 'w' not in store
    assert shard.read_bytes() == before
    store.add('w', regions(8))
  np.testing.assert_array_equal(FeatureStore(folder)['w'], regions(8))


def test_a_full_disk_is_told_and_what_was_added_stays(tmp_path, full_disk):
  folder = filled(tmp_path / 's')
  with (
    full_disk() as fill,
    pytest.raises(OSError, match=r"File too large: '.*/s/(shard-00000|index)'"),
    FeatureStore(folder, fingerprint='f') as store,
  ):
    fill()
    store.add('w', regions())
  assert FeatureStore(folder).names == ('v0', 'v1', 'v2')
  with FeatureStore(folder, fingerprint='f') as store:
    store.add('w', regions(8))
  np.testing.assert_array_equal(FeatureStore(folder)['w'], regions(8))


def test_a_shard_cut_under_a_reader_is_told_and_the_rest_is_read(tmp_path):
  store = FeatureStore(filled(tmp_path / 's'))
  (shard,) = shards(store.folder)
  os.truncate(shard, shard.stat().st_size - 9)
  with pytest.raises(FeatureError, match=r"features of 'v2' are damaged"):
    store['v2']
  np.testing.assert_array_equal(store['v1'], regions(1))


def test_a_killed_process_loses_nothing_that_it_added(tmp_path):
  folder, told = tmp_path / 's', 0
  for added in (1, 7, 20):
    child = subprocess.Popen(
      [sys.executable, '-c', CHILD, str(folder)],
      stdout=subprocess.PIPE,
      text=True,
    )
    with child:
      first = int(child.stdout.readline())
      assert first in (told, told + 1)  # it goes on where the last one was
      for _ in range(added):
        told = int(child.stdout.readline()) + 1
      child.send_signal(signal.SIGKILL)
      rest = child.stdout.read().split()
    told = max([told, *(int(k) + 1 for k in rest)])
    store = FeatureStore(folder)
    assert not (folder / 'index').exists()
    assert store.names[:told] == tuple(f'video {k}' for k in range(told))
    assert len(store) in (told, told + 1)  # added, but not told any more
    for k, name in enumerate(store.names):
      rng = np.random.default_rng(k)
      expected = rng.standard_normal((40 + k, 9, 64)).astype(np.float32)
      np.testing.assert_array_equal(store[name], expected)


def sealed(folder, change):
  """Changes the list of records, and gives it the right checksum."""
  path = folder / 'index'
  listed = json.loads(path.read_text().partition('\n')[2])
  text = json.dumps(change(listed))
  path.write_text(f'{zlib.crc32(text.encode()):08x}\n{text}')


def record(at, value):
  def change(listed):
    listed['records'][0][at] = value
    return listed

  return change


@pytest.mark.parametrize(
  'change',
  [
    lambda listed: [],
    lambda listed: {'records': [], 'ends': {'x': 1}},
    lambda listed: {**listed, 'ends': {'0': 10**12}},
    lambda listed: {**listed, 'records': [['a', 0, 0]]},
    record(0, 3),
    record(1, 7),
    record(2, -1),
    record(3, 10**12),
    record(3, 0),
    record(4, [5]),
    record(4, [5, 4, '3']),
    record(1, None),
  ],
)
def test_a_list_of_what_is_not_there_is_left_aside(tmp_path, change):
  folder = filled(tmp_path / 's')
  with FeatureStore(folder) as store:
    expected = {name: store[name] for name in store.names}
  sealed(folder, change)
  with FeatureStore(folder) as store:
    assert set(store.names) == set(expected)
    for name, values in expected.items():
      np.testing.assert_array_equal(store[name], values)


def test_a_list_that_tells_another_shape_is_refused(tmp_path):
  folder = filled(tmp_path / 's')
  sealed(folder, record(4, [4, 5, 3]))
  with FeatureStore(folder) as store:
    name = store.names[0]
    with pytest.raises(FeatureError, match='are damaged'):
      store[name]


@pytest.mark.parametrize(
  ('name', 'size'), [(b'\xff', 4), (b'a', 3), (b'a', 0), (b'a', 65535)]
)
def test_a_record_of_no_known_kind_is_passed_over(tmp_path, name, size):
  folder = filled(tmp_path / 's')
  fields = struct.pack('<4s2H4I', b'\xd7DXF', len(name), size, 1, 1, 1, 0)
  checked = struct.pack('<I', zlib.crc32(fields + name))
  with FeatureStore(folder) as store:
    before = store.names
  with open(folder / 'shard-00000', 'ab') as file:
    file.write(fields + checked + name + b'1234' * 20_000)
  (folder / 'shard-x').write_bytes(b'of somebody else')
  (folder / 'index').unlink()
  with FeatureStore(folder) as store:
    assert store.names == before


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'dtype': 'float64'}, 'dtype is .float64., expected one of float32'),
    ({'dtype': ['float32']}, 'dtype is a list'),
    ({'fingerprint': None}, 'fingerprint is None, expected a text'),
    ({'description': []}, 'description is a list, expected an object'),
  ],
)
def test_what_a_store_says_of_itself_is_checked(tmp_path, change, message):
  folder = filled(tmp_path / 's')
  about = json.loads((folder / 'store.json').read_text())
  (folder / 'store.json').write_text(json.dumps({**about, **change}))
  with pytest.raises(ValueError, match=rf'store\.json is damaged: {message}'):
    FeatureStore(folder)
