"""safetensors files: what a file says, and what it must not."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch_states

from deltax import convert, models
from deltax.convert import torch_file
from deltax.convert.torch_file import TorchFileError

TYPES = {
  **{'F64': 'float64', 'F32': 'float32', 'F16': 'float16', 'I64': 'int64'},
  **{'I32': 'int32', 'I16': 'int16', 'I8': 'int8', 'U8': 'uint8'},
  **{'U16': 'uint16', 'U32': 'uint32', 'U64': 'uint64', 'BOOL': 'bool'},
  'BF16': ml_dtypes.bfloat16,
  'F8_E5M2': ml_dtypes.float8_e5m2,
  'F8_E4M3': ml_dtypes.float8_e4m3fn,
}
NAMES = {np.dtype(dtype): name for name, dtype in TYPES.items()}


def described(arrays):
  header, data = {}, b''
  for key, array in arrays.items():
    content = np.ascontiguousarray(array).tobytes()
    header[key] = {
      'dtype': NAMES[array.dtype],
      'shape': list(array.shape),
      'data_offsets': [len(data), len(data) + len(content)],
    }
    data += content
  return header, data


def save(path, header, data, *, length=None):
  content = header if isinstance(header, bytes) else json.dumps(header).encode()
  content += b' ' * (-len(content) % 8)
  length = len(content) if length is None else length
  path.write_bytes(length.to_bytes(8, 'little') + content + data)
  return path


def test_arrays_of_every_type_and_shape_come_back(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    name: rng.integers(0, 2, (3, k % 3, 2)).astype(dtype)
    for k, (name, dtype) in enumerate(TYPES.items())
  }
  arrays['number'] = np.array(1.5, np.float32)
  header, data = described(arrays)
  about = {'__metadata__': {'format': 'pt'}, **header}
  found = torch_file.read(save(tmp_path / 'a.safetensors', about, data))
  assert list(found) == list(arrays)
  for name, array in arrays.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


def test_a_network_is_converted_from_one(tmp_path):
  net = models.create('ddrnet23_tiny', num_classes=5)
  frame = jnp.zeros((1, 64, 64, 3))
  import jax

  shapes = jax.eval_shape(net.init, jax.random.key(0), frame)
  variables = torch_states.drawn(shapes)
  state = torch_states.plain_state(variables)
  state = {f'net.{key}': np.asarray(x) for key, x in state.items()}
  path = save(tmp_path / 'a.safetensors', *described(state))
  found = convert.convert('ddrnet23_tiny', path)
  jax.tree.map(
    np.testing.assert_array_equal,
    found.params,
    {'teacher': variables['params']},
  )
  assert found.num_classes == 5


ONE = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}


@pytest.mark.parametrize(
  ('header', 'message'),
  [
    ({'a': {**ONE, 'data_offsets': [0, 4]}}, 'has 4 bytes'),
    ({'a': {**ONE, 'data_offsets': [4, 12]}}, 'expected 0 on'),
    ({'a': {**ONE, 'data_offsets': [0, 16]}, 'b': ONE}, '16 of 8'),
    ({'a': {**ONE, 'data_offsets': [8, 0]}}, 'bytes 8 to 0'),
    ({'a': {**ONE, 'shape': [1 << 40, 1 << 40]}}, 'has 8 bytes'),
    ({'a': {**ONE, 'shape': [-2]}}, 'expected a whole number'),
    ({'a': {**ONE, 'dtype': 'F31'}}, 'expected one of'),
    ({'a': ONE, 'b': ONE}, 'expected 8 on'),
    ({'a': {'dtype': 'F32'}}, "lacks 'shape'"),
    ({'a': ONE, '__metadata__': {'x': 1}}, 'expected a text'),
    ({}, '8 of its bytes are of no array'),
    (b'{"a": ' + b'[' * 10_000, 'is damaged'),
    (b'{"a": \xff}', 'is damaged'),
  ],
)
def test_a_header_that_does_not_fit_its_bytes_is_refused(
  tmp_path, header, message
):
  path = save(tmp_path / 'a.safetensors', header, bytes(8))
  with pytest.raises(TorchFileError, match=message) as error:
    torch_file.read(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('length', [1 << 60, 200_000_000, 500])
def test_a_header_of_another_length_makes_no_room(tmp_path, length):
  path = save(tmp_path / 'a.safetensors', {'a': ONE}, bytes(8), length=length)
  with pytest.raises(TorchFileError, match='no PyTorch file, and no safete'):
    torch_file.read(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
  arrays = {'a': np.arange(6.0), 'b': np.arange(3)}
  path = save(tmp_path / 'a.safetensors', *described(arrays))
  whole = path.read_bytes()
  for size in range(len(whole)):
    path.write_bytes(whole[:size])
    with pytest.raises(TorchFileError):
      torch_file.read(path)
