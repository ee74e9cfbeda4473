"""The index on the disk: what went in comes out, whatever happened between."""

import io
import json
import pathlib
import subprocess
import sys
import zlib

import made_indexes
import numpy as np
import pytest
from made_indexes import SIZE, assert_has, flip, make, video

from deltax.retrieval.index import folder as index_module
from deltax.retrieval.index.folder import Index


@pytest.mark.parametrize('dtype', ['float32', 'uint32'])
def test_what_is_added_is_there_after_opening_again(tmp_path, dtype):
  first = [video('a', 3, dtype=dtype), video('b/b', 7, dtype=dtype)]
  second = [
    video('c', 1, dtype=dtype, pictures={}, background=True),
    video('d', 9, dtype=dtype, clips=None),
  ]
  index = make(tmp_path / 'index', first, second)
  assert_has(index, first + second)
  again = Index(tmp_path / 'index')
  assert_has(again, first + second)
  assert again.fingerprint == 'aa'
  assert 'b/b' in again and 'e' not in again and len(again) == 4
  order = [again.row(name) for name in ('c', 'a')]
  np.testing.assert_array_equal(again.coarse(order), again.coarse()[order])


def test_an_empty_index_can_be_read(tmp_path):
  index = make(tmp_path / 'index')
  assert len(index) == 0 and index.coarse().shape == (0, 0)
  index.add([])
  assert not index.manifest['segments']


def test_a_name_is_added_once_and_a_refused_batch_adds_nothing(tmp_path):
  index = make(tmp_path / 'index', [video('a')])
  with pytest.raises(ValueError, match="has 'a' already; remove it first"):
    index.add([video('b'), video('a', 9)])
  with pytest.raises(ValueError, match="two videos are named 'c'"):
    index.add([video('c'), video('c')])
  assert_has(Index(index.folder), [video('a')])


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'coarse': np.zeros(9, np.float32)}, "b has codes .*'coarse': 9"),
    ({'fine': np.zeros((5, 4, SIZE), np.float32)}, 'b has codes'),
    ({'fine': np.zeros((5, 9, SIZE), np.float16)}, "b has codes .*'float16'"),
    ({'fine': np.zeros((0, 9, SIZE), np.float32)}, 'T at least 1'),
    ({'times': np.zeros(4)}, 'b has 4 times for 5 frames'),
    ({'coarse': np.full(SIZE, np.nan, np.float32)}, 'b has NaN'),
    ({'clips': np.zeros((2, 9))}, r'b: vectors of clips \(2, 9\), expected'),
  ],
)
def test_codes_that_do_not_fit_are_refused_by_name(tmp_path, changes, message):
  index = make(tmp_path / 'index', [video('a')])
  with pytest.raises(ValueError, match=message):
    index.add([video('b', **changes)])
  assert_has(index, [video('a')])


def test_a_removed_video_is_gone_and_may_come_again(tmp_path):
  videos = [video(name) for name in 'abcdefgh']
  index = make(tmp_path / 'index', videos)
  index.remove(['c'])
  assert_has(Index(index.folder), [v for v in videos if v.name != 'c'])
  with pytest.raises(ValueError, match="has no video 'c'"):
    index.remove(['a', 'c'])
  assert 'a' in Index(index.folder)
  new = video('c', 11)
  index.add([new])
  assert_has(Index(index.folder), [new if v.name == 'c' else v for v in videos])


def folder_bytes(folder):
  return sum(path.stat().st_size for path in folder.rglob('*'))


def test_compacting_gives_space_back_and_changes_nothing_else(tmp_path):
  videos = [video(name, 40) for name in 'abcdefghijkl']
  index = make(tmp_path / 'index', videos)
  ids = {name: index.table['id'][index.row(name)] for name in index.names}
  index.remove(['a'])
  marked = folder_bytes(index.folder)
  assert index.manifest['segments'][0]['removed'] == ['a']
  index.compact()
  assert folder_bytes(index.folder) < marked - 40 * 9 * SIZE * 4
  assert_has(Index(index.folder), videos[1:])
  index.remove(['b', 'c', 'd'])  # a quarter of those left: at once
  assert index.manifest['segments'][0]['removed'] == []
  assert_has(Index(index.folder), videos[4:])
  for name in index.names:
    assert index.table['id'][index.row(name)] == ids[name]
  index.remove([v.name for v in videos[4:]])
  assert not index.manifest['segments']
  assert not list((index.folder / 'segments').iterdir())


def test_an_id_is_never_given_twice(tmp_path):
  index = make(tmp_path / 'index', [video('a'), video('b')])
  index.remove(['b'])
  index.add([video('b', 9)])
  assert index.table['id'].tolist() == [0, 2]


def test_many_small_additions_leave_few_shards(tmp_path):
  videos = [video(f'v{n}', 2) for n in range(70)]
  index = make(tmp_path / 'index', *([v] for v in videos))
  assert len(index.manifest['segments']) < 3 * index_module.MERGED
  assert_has(Index(index.folder), videos)


def test_a_reader_keeps_what_it_opened_while_another_writes(tmp_path):
  videos = [video(name) for name in 'abcd']
  writer = make(tmp_path / 'index', videos)
  reader = Index(writer.folder)
  writer.remove(['a', 'b'])
  assert_has(reader, videos)
  assert_has(Index(writer.folder), videos[2:])


def test_two_writers_lose_nothing(tmp_path):
  one = make(tmp_path / 'index', [video('a')])
  other = Index(one.folder)
  one.add([video('b')])
  other.add([video('c')])
  with pytest.raises(ValueError, match="has 'c' already"):
    one.add([video('c')])
  assert_has(Index(one.folder), [video(name) for name in 'abc'])


def test_a_changed_byte_of_the_codes_is_found_when_they_are_read(tmp_path):
  folder = make(tmp_path / 'index', [video('a'), video('b')]).folder
  flip(folder / 'segments/000001/fine.bin', 5 * 9 * SIZE * 4 + 3)
  index = Index(folder)
  index.fine(index.row('a'))
  with pytest.raises(
    ValueError, match=r'fine\.bin: the codes of b are damaged'
  ):
    index.fine(index.row('b'))
  index.remove(['b'])
  assert_has(Index(folder), [video('a')])


@pytest.mark.parametrize(
  ('file', 'read'),
  [
    ('names.json', lambda index: index.names[0]),
    ('names.json', lambda index: list(index.paths)),
    ('names.json', lambda index: index.pictures(0)),
    ('files.json', lambda index: index.files[0]),
    ('places.npy', lambda index: index.names[0]),
    ('lookup.npy', lambda index: index.row('a')),
    ('lookup.npy', lambda index: 'b' in index),
    ('videos.npy', lambda index: index.numbers([0])),
    ('videos.npy', lambda index: index.fine(0)),
    ('times.bin', lambda index: index.times(0)),
    ('coarse.npy', lambda index: index.coarse()),
    ('coarse.npy', lambda index: index.coarse([0])),
    ('coarse.npy', lambda index: index.vectors([0])),
    ('clips.npy', lambda index: index.clips(0)),
    ('clips.npy', lambda index: list(index.blocks())),
    ('clip_counts.npy', lambda index: index.clips(0)),
  ],
)
def test_a_changed_byte_is_found_when_it_is_first_read(tmp_path, file, read):
  folder = make(tmp_path / 'index', [video('a')]).folder
  read(Index(folder))
  flip(folder / 'segments/000001' / file, -1)
  index = Index(folder)
  with pytest.raises(ValueError, match=f'{file} is damaged'):
    read(index)
  with pytest.raises(ValueError, match=f'{file} is damaged'):
    Index(folder).check()


def test_a_cut_or_missing_file_is_named(tmp_path):
  folder = make(tmp_path / 'index', [video('a')]).folder
  path = folder / 'segments/000001/fine.bin'
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match=r'fine\.bin has 1439 bytes, expected'):
    Index(folder)
  path.unlink()
  with pytest.raises(ValueError, match=r'damaged: .*fine\.bin is missing'):
    Index(folder)


def test_what_is_no_index_is_said_to_be_none(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'is no index: it has no mani'):
    Index(tmp_path)
  folder = make(tmp_path / 'index').folder
  manifest = folder / 'manifest.json'
  told = json.loads(manifest.read_text())
  manifest.write_text(json.dumps({**told, 'version': 9}))
  with pytest.raises(ValueError, match='index of version 9, this library'):
    Index(folder)
  manifest.write_text('{"vers')
  with pytest.raises(ValueError, match=r'manifest\.json is damaged'):
    Index(folder)


def test_an_index_takes_the_place_of_nothing(tmp_path):
  make(tmp_path / 'index', [video('a')])
  with pytest.raises(ValueError, match='is there already'):
    make(tmp_path / 'index')
  (tmp_path / 'empty').mkdir()
  assert len(make(tmp_path / 'empty')) == 0


def test_a_full_disk_is_told_and_the_index_stays_as_it_was(tmp_path, full_disk):
  index = make(tmp_path / 'index', [video('a'), video('b')])
  with (
    full_disk() as fill,
    pytest.raises(OSError, match=r": '.*/index/segments/000002'"),
  ):
    fill()
    index.add([video('c')])
  assert_has(Index(index.folder), [video('a'), video('b')])
  index.add([video('c')])
  assert_has(Index(index.folder), [video(name) for name in 'abc'])


KILLED = """
import os, pathlib, signal, sys
sys.path[:0] = sys.argv[3:]
import made_indexes
from deltax import files
from deltax.retrieval.index import folder as index_module
from deltax.retrieval.index.folder import Index

folder, action = sys.argv[1:3]


def die_at(step):
  left = [step]

  def deadly(function):
    def wrapped(*arguments, **options):
      left[0] -= 1
      if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
      return function(*arguments, **options)

    return wrapped

  files.sync = deadly(files.sync)
  index_module.write_shard = deadly(index_module.write_shard)
  index_module.shutil.rmtree = deadly(index_module.shutil.rmtree)
  os.replace = deadly(os.replace)
  os.rename = deadly(os.rename)
  pathlib.Path.write_text = deadly(pathlib.Path.write_text)


for step in range(1, 99):
  child = os.fork()
  if not child:
    die_at(step)
    index = Index(folder)
    if action == 'add':
      index.add([made_indexes.video('new'), made_indexes.video('newer')])
    else:
      index.remove(['a', 'b'])
    os._exit(0)
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  print(step, code, *sorted(Index(folder).names))
  if code == 0:
    break
  if 'new' in Index(folder):
    Index(folder).remove(['new', 'newer'])
  if 'a' not in Index(folder):
    Index(folder).add([made_indexes.video('a'), made_indexes.video('b')])
"""


@pytest.mark.parametrize('action', ['add', 'remove'])
def test_a_writer_killed_at_any_step_leaves_a_whole_index(tmp_path, action):
  old = [video(name) for name in 'abcdefgh']
  folder = make(tmp_path / 'index', old).folder
  before = ' '.join('abcdefgh')
  after = before + ' new newer' if action == 'add' else ' '.join('cdefgh')
  run = subprocess.run(
    [
      *(sys.executable, '-W', 'ignore', '-c', KILLED),
      *(str(folder), action, str(pathlib.Path(made_indexes.__file__).parent)),
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  lines = [line.split(' ', 2) for line in run.stdout.splitlines()]
  *killed, last = lines
  assert len(killed) > 9 and {code for _, code, _ in killed} == {'-9'}
  states = [names for *_, names in killed]
  assert set(states) == {before, after}
  # Once it is there it stays: there is one step that makes it so.
  assert states == sorted(states, key=[before, after].index)
  assert last[1:] == ['0', after]
  left = [v for v in old if action == 'add' or v.name not in 'ab']
  new = [video('new'), video('newer')] if action == 'add' else []
  assert_has(Index(folder), left + new)
  named = {r['name'] for r in Index(folder).manifest['segments']}
  assert {path.name for path in (folder / 'segments').iterdir()} == named
  assert not list(folder.glob('.*'))


ADDING = """
import sys
import zlib
sys.path[:0] = sys.argv[2:]
import made_indexes
from deltax.retrieval.index.folder import Index

index = Index(sys.argv[1])
for n in range(10**6):
  index.add([made_indexes.video(f'v{n}')])
  print(n, flush=True)
"""


def test_kill_minus_nine_loses_nothing_that_was_added(tmp_path):
  folder = make(tmp_path / 'index').folder
  tests = str(pathlib.Path(made_indexes.__file__).parent)
  with subprocess.Popen(
    [sys.executable, '-c', ADDING, str(folder), tests],
    stdout=subprocess.PIPE,
    text=True,
  ) as child:
    for told in child.stdout:
      if int(told) == 25:
        child.kill()
        break
    rest = child.stdout.read()
  done = 26 + len(rest.splitlines())
  index = Index(folder)
  assert len(index) in (done, done + 1)
  assert_has(index, [video(f'v{n}') for n in range(len(index))])
  index.add([video('after')])
  assert 'after' in Index(folder)


def changed(folder, change):
  """The manifest of an index, its first segment and that one's files."""
  path = folder / 'manifest.json'
  told = json.loads(path.read_text())
  change(told, told['segments'][0], told['segments'][0]['files'])
  path.write_text(json.dumps(told))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda m, s, f: s.update(name='../../x'), r'\.name is .*, expected the n'),
    (lambda m, s, f: s.update(name='/etc'), r'segments\[0\]\.name is'),
    (lambda m, s, f: s.update(videos=10**12), 'it has not 1000000000000 vid'),
    (lambda m, s, f: s.update(removed=3), 'removed is 3, expected a list'),
    (lambda m, s, f: s.pop('shape'), "lacks 'shape'"),
    (lambda m, s, f: s['shape'].update(coarse=99), 'codes of another shape'),
    (lambda m, s, f: s['shape'].update(dtype='O'), 'expected one of float32'),
    (lambda m, s, f: m.update(shape=None), 'codes of another shape'),
    (lambda m, s, f: m['segments'].append(s), 'is named twice'),
    (lambda m, s, f: m.update(next_segment='../x'), 'next_segment is'),
    (lambda m, s, f: m.update(segments={}), 'segments is an object'),
    (lambda m, s, f: m.update(model=['a']), 'expected a text or null'),
    (lambda m, s, f: f.pop('fine.bin'), "lacks 'fine.bin'"),
    (lambda m, s, f: f['fine.bin'].update(bytes=-1), 'bytes is -1, expected'),
    (lambda m, s, f: f['names.json'].pop('checksum'), "lacks 'checksum'"),
  ],
)
def test_a_manifest_that_cannot_be_is_refused(tmp_path, change, message):
  folder = make(tmp_path / 'index', [video('a')]).folder
  changed(folder, change)
  with pytest.raises(ValueError, match=message) as error:
    Index(folder).check()
  assert str(folder) in str(error.value)


def sealed(folder, name, content):
  """Puts content into a file, and its size and checksum into the manifest."""
  (folder / 'segments' / '000001' / name).write_bytes(content)

  def change(told, segment, files):
    files[name]['bytes'] = len(content)
    if 'checksum' in files[name] and name not in ('coarse.npy', 'clips.npy'):
      files[name]['checksum'] = zlib.crc32(content)

  changed(folder, change)


def saved(counts):
  file = io.BytesIO()
  np.save(file, np.array(counts, np.int32))
  return file.getvalue()


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('names.json', b'[' * 9999, 'nested more than 100 deep'),
    ('names.json', b'[]', 'it has not 1 videos'),
    ('names.json', b'[["a", 3, []]]', r'it\[0\]\[1\] is 3, expected a text'),
    ('names.json', b'[["a", "a", [[0, -5]]]]', 'is -5, expected'),
    ('names.json', b'[["a", "a", [[0, 10000]]]]', 'it has other entries'),
    (
      'names.json',
      b'[["a", "/videos/a.mp4", [[0, 2], [4, 9]]]]',
      r'pictures\.bin is damaged: it has other',
    ),
    ('fine.bin', b'1234', r'fine\.bin is damaged: it has 4 bytes'),
    ('times.bin', b'12345678', r'times\.bin is damaged'),
    ('videos.npy', b'no array', r'videos\.npy is damaged'),
    ('coarse.npy', b'', r'coarse\.npy is damaged'),
    ('clips.npy', b'', r'clips\.npy is damaged'),
    ('clip_counts.npy', b'', r'clip_counts\.npy is damaged'),
    ('clip_counts.npy', saved([7]), r'clips\.npy is damaged: it has other'),
    ('clip_counts.npy', saved([1, 0]), r'clip_counts\.npy is damaged: of oth'),
  ],
)
def test_files_under_the_right_checksums_are_checked_too(
  tmp_path, name, content, message
):
  folder = make(tmp_path / 'index', [video('a')]).folder
  sealed(folder, name, content)
  with pytest.raises(ValueError, match=message):
    Index(folder).check()


@pytest.mark.parametrize('frames', [-1, 0, 2**31 - 1])
def test_a_video_has_the_frames_that_are_there(tmp_path, frames):
  folder = make(tmp_path / 'index', [video('a')]).folder
  path = folder / 'segments' / '000001' / 'videos.npy'
  table = np.load(path)
  table['frames'] = frames
  np.save(path, table)
  sealed(folder, 'videos.npy', path.read_bytes())
  with pytest.raises(ValueError, match=r'fine\.bin is damaged'):
    Index(folder).fine(0)


def test_an_index_of_before_there_were_clips_opens_and_grows(tmp_path):
  old = [video(name, clips=None) for name in 'ab']
  folder = make(tmp_path / 'index', old).folder

  def forget(told, segment, files):
    names = 'clips.npy', 'clip_counts.npy', 'places.npy', 'lookup.npy'
    for name in names:
      (folder / 'segments' / segment['name'] / name).unlink()
      del files[name]

  changed(folder, forget)
  assert_has(Index(folder), old)
  index, new = Index(folder), [video(name, 9) for name in 'cdefghi']
  for one in new:
    index.add([one])  # the last ones merge all shards
  assert len(index.manifest['segments']) < 8
  assert_has(Index(folder), old + new)


def test_a_video_that_is_there_twice_is_refused(tmp_path):
  folder = make(tmp_path / 'index', [video('a')], [video('b')]).folder
  path = folder / 'segments' / '000001' / 'names.json'
  sealed(folder, 'names.json', path.read_bytes().replace(b'"a"', b'"b"'))
  (path.parent / 'lookup.npy').write_bytes(
    (folder / 'segments' / '000002' / 'lookup.npy').read_bytes()
  )
  sealed(folder, 'lookup.npy', (path.parent / 'lookup.npy').read_bytes())
  with pytest.raises(ValueError, match='it has a video twice'):
    Index(folder).row('b')
  with pytest.raises(ValueError, match='it has a video twice'):
    Index(folder).check()
