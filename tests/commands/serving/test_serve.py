"""`deltax serve` in a process of its own: signals, and what is told."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import pytest
from served import Client

from deltax import commands
from deltax.commands import serving

ROOT = pathlib.Path(__file__).parents[3]
# The command, with a system that loads at once.
PROGRAM = """
import sys
from made_films import fake_system
from deltax import commands
from deltax.systems import folder
folder.open_system = fake_system
commands.main(sys.argv[1:])
"""


class Served:
  """The command, in a process of its own."""

  def __init__(self, films, temporary, *options):
    # The temporary folder is where a user's TMPDIR says.
    self.process = subprocess.Popen(
      [sys.executable, '-c', PROGRAM, 'serve', films / 'index', *options]
      + ['--port', '0'],
      env={
        **os.environ,
        'TMPDIR': str(temporary),
        'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tests/faults"}',
        'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    self.first = self.process.stdout.readline()
    assert 'http://127.0.0.1:' in self.first, self.first
    self.ask = Client(int(self.first.partition('127.0.0.1:')[2].split('/')[0]))

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.process.kill()
    self.process.communicate()

  def end(self):
    """What it has told since, and its status."""
    told, _ = self.process.communicate(timeout=60)
    return told, self.process.returncode


def left_in(folder):
  return [path for path in folder.rglob('*') if path.is_file()]


def test_sigterm_ends_it_when_all_is_answered_that_was_taken_on(
  films, tmp_path
):
  video = (films / 'query.mp4').read_bytes()
  with Served(films, tmp_path) as server:
    assert server.first.startswith('4 videos of ')
    names = [server.ask('POST', '/searches', video)[1]['id'] for _ in range(3)]
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout.readline().startswith('stopping after ')
    status, told, _ = server.ask('POST', '/searches', video)
    assert status == 503 and 'about to stop' in told['error']
    for name in names:
      assert server.ask.wait(name)['result']['matches'][0]['name'] == 'host.mp4'
    told, status = server.end()
  assert (told, status) == ('', 0)
  assert not list(tmp_path.iterdir())


def test_a_second_ctrl_c_ends_it_at_once(films, tmp_path):
  video = (films / 'query.mp4').read_bytes()
  with Served(films, tmp_path) as server:
    for _ in range(20):
      server.ask('POST', '/searches', video)
    server.process.send_signal(signal.SIGINT)
    assert server.process.stdout.readline().startswith('stopping after ')
    server.process.send_signal(signal.SIGINT)
    told, status = server.end()
  assert status == 0 and 'Traceback' not in told, told
  assert not list(tmp_path.iterdir())


def test_one_that_is_killed_leaves_the_index_as_it_was_and_the_next_cleans_up(
  films, tmp_path
):
  before = {path: path.read_bytes() for path in left_in(films)}
  video = (films / 'query.mp4').read_bytes()
  with Served(films, tmp_path) as server:
    for _ in range(9):
      server.ask('POST', '/searches', video)
    server.process.kill()
    server.process.wait()
  assert {path: path.read_bytes() for path in left_in(films)} == before
  with Served(films, tmp_path) as server:
    assert not left_in(tmp_path)
    status, told, _ = server.ask('POST', '/searches?wait=60', video)
    assert status == 200 and told['result']['videos'] == 4
    server.process.send_signal(signal.SIGTERM)
    server.end()
  assert not list(tmp_path.iterdir())


def refused(capsys, *words):
  with pytest.raises(SystemExit) as left:
    commands.main(['serve', *map(str, words)])
  assert left.value.code == 1
  told = capsys.readouterr().err
  assert 'Traceback' not in told and told.count('\n') == 1
  return told


def test_a_port_that_is_taken_is_told_in_one_sentence(films, capsys):
  with socket.create_server(('127.0.0.1', 0)) as other:
    port = other.getsockname()[1]
    told = refused(capsys, films / 'index', '--port', port)
  assert f'port {port} of 127.0.0.1 is taken; another --port' in told


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    (('--port', 70000), '--port is 0 to 65535, got 70000'),
    (('--queue', 0), '--queue is more than 0, got 0'),
    (('--limit-mb', -1), '--limit-mb is more than 0, got -1'),
    (('--limit-minutes', 'nan'), '--limit-minutes is more than 0, got nan'),
    (('--budget', -1), '--budget is at least 0, got -1'),
    (('--host', '203.0.113.1', '--port', 0), '203.0.113.1:0 cannot be'),
  ],
)
def test_an_option_that_makes_no_sense_is_named(
  films, capsys, options, expected
):
  assert expected in refused(capsys, films / 'index', *options)


def test_an_index_that_is_not_there_is_told(tmp_path, capsys):
  assert 'nothing' in refused(capsys, tmp_path / 'nothing', '--port', 0)


def test_what_is_not_installed_is_told(films, capsys, monkeypatch):
  monkeypatch.delattr(serving, 'app')
  monkeypatch.setitem(sys.modules, 'deltax.commands.serving.app', None)
  told = refused(capsys, films / 'index')
  assert "pip install 'deltax-jax[serve]'" in told
