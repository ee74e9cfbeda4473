"""What is encoded is kept, whole or not at all, until it is in the index."""

import numpy as np
import pytest

from deltax.errors import DeltaxError
from deltax.retrieval.index.shard import IndexedVideo
from deltax.systems.beam import shards as shards_module
from deltax.systems.beam.shards import Shards
from deltax.systems.beam.videos import Failed
from deltax.systems.reading import Encoded


def drawn(pictures):
  rng = np.random.default_rng(0)
  video = IndexedVideo(
    name='',
    path='',
    coarse=rng.normal(size=5).astype(np.float32),
    fine=rng.integers(0, 2**32, (7, 2, 3), np.uint32),
    times=np.arange(7) / 3,
    selector=float(np.float32(0.1)),
    own=float(np.float32(0.7)),
    duration=7 / 3,
    pictures=pictures,
    clips=rng.normal(size=(2, 5)).astype(np.float32),
  )
  return Encoded(video, damaged=3, resized=1)


@pytest.fixture(params=['folder', 'bucket'])
def place(request, tmp_path, bucket):
  return str(tmp_path / 's') if request.param == 'folder' else 'bucket://s'


@pytest.mark.parametrize('pictures', [{0: b'a', 5: b'', 10: b'cd'}, {}])
def test_a_video_comes_back_as_it_was(place, pictures):
  shards, encoded = Shards(place, 'model'), drawn(pictures)
  assert shards.lacks('content') and shards.lacking(['content']) == {'content'}
  shards.write('content', encoded)
  assert not shards.lacks('content') and not shards.lacking(['content'])
  assert Shards(place, 'another').lacks('content')
  back = shards.read('content')
  assert back[1:] == encoded[1:]
  for name, value in encoded.video._asdict().items():
    np.testing.assert_array_equal(getattr(back.video, name), value)
    if isinstance(value, np.ndarray):
      assert getattr(back.video, name).dtype == value.dtype


def test_what_failed_is_told_again_and_read_again_by_others_only(
  place, monkeypatch
):
  shards = Shards(place, 'model')
  shards.write('cut', Failed('cut.mp4: it is cut', lasting=True))
  shards.write('far', Failed('far.mp4: no answer', lasting=False))
  assert not shards.lacks('cut') and shards.lacks('far')
  assert shards.lacking(['cut', 'far', 'new']) == {'far', 'new'}
  for content, reason in (('cut', 'it is cut'), ('far', 'no answer')):
    with pytest.raises(DeltaxError, match=reason):
      shards.read(content)
  shards.write('far', drawn({}))
  assert shards.read('far').damaged == 3
  monkeypatch.setattr(shards_module, '_read_by', lambda: 'a later version')
  assert shards.lacks('cut') and shards.lacking(['cut', 'far']) == {'cut'}


def test_nothing_is_left_but_why_files_cannot_be_read(tmp_path):
  place = tmp_path / 'st[or]e*'
  shards = Shards(str(place), 'model')
  shards.write('a', drawn({}))
  (place / 'a-model.npz.begun').write_bytes(b'by a killed worker')
  shards.write('b', Failed('far', lasting=False))
  shards.write('c', Failed('cut', lasting=True))
  shards.drop(['a', 'b', 'c'])
  assert [path.name for path in place.iterdir()] == ['c-model.failed']
  shards.write('c', drawn({}))  # as of another version
  shards.drop(['c'])
  assert not place.exists()


def test_a_damaged_file_is_named(tmp_path):
  shards = Shards(str(tmp_path), 'model')
  with pytest.raises(DeltaxError, match='no worker has written it'):
    shards.read('content')
  shards.write('content', drawn({0: b'x'}))
  path = tmp_path / 'content-model.npz'
  for damaged in (path.read_bytes()[:-50], b'', b'PK\3\4'):
    path.write_bytes(damaged)
    with pytest.raises(DeltaxError, match=r'content-model\.npz is damaged'):
      shards.read('content')
