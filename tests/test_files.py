"""Files and folders that are there whole, or not at all."""

import errno
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from deltax import files


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path):
  path = tmp_path / 'new' / 'folders' / 'a.txt'
  files.write_text(path, 'žofka\n')
  assert path.read_text(encoding='utf-8') == 'žofka\n'
  files.write_json(str(path), {'b': [1, None]})
  assert json.loads(path.read_text()) == {'b': [1, None]}
  assert names(path.parent) == ['a.txt']


def test_a_name_may_be_as_long_as_any_file_system_allows(tmp_path):
  for name in ('a' * 255, '\N{VIDEO CAMERA}' * 63 + 'aaa'):
    files.write_text(tmp_path / name, name)
    assert (tmp_path / name).read_text(encoding='utf-8') == name
  assert len(names(tmp_path)) == 2


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path):
  path = tmp_path / 'film.mp4'
  path.write_bytes(b'old')
  with files.replacing(path, durable=True) as beside:
    assert beside.name == 'film.mp4' and not beside.exists()
    beside.write_bytes(b'new')
    assert path.read_bytes() == b'old'
  assert path.read_bytes() == b'new'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize('written', [True, False])
def test_a_failure_leaves_the_old_file_and_no_leftovers(
  tmp_path, error, written
):
  path = tmp_path / 'a'
  path.write_text('old')
  with pytest.raises(error), files.replacing(path) as beside:
    if written:
      beside.write_text('half')
    raise error
  with pytest.raises(error), files.filling(path, force=True) as beside:
    (beside / 'half').touch()
    raise error
  assert path.read_text() == 'old'
  assert names(tmp_path) == ['a']


@pytest.mark.parametrize('force', [False, True])
def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
  tmp_path, monkeypatch, force
):
  path = tmp_path / 'a'
  path.mkdir()
  (path / 'old').touch()
  replace = os.replace

  def failing(source, target):
    if pathlib.Path(source).name == 'a' and target == path:
      raise OSError('not now')
    replace(source, target)

  with monkeypatch.context() as patch:
    if force:
      patch.setattr(os, 'replace', failing)
    with pytest.raises(OSError, match='not'), files.filling(path, force=force):
      pass
  assert names(tmp_path) == ['a'] and names(path) == ['old']


def test_what_cannot_be_json_leaves_the_old_file(tmp_path):
  files.write_json(tmp_path / 'a.json', 1)
  with pytest.raises(TypeError):
    files.write_json(tmp_path / 'a.json', object())
  assert (tmp_path / 'a.json').read_text() == '1\n'


@pytest.mark.parametrize('old', ['nothing', 'empty', 'folder', 'file'])
def test_a_folder_takes_the_place_of(tmp_path, old):
  path = tmp_path / 'new' / 'a'
  if old != 'nothing':
    path.parent.mkdir()
    path.touch() if old == 'file' else path.mkdir()
  if old == 'folder':
    (path / 'old').touch()
  with files.filling(path, force=old in ('folder', 'file')) as beside:
    assert beside.name == 'a' and not names(beside)
    (beside / 'new').touch()
  assert names(path) == ['new'] and names(path.parent) == ['a']


@pytest.mark.parametrize('mask', [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, mask):
  before = os.umask(mask)
  try:
    files.write_text(tmp_path / 'a', '')
    with files.filling(tmp_path / 'b'):
      pass
    (tmp_path / 'fresh').touch()
    (tmp_path / 'fresh_folder').mkdir()
  finally:
    os.umask(before)
  for name, fresh in (('a', 'fresh'), ('b', 'fresh_folder')):
    modes = [(tmp_path / path).stat().st_mode for path in (name, fresh)]
    assert modes[0] == modes[1]


def test_of_two_writers_at_once_the_last_to_end_wins(tmp_path):
  path = tmp_path / 'a'
  with files.replacing(path) as first, files.replacing(path) as second:
    first.write_text('first')
    second.write_text('second')
  assert path.read_text() == 'first'
  assert names(tmp_path) == ['a']


def test_many_writers_at_once_never_mix(tmp_path):
  path, texts = tmp_path / 'a', [str(n) * 10_000 for n in range(4)]
  seen = []

  def write(text):
    for _ in range(25):
      files.write_text(path, text)
      seen.append(path.read_text())

  threads = [threading.Thread(target=write, args=[text]) for text in texts]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(seen) == 100 and set(seen) <= set(texts)
  assert names(tmp_path) == ['a']


KILLED = """
import os, signal, sys
from deltax import files

with files.replacing(sys.argv[1]) as beside:
  beside.write_bytes(b'half')
  os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path):
  path = tmp_path / 'a[1]'
  with files.replacing(path) as living:
    living.write_text('living')
    killed = subprocess.run([sys.executable, '-c', KILLED, str(path)])
    assert killed.returncode < 0
    assert not path.exists() and len(names(tmp_path)) == 2
    files.write_text(tmp_path / 'other', '')
    assert len(names(tmp_path)) == 3
    files.write_text(path, 'new')
    assert path.read_text() == 'new' and len(names(tmp_path)) == 3
  assert path.read_text() == 'living'
  assert names(tmp_path) == ['a[1]', 'other']


def test_a_folder_that_was_swept_before_it_was_locked_is_made_again(
  tmp_path, monkeypatch
):
  flock, swept = fcntl.flock, []

  def late(handle, how):
    if len(swept) < 2:
      (hidden,) = tmp_path.iterdir()
      swept.append(hidden)
      hidden.rmdir()
    flock(handle, how)

  monkeypatch.setattr(fcntl, 'flock', late)
  files.write_text(tmp_path / 'a', 'all')
  assert len(swept) == 2
  assert (tmp_path / 'a').read_text() == 'all' and names(tmp_path) == ['a']


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
  def flock(*_):
    raise OSError('no locks')

  monkeypatch.setattr(fcntl, 'flock', flock)
  path = tmp_path / 'a'
  with files.replacing(path) as first, files.replacing(path) as second:
    first.write_text('first')
    second.write_text('second')
  assert path.read_text() == 'first' and names(tmp_path) == ['a']


def test_a_scratch_folder_goes_and_takes_along_what_a_dead_process_left(
  tmp_path,
):
  path = tmp_path / 'work'
  dead = tmp_path / '.work.writing-dead'
  dead.mkdir()
  (dead / 'big').touch()
  with files.scratch(path) as folder, files.scratch(path) as other:
    assert names(tmp_path) == sorted([folder.name, other.name])
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / 'a').touch()
  assert not names(tmp_path)


def test_durable_files_are_waited_for_before_and_after_the_rename(
  tmp_path, monkeypatch
):
  steps = []
  replace, sync = os.replace, files.sync
  monkeypatch.setattr(
    os, 'replace', lambda *a: [steps.append('rename'), replace(*a)]
  )
  monkeypatch.setattr(
    files,
    'sync',
    lambda path: [steps.append(pathlib.Path(path).name), sync(path)],
  )
  files.write_text(tmp_path / 'a', '')
  assert steps == ['rename']
  files.write_text(tmp_path / 'a', '', durable=True)
  assert steps == ['rename', 'a', 'rename', tmp_path.name]


@pytest.mark.parametrize(
  'error', [OSError(errno.ENOSPC, 'no space'), OSError('0 of 9')]
)
def test_an_error_without_a_name_gets_that_of_the_file(tmp_path, error):
  (tmp_path / 'old').write_text('old')
  with (
    pytest.raises(OSError, match=r"(no space|0 of 9): '.*/old'") as told,
    files.replacing(tmp_path / 'old'),
  ):
    raise error
  assert told.value.errno in (errno.ENOSPC, errno.EIO)
  assert (tmp_path / 'old').read_text() == 'old'
  with (
    pytest.raises(OSError, match=r"(no space|0 of 9): '.*/new'"),
    files.filling(tmp_path / 'new'),
  ):
    raise error
  assert not (tmp_path / 'new').exists()
