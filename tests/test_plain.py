"""What a file holds is refused by name before it can do any harm."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from deltax import plain
from deltax.plain import COUNT, TEXT


def taken(call, *arguments):
  """Most bytes that a refused call took."""
  tracemalloc.start()
  with pytest.raises(ValueError) as error:
    call(*arguments)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert '\n' not in str(error.value)
  return most


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    ([], 'it is a list, expected an object'),
    ({'n': 1}, "it lacks 'rows'"),
    ({'n': -1, 'rows': []}, 'n is -1, expected a whole number of at least 0'),
    ({'n': 2**48, 'rows': []}, 'n is 281474976710656, expected'),
    ({'n': True, 'rows': []}, 'n is True, expected a whole'),
    ({'n': 1.0, 'rows': []}, r'n is 1\.0, expected a whole'),
    ({'n': 1, 'rows': {}}, 'rows is an object, expected a list'),
    ({'n': 1, 'rows': [['a']]}, r'rows\[0\] has 1 values, expected 2'),
    ({'n': 1, 'rows': [['a', {}]]}, r"rows\[0\]\[1\] lacks 'x'"),
    (
      {'n': 1, 'rows': [['a', {'x': {'two\nlines': 'y' * 999}}]]},
      r"x\.'two\\nlines' is 'y{39}, expected one of 1, 2",
    ),
  ],
)
def test_a_value_of_another_form_is_named_by_its_place(value, message):
  form = {'n': COUNT, 'rows': [(TEXT, {'x': {str: plain.one_of((1, 2))}})]}
  with pytest.raises(ValueError, match=f'^a.json is damaged: .*{message}'):
    plain.check(value, form, 'a.json')


@pytest.mark.parametrize('text', ['{', '[' * 200 + ']' * 200, '[' * 10**6])
def test_json_that_is_damaged_or_deep_is_refused(tmp_path, text):
  path = tmp_path / 'a.json'
  path.write_text(text)
  with pytest.raises(ValueError, match=r'a\.json is damaged'):
    plain.read_json(path)
  path.write_bytes(b'\xff')
  with pytest.raises(ValueError, match=r'a\.json is damaged'):
    plain.read_json(path)
  path.write_text('[' * 100 + ']' * 100)
  assert plain.read_json(path)


def test_arrays_come_back(tmp_path):
  arrays = {
    'a/b': np.arange(6.0).reshape(2, 3),
    'fortran': np.asfortranarray(np.arange(6, dtype='u1').reshape(2, 3)),
    'nothing': np.zeros((0, 3)),
    'scalar': np.float32(3),
  }
  np.savez(tmp_path / 'a.npz', **arrays)
  found = plain.read_arrays(tmp_path / 'a.npz')
  assert list(found) == list(arrays)
  for name, expected in arrays.items():
    np.testing.assert_array_equal(found[name], expected)
    assert found[name].dtype == expected.dtype
  np.save(tmp_path / 'a.npy', arrays['fortran'])
  for mapped in (False, True):
    found = plain.read_array(tmp_path / 'a.npy', mapped=mapped)
    np.testing.assert_array_equal(found, arrays['fortran'])


def header(shape, dtype='<f4'):
  """An array of numpy whose header says so, and that has eight bytes."""
  text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
  text = text.ljust(117) + '\n'
  return (
    b'\x93NUMPY\x01\x00'
    + len(text).to_bytes(2, 'little')
    + (text.encode() + b'12345678')
  )


@pytest.mark.parametrize(
  'content',
  [
    header('(1000000000000,)'),
    header('(1000000000000, 0)'),
    header('(2305843009213693954,)', '<f8'),
    header('(-1, -2)'),
    header('(1,)', '|O'),
    header('(1,)', 'V0'),
    header('(2,'),
    header('(2,)')[:-1],
    b'\x80\x04N.',
    b'',
  ],
)
def test_arrays_that_are_not_there_take_no_memory(tmp_path, content):
  (tmp_path / 'a.npy').write_bytes(content)
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
    archive.writestr('a.npy', content)
  assert taken(plain.read_array, tmp_path / 'a.npy') < 1 << 20
  assert taken(plain.read_arrays, tmp_path / 'a.npz') < 1 << 20


@pytest.mark.parametrize('told', [50 << 20, 8])
def test_a_packed_archive_is_not_unpacked_whatever_it_says(tmp_path, told):
  path = tmp_path / 'a.npz'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('a.npy', b'\0' * (50 << 20))
  content = bytearray(path.read_bytes())
  place = content.rindex(b'PK\x01\x02') + 24  # of its size, in the list
  content[place : place + 4] = told.to_bytes(4, 'little')
  path.write_bytes(content)
  assert taken(plain.read_arrays, path) < 4 << 20


def test_what_is_packed_a_little_is_read(tmp_path):
  numbers = np.random.default_rng(0).integers(0, 256, 9999)
  np.savez_compressed(tmp_path / 'a.npz', a=numbers.astype('u2'))
  found = plain.read_arrays(tmp_path / 'a.npz')['a']
  np.testing.assert_array_equal(found, numbers)


def test_an_absent_file_is_absent_and_a_text_none(tmp_path):
  for read in (plain.read_json, plain.read_array, plain.read_arrays):
    with pytest.raises(FileNotFoundError):
      read(tmp_path / 'none')
  (tmp_path / 'a').write_text(json.dumps({}))
  for read in (plain.read_array, plain.read_arrays):
    with pytest.raises(ValueError, match='is damaged'):
      read(tmp_path / 'a')
