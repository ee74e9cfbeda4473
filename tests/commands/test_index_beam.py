"""`deltax index --beam`: the same index, by any runner of Beam."""

import sys

import jax
import numpy as np
import pytest

from deltax import commands
from deltax.data.video.files import write_video


@pytest.fixture
def films(tmp_path):
  for seed in range(3):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (3 + seed, 4, 4, 3), np.uint8)
    frames = noise.repeat(16, 1).repeat(16, 2)
    write_video(tmp_path / 'films' / f'{seed}.mp4', frames, 1)
  (tmp_path / 'films' / 'empty.mp4').touch()
  return tmp_path / 'films'


def content(folder):
  return {
    path.relative_to(folder): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def failed(capsys, *arguments):
  with pytest.raises(SystemExit) as left:
    commands.main([str(argument) for argument in arguments])
  assert left.value.code == 1
  (line,) = capsys.readouterr().err.splitlines()
  return line


@pytest.mark.slow
def test_two_processes_make_the_index_of_the_plain_command(
  films, tmp_path, capsys, monkeypatch
):
  # Workers find what was compiled here.
  cache = jax.config.jax_compilation_cache_dir
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', cache)
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  two = ('--direct_num_workers=2', '--direct_running_mode=multi_processing')
  told = []
  for name, beam in (('a', ()), ('b', ('--beam', '--', *two))):
    out = ('--out', str(tmp_path / name), '--model', 'untrained')
    commands.main(['index', str(films), *out, *beam])
    told.append(capsys.readouterr().out.replace(str(tmp_path / name), 'OUT'))
  assert told[0] == told[1]
  assert 'OUT: 3 videos, 3 of them new' in told[0]
  assert 'left out: empty.mp4: ' in told[0]
  assert content(tmp_path / 'a') == content(tmp_path / 'b')


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ('gs://films', 'gs://films is read with --beam only'),
    ('gs://films --beam', "pip install 'apache-beam[gcp]'"),
    ('{films} --store there', '--store is an option of --beam'),
    ('{films} --dtype float32', '--dtype is an option of --beam'),
    ('{films} --beam -- --runner=Nobody', 'Unexpected pipeline runner: Nobody'),
    ('{films}/empty.mp4 --beam', 'no video could be added: empty.mp4: '),
    ('{films} --beam --out {films}', '0.mp4, which is read, is inside of '),
  ],
)
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_made(
  films, tmp_path, capsys, arguments, message
):
  words = arguments.format(films=films).split()
  out = ['--out', str(tmp_path / 'i')] * ('--out' not in words)
  line = failed(capsys, 'index', *out, *words)
  assert line.startswith('deltax index: ') and message in line
  assert not (tmp_path / 'i').exists()


def test_without_beam_the_command_says_what_to_install(
  films, tmp_path, capsys, monkeypatch
):
  for name in [name for name in sys.modules if 'beam' in name]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.delattr('deltax.systems.beam', raising=False)
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  line = failed(capsys, 'index', films, '--out', tmp_path / 'i', '--beam')
  assert line.endswith("pip install 'deltax-jax[beam]'")


def test_what_stands_behind_two_dashes_is_passed_on_with_the_flag_alone():
  given = ['a', '--beam', '--out', 'b', '--', '--runner=X', '--', 'c']
  assert commands.parted(given, '--beam') == (
    ['a', '--beam', '--out', 'b'],
    ['--runner=X', '--', 'c'],
  )
  for given in (['--', '-odd.mp4'], ['--', '--beam'], ['a', '--beam'], []):
    assert commands.parted(given, '--beam') == (given, [])
