"""What opening and asking an index reads, and that it is right."""

import numpy as np
import pytest
from made_indexes import SIZE, make, video

from deltax.identity import Identity
from deltax.retrieval.index import parts
from deltax.retrieval.index.folder import Index


@pytest.fixture
def reads(monkeypatch):
  """Notes every part of a file that is read."""
  read, noted = parts.read_part, []

  def read_part(path, first, last):
    noted.append((str(path).rpartition('/')[2], last - first))
    return read(path, first, last)

  monkeypatch.setattr(parts, 'read_part', read_part)
  return noted


def test_opening_reads_no_video_and_a_lookup_no_other_one(tmp_path, reads):
  folder = make(
    tmp_path / 'index',
    [video(f'v{n}', 2) for n in range(40)],
    [video(f'w{n}', 2) for n in range(40)],
  ).folder
  del reads[:]
  index = Index(folder)
  assert len(index) == 80 and not len(index.background)
  assert not reads
  index.fine(index.row('w7'))
  files = {name for name, _ in reads}
  assert not files & {'coarse.npy', 'times.bin', 'pictures.bin'}
  assert [n for name, n in reads if name == 'fine.bin'] == [2 * 9 * SIZE * 4]
  del reads[:]
  index.row('w9')  # of names, an entry alone
  assert len(reads) == 1 and reads[0][1] < 60


def identity(text):
  return Identity(1, 2, text)


def test_rows_are_right_whatever_was_removed_and_moved(tmp_path):
  rng = np.random.default_rng(0)
  index, known = make(tmp_path / 'index'), {}
  for step in range(30):
    name = f'v{step}'
    new = video(name, 1 + step % 3, file=identity(name * 3))
    index.add([new, video(f'{name} too', 2)])
    known |= {name: new, f'{name} too': video(f'{name} too', 2)}
    if step % 3 == 1:
      gone = str(rng.choice(sorted(known)))
      index.remove([gone])
      del known[gone]
    if step % 4 == 2:
      old = str(rng.choice(sorted(known)))
      moved = f'moved {step}', f'/elsewhere/{step}', identity(f'm{step}')
      index.follow({old: moved})
      was = known.pop(old)
      known[moved[0]] = was._replace(
        name=moved[0], path=moved[1], file=moved[2]
      )
  for opened in (index, Index(index.folder)):
    assert len(opened) == len(known)
    assert [*opened.names] == [opened.names[n] for n in range(len(known))]
    assert sorted(opened.names) == sorted(known)
    ids = opened.table['id']
    assert opened.rows_of(ids).tolist() == list(range(len(known)))
    assert opened.rows_of([10**6]).tolist() == [-1]
    rows = rng.permutation(len(known))
    np.testing.assert_array_equal(opened.numbers(rows), opened.table[rows])
    counts, vectors = opened.vectors(rows)
    ends = np.cumsum(counts)
    for row, end, count in zip(rows, ends, counts, strict=True):
      expected = known[opened.names[row]]
      own = vectors[end - count : end]
      np.testing.assert_array_equal(own[0], expected.coarse)
      np.testing.assert_array_equal(own[1:], opened.clips(row))
      assert opened.row(expected.name) == row
      assert opened.find('path', [expected.path]) == {expected.path: row}
      if expected.file:
        content = expected.file.content
        assert opened.find('content', [content, 'no']) == {content: row}
      assert opened.files[row] == expected.file
      assert (opened.paths[row], opened.names[-1]) == (
        expected.path,
        [*opened.names][-1],
      )
  with pytest.raises(IndexError):
    index.names[len(known)]


def test_a_digest_tells_videos_apart_whose_segments_have_one_name(tmp_path):
  one = make(tmp_path / 'one', [video('a'), video('b')])
  other = make(tmp_path / 'other', [video('a'), video('c')])
  digests = {one.videos_digest, other.videos_digest}
  one.remove(['a'])
  digests.add(one.videos_digest)
  assert len(digests) == 3 and Index(one.folder).videos_digest in digests


def test_what_another_has_open_is_deleted_when_it_is_closed(tmp_path):
  videos = [video(name) for name in 'abcd']
  writer = make(tmp_path / 'index', videos)
  reader = Index(writer.folder)
  writer.remove(['a', 'b'])
  segments = writer.folder / 'segments'
  assert len(list(segments.iterdir())) == 2
  assert reader.fine(reader.row('a')).shape[0] == 5
  del reader
  writer.add([video('e')])
  assert sorted(p.name for p in segments.iterdir()) == ['000002', '000003']
