"""Writes files as `torch.save` does, by hand: PyTorch is not needed."""

import io
import pickle
import zipfile

import numpy as np

PROTOCOL, MAGIC, VERSION = 2, 0x1950A86A20F9469CFC6C, 1001
NAMES = {
  **{'float32': 'Float', 'float64': 'Double', 'float16': 'Half'},
  **{'bfloat16': 'BFloat16', 'int64': 'Long', 'int32': 'Int'},
  **{'uint8': 'Byte', 'bool': 'Bool'},
}


class Name:
  """A global of a file, perhaps called with arguments."""

  def __init__(self, name, *arguments, state=None):
    self.name, self.arguments, self.state = name, arguments, state


class Storage:
  """A persistent id: of a flat array, under a key."""

  def __init__(self, array, key, count=None, kind=None):
    self.array, self.key = np.ascontiguousarray(array), key
    self.count = array.size if count is None else count
    self.kind = kind or f'torch.{NAMES[str(array.dtype)]}Storage'


class Tensor:
  """A view of a storage; of all of it when no size is given."""

  def __init__(self, storage, size=None, stride=None, offset=0):
    size = storage.array.shape if size is None else size
    if stride is None:
      stride = [int(np.prod(size[i + 1 :])) for i in range(len(size))]
    self.storage, self.offset = storage, offset
    self.size, self.stride = tuple(size), tuple(stride)


def dumps(value, storages=None, *, protocol=PROTOCOL, legacy=False):
  """A pickle of plain values, `Name`, `Tensor` and `Storage`."""
  out = io.BytesIO()
  out.write(b'\x80' + bytes([protocol]))
  _write(out, value, {} if storages is None else storages, legacy)
  out.write(b'.')
  return out.getvalue()


def save(path, value, *, byteorder=None, compress=False, entries=(), cut=()):
  """The zip form; `cut` names entries to leave out."""
  storages = {}
  content = dumps(value, storages)
  kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
  with zipfile.ZipFile(path, 'w', kind) as archive:
    archive.writestr('file/data.pkl', content)
    if byteorder:
      archive.writestr('file/byteorder', byteorder)
    for key, array in storages.items():
      if key not in cut:
        swapped = array.byteswap() if byteorder == 'big' else array
        archive.writestr(f'file/data/{key}', swapped.tobytes())
    for name, data in entries:
      archive.writestr(name, data)
  return path


def legacy_bytes(value):
  """The sequential form."""
  storages = {}
  main = dumps(value, storages, legacy=True)
  parts = [pickle.dumps(x, PROTOCOL) for x in (MAGIC, VERSION)]
  parts.append(pickle.dumps({'little_endian': True}, PROTOCOL))
  parts += [main, pickle.dumps(list(storages), PROTOCOL)]
  for array in storages.values():
    parts += [array.size.to_bytes(8, 'little'), array.tobytes()]
  return b''.join(parts)


def save_legacy(path, value):
  path.write_bytes(legacy_bytes(value))
  return path


def plain_tensor(array):
  """A tensor as `pickle.dump` writes it: its storage is a file in the file."""
  content = legacy_bytes(Storage(array, '7'))
  storage = Name('torch.storage._load_from_bytes', content)
  return Name(
    'torch._utils._rebuild_tensor_v2',
    *(storage, 0, array.shape, Tensor(Storage(array, '7')).stride),
    *(False, Name('collections.OrderedDict')),
  )


def _write(out, value, storages, legacy):
  def write(x):
    _write(out, x, storages, legacy)

  def many(items, end):
    out.write(b'(')
    for item in items:
      write(item)
    out.write(end)

  if isinstance(value, Storage):
    storages[value.key] = value.array
    extra = (None,) if legacy else ()
    write(
      ('storage', Name(value.kind, None), value.key, 'cpu', value.count, *extra)
    )
    out.write(b'Q')
  elif isinstance(value, Tensor):
    hooks = Name('collections.OrderedDict')
    arguments = value.storage, value.offset, value.size, value.stride
    write(Name('torch._utils._rebuild_tensor_v2', *arguments, False, hooks))
  elif isinstance(value, Name):
    module, _, attribute = value.name.rpartition('.')
    out.write(f'c{module}\n{attribute}\n'.encode())
    if value.arguments != (None,):
      many(value.arguments, b't')
      out.write(b'R')
    if value.state is not None:
      write(value.state)
      out.write(b'b')
  elif isinstance(value, dict):
    out.write(b'}')
    many([x for item in value.items() for x in item], b'u')
  elif isinstance(value, list):
    out.write(b']')
    many(value, b'e')
  elif isinstance(value, tuple):
    many(value, b't')
  elif isinstance(value, bytes):
    out.write(b'B' + len(value).to_bytes(4, 'little') + value)
  else:
    pickled = pickle.dumps(value, PROTOCOL)
    out.write(pickled[2:-1])  # without its protocol and its stop
