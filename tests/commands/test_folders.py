"""What a command reads, it does not write."""

import os

import pytest

from deltax import commands
from deltax.commands.folders import check_apart, filled


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A working folder with files and folders to read, of whatever content."""
  monkeypatch.chdir(tmp_path)
  for name in ('a.mp4', 'w.pth', 'w.npz', 'pairs.json', 'films/b.mp4'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(f'precious {name}')
  for name in ('run', 'run2', 'store', 'index', 'system'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'results.json').write_text(f'precious {name}')
  return tmp_path


def content(folder):
  return {
    path.relative_to(folder): path.read_bytes() if path.is_file() else None
    for path in folder.rglob('*')
  }


def refused(here, capsys, typed):
  """What is said where a command is refused; nothing has changed."""
  before = content(here)
  with pytest.raises(SystemExit) as left:
    commands.main(typed.split())
  assert left.value.code == 1
  assert content(here) == before
  told = capsys.readouterr().err
  assert told.count('\n') == 1
  return told


@pytest.mark.parametrize(
  'typed',
  [
    'run run a.mp4 --out a.mp4 --force',
    'run run a.mp4 --out ./films/../a.mp4 --force',
    'run run a.mp4 --out run --force',
    'export run run --size 64x64 --force',
    'convert ddrnet23_slim w.pth w.pth --force',
    'convert ddrnet23_slim w.pth out --costs out --force',
    'compare run run2 --out run/results.json',
    'compare run/results.json run2 --out run/results.json',
    'extract a.mp4 --out a.mp4',
    'extract a.mp4 --out w.npz --whitening w.npz',
    'extract a.mp4 --out w.pth --weights w.pth',
    'whiten store --out store',
    'whiten store --out w.npz --weights w.npz',
    'whiten store --out w.npz --apply store',
    'whiten store --out w.npz --apply w.npz',
    'score run --features store --pairs pairs.json --out pairs.json',
    'score run --features store --pairs pairs.json --out store',
    'bundle run --coarse run --fine run2',
    'bundle run --coarse run2 --fine run2 --selector run',
    'bundle w.npz --coarse run --fine run2 --whitening w.npz',
    'bundle w.pth --coarse run --fine run2 --weights w.pth',
    'index a.mp4 --out a.mp4',
    'index films --out films/b.mp4',
    'index a.mp4 --out system --model system',
    'search index a.mp4 --html a.mp4',
    'search index a.mp4 --html index',
  ],
)
def test_an_output_that_is_an_input_is_refused(here, capsys, typed):
  assert ' is read, and would be overwritten' in refused(here, capsys, typed)


@pytest.mark.parametrize(
  'typed',
  [
    'run run a.mp4 --out run/checkpoints/a.mp4',
    'export run run/exported --size 64x64',
    'whiten store --out store/shard-00000',
    'whiten store --out w2.npz --apply store/more',
    'score run --features store --pairs pairs.json --out store/index',
    'bundle run/system --coarse run --fine run2',
    'index a.mp4 --out system/index --model system',
    'search index a.mp4 --html index/manifest.json',
  ],
)
def test_an_output_inside_of_an_input_is_refused(here, capsys, typed):
  assert 'which is read' in refused(here, capsys, typed)


@pytest.mark.parametrize(
  'typed',
  [
    'export run . --size 64x64 --force',
    'convert ddrnet23_slim films/b.mp4 films --force',
    'extract films --out films',
    'extract films --out .',
    'index films --out films',
  ],
)
def test_a_folder_that_holds_an_input_is_not_replaced(here, capsys, typed):
  assert ', which is read, is inside of ' in refused(here, capsys, typed)


def test_an_output_among_videos_is_none_of_them(here):
  check_apart(here / 'films/my.index', here / 'films/b.mp4', None)


@pytest.mark.parametrize(
  'typed',
  [
    'run run a.mp4 --out {out}.mp4',
    'export run {out} --size 64x64',
    'convert ddrnet23_slim w.pth {out}',
    'compare run run2 --out {out}',
    'profile ddrnet23_slim --size 64x64 --out {out}',
    'extract a.mp4 --out {out}',
    'whiten store --out {out}',
    'whiten store --out new.npz --apply {out}',
    'score run --features store --pairs pairs.json --out {out}',
    'bundle {out} --coarse run --fine run2',
    'index a.mp4 --out {out}',
    'search index a.mp4 --html {out}',
    'copies {out}',
    'iterate configs/demo_student.py --similarities s --workdir {out}',
  ],
)
@pytest.mark.parametrize('out', ['films/b.mp4/out', '/proc/1/more/out'])
def test_what_cannot_be_written_is_told_before_anything_is_read(
  here, capsys, typed, out
):
  told = refused(here, capsys, typed.format(out=out))
  assert f'{out}' in told and ' cannot be written: ' in told


@pytest.mark.parametrize(
  'typed',
  [
    'run run a.mp4 --out films --force',
    'compare run run2 --out films',
    'profile ddrnet23_slim --size 64x64 --out films',
    'whiten store --out films',
    'score run --features store --pairs pairs.json --out films',
    'search index a.mp4 --html system',
  ],
)
def test_a_folder_in_the_place_of_a_file_is_told(here, capsys, typed):
  assert ' is a folder, and a file is to be ' in refused(here, capsys, typed)


@pytest.mark.parametrize('out', ['new.xyz', 'new', 'new.wav'])
def test_an_ending_of_no_video_is_told_before_anything_is_read(
  here, capsys, out
):
  told = refused(here, capsys, f'run run a.mp4 --out {out}')
  assert f'{out}: cannot write H.264 into a file with the ending' in told


def test_a_link_is_what_it_links_to(here):
  (here / 'soft.mp4').symlink_to('a.mp4')
  os.link(here / 'a.mp4', here / 'hard.mp4')
  (here / 'elsewhere').symlink_to('films')
  (here / 'again').symlink_to('run')
  for out, read in (
    ('soft.mp4', 'a.mp4'),
    ('a.mp4', 'soft.mp4'),
    ('hard.mp4', 'a.mp4'),
    ('elsewhere/b.mp4', 'films/b.mp4'),
    ('films/b.mp4', 'elsewhere/../films/b.mp4'),
    ('again/new', 'run'),
    ('run', 'again/results.json'),
  ):
    with pytest.raises(ValueError, match='is read'):
      check_apart(here / out, here / read)


def test_a_name_that_does_not_exist_yet_is_compared_too(here):
  with pytest.raises(ValueError, match='is read'):
    check_apart(here / 'new/../later', here / 'later')
  check_apart(here / 'later', here / 'late')


def test_a_folder_is_filled_whole_or_not_at_all(here):
  with filled(here / 'new', force=False) as folder:
    (folder / 'a').touch()
    assert not (here / 'new').exists()
  assert [path.name for path in (here / 'new').iterdir()] == ['a']
  with pytest.raises(KeyError), filled(here / 'new', force=True) as folder:
    raise KeyError
  assert [path.name for path in (here / 'new').iterdir()] == ['a']
