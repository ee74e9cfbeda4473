"""Files of weights in every form come back as written; damage is told."""

import json
import zipfile

import flax.serialization
import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch_states
import torch_writer
from flax import nnx, traverse_util
from nnx_networks import ConvNeXt

from deltax import delta, models
from deltax.convert import packaged, weights
from deltax.convert.state_dict import shapes_of
from deltax.convert.weights.names import pairs_by_name


@pytest.fixture(scope='module')
def real():
  """A network of the size that people use, and its variables."""
  shapes = shapes_of(models.create('ddrnet23_slim', num_classes=19))
  return shapes, torch_states.drawn(shapes)


@pytest.fixture(scope='module')
def graph():
  """The same of nnx, whose blocks are in a list."""
  net = ConvNeXt(rngs=nnx.Rngs(0))
  shapes = delta.as_network(net).taken(nnx.state(net))
  return shapes, torch_states.drawn(shapes)


def flat(variables, between='/'):
  return {
    between.join(map(str, path)): np.asarray(leaf)
    for path, leaf in traverse_util.flatten_dict(variables).items()
  }


def write_npz(path, variables):
  np.savez(path, **flat(variables))


def write_safetensors(path, variables):
  header, start, names = {}, 0, flat(variables, '.')
  for key, array in names.items():
    header[key] = {
      'dtype': {'float32': 'F32', 'bfloat16': 'BF16'}[array.dtype.name],
      'shape': array.shape,
      'data_offsets': (start, start := start + array.nbytes),
    }
  content = json.dumps(header).encode()
  with open(path, 'wb') as file:
    file.write(len(content).to_bytes(8, 'little') + content)
    for array in names.values():
      file.write(array.tobytes())


def write_msgpack(path, variables):
  path.write_bytes(flax.serialization.to_bytes(variables))


def write_orbax(path, variables):
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, variables)


def write_step(path, variables):
  with ocp.CheckpointManager(path) as manager:
    for step in (9, 10):
      args = ocp.args.StandardSave(variables if step == 10 else {'a': 1})
      manager.save(step, args=args)


def write_hdf5(path, variables):
  with h5py.File(path, 'w') as file:
    for key, array in flat(variables).items():
      file[key] = array


def write_torch(path, variables):
  state = torch_states.plain_state(variables)
  tensors = {
    f'module.{key}': torch_writer.Tensor(torch_writer.Storage(array, str(i)))
    for i, (key, array) in enumerate(state.items())
  }
  torch_writer.save(path, {'state_dict': tensors, 'epoch': 3})


def write_keras(path, variables):
  """A layer's arrays by their numbers, in the order of Keras."""
  order = ('kernel', 'scale', 'bias', 'mean', 'var')
  places = {}
  for (_, *modules, leaf), array in traverse_util.flatten_dict(
    variables
  ).items():
    places.setdefault('/'.join(map(str, modules)), {})[leaf] = array
  with h5py.File(path, 'w') as file:
    for place, own in places.items():
      for number, leaf in enumerate(sorted(own, key=order.index)):
        file[f'layers/{place}/vars/{number}'] = own[leaf]
    file['optimizer/vars/0'] = np.zeros(3)
    file['layers/drop/seed_generator/vars/0'] = np.zeros(2, np.uint32)


def write_named_keras(path, variables):
  """Layers are numbered by kind, and have their names besides."""
  write_keras(path, variables)
  with h5py.File(path, 'a') as file:
    places = {key.rpartition('/')[0] for key in weights.read_arrays(path)}
    for number, place in enumerate(sorted(places)):
      _, *modules, vars_ = place.split('/')
      if 'layers' in place and 'seed_generator' not in modules:
        kind = f'kinds/layers/kind_{number}/{vars_}'
        file.copy(file[place], kind)
        file[kind].attrs['name'] = '_'.join(modules)
    del file['layers']


def write_old_keras(path, variables):
  names = {'scale': 'gamma', 'mean': 'moving_mean', 'var': 'moving_variance'}
  with h5py.File(path, 'w') as file:
    for (_, *modules, leaf), array in traverse_util.flatten_dict(
      variables
    ).items():
      place = '_'.join(map(str, modules))
      name = f'{place}/{place}/{names.get(leaf, leaf)}:0'
      file[f'model_weights/{name}'] = array
      file[f'optimizer_weights/Adam/m/{name}'] = array
    file['model_weights'].attrs['layer_names'] = ['a', 'b']


WRITERS = {
  'a.npz': write_npz,
  'a.safetensors': write_safetensors,
  'a.msgpack': write_msgpack,
  'a.h5': write_hdf5,
  'a.weights.h5': write_keras,
  'named.weights.h5': write_named_keras,
  'old.h5': write_old_keras,
  'a.pth': write_torch,
  'folder': write_orbax,
  'manager': write_step,
}


@pytest.mark.parametrize('name', WRITERS)
def test_a_real_network_comes_back_from_every_form(real, tmp_path, name):
  shapes, variables = real
  WRITERS[name](tmp_path / name, variables)
  arrays = weights.read_arrays(tmp_path / name)
  same(weights.match(arrays, shapes), variables)


@pytest.mark.parametrize(
  'name', ['a.npz', 'a.safetensors', 'a.msgpack', 'a.h5', 'folder']
)
def test_a_network_of_nnx_comes_back(graph, tmp_path, name):
  shapes, variables = graph
  text = flax.serialization.to_state_dict(variables)
  WRITERS[name](tmp_path / name, text if name == 'a.msgpack' else variables)
  same(weights.match(weights.read_arrays(tmp_path / name), shapes), variables)


def test_the_state_of_nnx_as_orbax_has_it_comes_back(graph, tmp_path):
  net = ConvNeXt(rngs=nnx.Rngs(1))
  write_orbax(tmp_path / 'state', nnx.state(net))
  found = weights.match(weights.read_arrays(tmp_path / 'state'), graph[0])
  same(found, delta.as_network(net).taken(nnx.state(net)))


def test_a_state_of_training_gives_its_parameters(tmp_path, graph):
  shapes, variables = graph
  state = flax.serialization.to_state_dict(
    {'params': variables['params'], 'opt_state': [variables, {}], 'step': 4}
  )
  write_msgpack(tmp_path / 'a', state)
  same(weights.match(weights.read_arrays(tmp_path / 'a'), shapes), variables)


@pytest.mark.parametrize('name', ['efficientdet_tiny', 'faster_rcnn_tiny'])
def test_names_of_pytorch_are_those_of_networks_of_ours(name):
  shapes = shapes_of(models.create(name, num_classes=5))
  variables = torch_states.drawn(shapes)
  same(weights.match(torch_states.plain_state(variables), shapes), variables)


def test_a_published_file_of_pytorch_fits_by_name_and_by_table():
  name = 'efficientnet_lite0'
  package = packaged._PACKAGES[name]
  try:
    path = packaged._file(package, name)
  except ModuleNotFoundError:
    pytest.skip('its package is not installed')
  arrays = weights.read_arrays(path)
  expected = packaged.packaged_weights(name)
  by_name = {package.rename(key): array for key, array in arrays.items()}
  same(weights.match(by_name, expected), expected)
  keys = {package.rename(key): key for key in arrays}
  paths = pairs_by_name(flat(expected), keys)
  table = {path: keys[key] for path, key in paths.items()}
  same(weights.match(arrays, expected, table), expected)


def test_halves_stay_what_they_are(tmp_path):
  variables = {'a': {'b': np.arange(6).reshape(2, 3).astype('bfloat16')}}
  for name in ('a.npz', 'a.safetensors', 'a.msgpack', 'a.h5', 'folder'):
    WRITERS[name](tmp_path / name, variables)
    (array,) = weights.read_arrays(tmp_path / name).values()
    assert array.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(array, variables['a']['b'])


def test_an_array_in_parts_is_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(flax.serialization, 'MAX_CHUNK_SIZE', 16)
  array = np.arange(30, dtype=np.float32).reshape(2, 5, 3)
  write_msgpack(tmp_path / 'a', {'x': {'y': array}, 'n': np.float32(2)})
  found = weights.read_arrays(tmp_path / 'a')
  np.testing.assert_array_equal(found['x/y'], array)
  assert found['n'] == 2 and list(found) == ['x/y', 'n']


def same(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def packed(shape, name, content, code=1):
  array = msgpack.packb((shape, name, content))
  return msgpack.packb({'a': msgpack.ExtType(code, array)})


@pytest.mark.parametrize(
  ('name', 'content', 'told'),
  [
    ('a', b'', 'is no PyTorch file'),
    ('a', b'not weights at all', 'is no PyTorch file'),
    ('a', packed((2,), 'float32', b'1234'), 'has 4 bytes of values, float32'),
    ('a', packed((2,), 'object', b'1234' * 4), 'a is damaged: '),
    ('a', packed((2,), 'U1', b'1234' * 2), 'a is damaged: '),
    ('a', packed((-1,), 'float32', b'1234'), 'has the shape'),
    ('a', packed((2,), 'float32', b'1234' * 2)[:-3], 'a is damaged: '),
    ('a', msgpack.packb({'a': 3, 'b': None}), 'a holds no arrays'),
    ('a', b'\x81\xa1a' * 150 + b'\x01', 'nested more than 100 deep'),
    ('a', b'\x89HDF\r\n\x1a\n' + bytes(100), 'is no readable HDF5 file'),
    ('a', b'PK\x03\x04' + bytes(100), 'its archive is cut short or damaged'),
  ],
)
def test_what_is_no_file_of_weights_is_told(tmp_path, name, content, told):
  (tmp_path / name).write_bytes(content)
  refused(tmp_path / name, told)


def refused(path, told):
  with pytest.raises(ValueError, match=told) as error:
    weights.read_arrays(path)
  assert '\n' not in str(error.value) and str(path) in str(error.value)


def test_two_arrays_of_one_name_are_refused(tmp_path):
  one = np.ones(1, np.float32)
  write_msgpack(tmp_path / 'a', {'a': {'b': one}, 'a/b': one})
  refused(tmp_path / 'a', 'two arrays of one name')


def test_an_archive_of_keras_tells_what_to_do(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.keras', 'w') as archive:
    archive.writestr('model.weights.h5', b'x')
  refused(tmp_path / 'a.keras', r'unpack it, and give the \.weights\.h5')


def test_a_folder_that_orbax_did_not_write_is_refused(tmp_path):
  refused(tmp_path, 'is no checkpoint of orbax')
  write_orbax(tmp_path / 'a', {'x': jnp.ones(100)})
  (tmp_path / 'a' / 'manifest.ocdbt').write_bytes(b'x' * 99)
  refused(tmp_path / 'a', 'does not read as it was written')


def test_no_file_is_no_file(tmp_path):
  with pytest.raises(FileNotFoundError, match='there is no file of weights'):
    weights.read_arrays(tmp_path / 'none')
