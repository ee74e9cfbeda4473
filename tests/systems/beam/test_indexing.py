"""An index by a pipeline is the plain one; no video is read twice."""

import collections
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from deltax import systems
from deltax.errors import DeltaxError
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.fine_search import FineSearch
from deltax.systems import beam
from deltax.systems.beam import indexing, shards, videos
from deltax.systems.beam.indexing import parsed
from deltax.systems.reading import encode_video, read_parts

THERE = {'0.mp4', '1.mp4', '2.mp4', '3.mp4', '4.mp4'}


def content(folder):
  """Every file of a folder."""
  return {
    path.relative_to(folder): path.read_bytes()
    for path in pathlib.Path(folder).rglob('*')
    if path.is_file()
  }


@pytest.fixture
def read(monkeypatch):
  """How often each file is decoded."""
  counts, real = collections.Counter(), videos.read_parts

  def counted(system, path):
    counts[pathlib.Path(path).name] += 1
    return real(system, path)

  monkeypatch.setattr(videos, 'read_parts', counted)
  return counts


def test_the_index_is_that_of_the_plain_command_bit_for_bit(
  films, tmp_path, read
):
  plain = systems.index_files(tmp_path / 'a', [films])
  added = beam.index_files(tmp_path / 'b', [films])
  assert added == plain
  assert set(added.failed) == {'cut.mp4', 'empty.mp4'} and added.done == 5
  assert content(tmp_path / 'a') == content(tmp_path / 'b')
  assert read == dict.fromkeys(THERE | {'cut.mp4', 'empty.mp4'}, 1)


def test_an_index_that_is_begun_goes_on_as_by_the_plain_command(
  films, tmp_path, read
):
  for name, index in (('a', systems.index_files), ('b', beam.index_files)):
    systems.index_files(tmp_path / name, [films / '3.mp4', films / '0.mp4'])
    added = index(tmp_path / name, [films])
    assert (added.done, added.there, added.videos) == (3, 2, 5)
  assert content(tmp_path / 'a') == content(tmp_path / 'b')
  assert '3.mp4' not in read


def test_a_repeated_run_reads_no_video_and_tells_the_same(
  films, tmp_path, read
):
  first = beam.index_files(tmp_path / 'i', [films])
  before = content(tmp_path / 'i')
  read.clear()
  again = beam.index_files(tmp_path / 'i', [films])
  assert (again.done, again.there, again.videos) == (0, 5, 5)
  assert again.failed == first.failed and len(again.failed) == 2
  assert content(tmp_path / 'i') == before
  assert not read
  names = [path.suffix for path in (tmp_path / 'i.beam').iterdir()]
  assert names == ['.failed'] * 2


def test_what_could_not_be_reached_is_tried_again(films, tmp_path, monkeypatch):
  def unreachable(system, path):
    raise OSError(f'{path}: no answer')

  with monkeypatch.context() as patched:
    patched.setattr(videos, 'read_parts', unreachable)
    with pytest.raises(ValueError, match=r'added: 1\.mp4: .*1\.mp4: no answer'):
      beam.index_files(tmp_path / 'i', [films / '1.mp4'])
  assert not (tmp_path / 'i').exists()
  assert beam.index_files(tmp_path / 'i', [films / '1.mp4']).done == 1
  assert not (tmp_path / 'i.beam').exists()


# The same as `small_system`, in a process of its own, which notes what it
# reads, and is killed when it begins with the fourth.
KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import conftest
from deltax.systems import beam
from deltax.systems import folder as system_folder
from deltax.systems.beam import videos

system, read, real = conftest.make_system(), [], videos.read_parts
system_folder.open_system = lambda place: system

def noted(system, path):
  read.append(os.path.basename(path))
  print(read[-1], flush=True)
  if len(read) == 4:
    os.kill(os.getpid(), signal.SIGKILL)
  return real(system, path)

videos.read_parts = noted
beam.index_files({out!r}, [{films!r}])
"""


def test_a_killed_run_goes_on_where_it_was(films, tmp_path, read):
  code = KILLED.format(
    tests=str(pathlib.Path(__file__).parent),
    out=str(tmp_path / 'b'),
    films=str(films),
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True
  )
  assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
  *before, fatal = done.stdout.split()
  assert len(before) == 3 and not (tmp_path / 'b').exists()
  beam.index_files(tmp_path / 'b', [films])
  # Only the one that was being read is begun once more.
  everything = THERE | {'cut.mp4', 'empty.mp4'}
  assert read == dict.fromkeys(everything - set(before), 1) and fatal in read
  systems.index_files(tmp_path / 'a', [films])
  assert content(tmp_path / 'a') == content(tmp_path / 'b')


def test_a_run_killed_while_the_index_is_written_reads_nothing_again(
  films, tmp_path, read, monkeypatch
):
  class Killed(BaseException):
    pass

  def killed(*arguments):
    raise Killed

  with monkeypatch.context() as patched, pytest.raises(Killed):
    patched.setattr(shards.Shards, 'read', killed)
    beam.index_files(tmp_path / 'i', [films])
  assert set(read.values()) == {1}
  read.clear()
  assert beam.index_files(tmp_path / 'i', [films]).done == 5
  assert not read


def test_videos_of_elsewhere_are_indexed_and_never_taken_for_missing(
  films, tmp_path, bucket
):
  for name in (*THERE, 'cut.mp4'):
    bucket.files[f'bucket://films/{name}'] = (films / name).read_bytes()
  place = 'bucket://films'
  added = beam.index_files(tmp_path / 'i', [place], store='bucket://store')
  assert added.done == 5 and list(added.failed) == ['cut.mp4']
  assert added.failed['cut.mp4'].startswith(f'{place}/cut.mp4: ')
  left = [path for path in bucket.files if path.startswith('bucket://store')]
  assert [path.rpartition('.')[2] for path in left] == ['failed']
  index = Index(tmp_path / 'i')
  assert [*index.paths] == [f'{place}/{name}' for name in sorted(THERE)]
  systems.index_files(tmp_path / 'plain', [films])
  plain = Index(tmp_path / 'plain')
  for row, name in enumerate(index.names):
    codes = plain.fine(plain.row(name))
    np.testing.assert_array_equal(index.fine(row), codes)
    assert index.state(name) == ''
  bucket.opened.clear()
  again = beam.index_files(tmp_path / 'i', [place], store='bucket://store')
  assert (again.done, again.there) == (0, 5)
  assert not any(
    path.endswith(f'films/{name}') for name in THERE for path in bucket.opened
  )
  refreshed = systems.refresh(index, force=True)
  assert refreshed.videos == 5 and not refreshed.removed
  twin = systems.index_files(tmp_path / 'i', [films / '1.mp4'])
  assert (twin.done, list(twin.same.values())) == (0, ['1.mp4'])


def test_a_worker_with_another_model_is_refused(films, tmp_path):
  handler = videos.VideoHandler('binary', 'another')
  with pytest.raises(DeltaxError, match='on a worker, and another where'):
    handler.load_model()


def test_what_workers_cannot_do_is_told_in_a_sentence_too(
  films, tmp_path, monkeypatch, full_disk, read
):
  (tmp_path / 'file').touch()
  with pytest.raises(DeltaxError, match=r'file cannot be written to: File exi'):
    beam.index_files(tmp_path / 'i', [films], store=tmp_path / 'file')
  assert not read
  with full_disk() as fill, monkeypatch.context() as patched:
    patched.setattr(shards.Shards, 'check', lambda self: fill())
    message = r'^\S*i\.beam cannot be written to: File too large$'
    with pytest.raises(DeltaxError, match=message):
      beam.index_files(tmp_path / 'i', [films])
  assert beam.index_files(tmp_path / 'i', [films]).done == 5


@pytest.mark.parametrize(
  ('backend', 'dtype', 'same'),
  [
    ('cpu', None, True),
    ('gpu', None, False),
    ('gpu', 'float32', True),
    ('cpu', 'bfloat16', False),
  ],
)
def test_accelerators_describe_frames_in_bfloat16_if_not_told_otherwise(
  films, small_system, monkeypatch, backend, dtype, same
):
  path = str(films / '1.mp4')
  fine = FineSearch(small_system.fine)
  expected = encode_video(small_system, fine, read_parts(small_system, path))
  handler = videos.VideoHandler('binary', small_system.fingerprint, dtype)
  with monkeypatch.context() as patched:
    patched.setattr(jax, 'default_backend', lambda: backend)
    model = handler.load_model()
  (encoded,) = handler.run_inference([path], model)
  codes, exact = encoded.video.fine, expected.video.fine
  assert codes.dtype == np.float32
  assert np.array_equal(codes, exact) == same
  np.testing.assert_allclose(codes, exact, atol=0.01)


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--runner=Nobody', 'Unexpected pipeline runner: Nobody'),
    ('--runner=no.such.Runner', "No module named 'no'"),
    ('--runner=json.Runner', "has no attribute 'Runner'"),
    ('--direct_running_mode=fast', "invalid choice: 'fast'"),
    ('--direct_num_workers=two', "invalid int value: 'two'"),
  ],
)
def test_a_wrong_flag_is_told_in_a_sentence(
  films, tmp_path, flag, message, capsys
):
  with pytest.raises(DeltaxError, match=r'^flags of Beam: ') as told:
    beam.index_files(tmp_path / 'i', [films], flags=[flag])
  assert message in str(told.value) and '\n' not in str(told.value)
  assert not capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_flags_of_other_runners_pass():
  flags = ['--runner=FlinkRunner', '--flink_master=host:1', '--parallelism=4']
  options = parsed(flags).get_all_options(drop_default=True)
  assert options['runner'] == 'FlinkRunner'
  assert options['flink_master'] == 'host:1'


def test_a_store_is_beside_its_index(films, tmp_path, monkeypatch):
  places = []
  monkeypatch.setattr(
    indexing, 'encode_all', lambda shards, *rest: places.append(shards.place)
  )
  monkeypatch.chdir(tmp_path)
  for store in (None, tmp_path / 'there'):
    with pytest.raises(ValueError, match='no worker has written it'):
      beam.index_files('i/', [films / '1.mp4'], store=store)
  assert places == [f'{tmp_path}/i.beam', f'{tmp_path}/there']
