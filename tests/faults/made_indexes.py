"""Videos of noise, and indexes of them."""

import numpy as np

from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo

SIZE = 8


def video(name, frames=5, *, dtype='float32', **changes):
  rng = np.random.default_rng([frames, *name.encode()])
  if dtype == 'uint32':
    fine = rng.integers(0, 2**32, (frames, 9, 2), dtype=np.uint32)
  else:
    fine = rng.standard_normal((frames, 9, SIZE), dtype=np.float32)
  made = IndexedVideo(
    name=name,
    path=f'/videos/{name}.mp4',
    coarse=rng.standard_normal(SIZE, dtype=np.float32),
    fine=fine,
    times=np.arange(frames) * 1.001,
    selector=float(np.float32(rng.standard_normal())),
    own=0.75,
    duration=frames + 0.5,
    pictures={0: name.encode(), frames - 1: b'last of ' + name.encode()},
    clips=rng.standard_normal((frames // 3, SIZE), dtype=np.float32),
  )
  return made._replace(**changes)


def make(folder, *batches):
  index = Index.create(folder, fingerprint='aa', description={'name': 'fake'})
  for batch in batches:
    index.add(batch)
  return index


def assert_has(index, videos):
  """The index holds exactly these, bit for bit."""
  assert sorted(index.names) == sorted(v.name for v in videos)
  coarse = index.coarse()
  for expected in videos:
    row = index.row(expected.name)
    assert index.paths[row] == expected.path
    np.testing.assert_array_equal(coarse[row], expected.coarse)
    np.testing.assert_array_equal(index.coarse([row])[0], expected.coarse)
    assert index.fine(row).dtype == expected.fine.dtype
    np.testing.assert_array_equal(index.fine(row), expected.fine)
    np.testing.assert_array_equal(index.times(row), expected.times)
    assert index.pictures(row) == expected.pictures
    clips = index.clips(row)
    assert clips.dtype == np.float16 and clips.shape[1] == SIZE
    given = [] if expected.clips is None else expected.clips
    assert clips.tolist() == np.asarray(given, np.float16).tolist()
    numbers = index.table[row]
    assert numbers['frames'] == len(expected.fine)
    for name in ('selector', 'own', 'duration', 'background'):
      assert numbers[name] == getattr(expected, name), name


def flip(path, place):
  data = bytearray(path.read_bytes())
  data[place] ^= 1
  path.write_bytes(data)
