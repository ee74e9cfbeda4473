"""Programs find what an earlier one compiled, whatever became of the folder."""

import json
import logging
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from deltax import compilation

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = """
import json, sys
import absl.logging
import jax
import numpy as np
from deltax import compilation

absl.logging.set_verbosity(absl.logging.INFO)
compilation.set_up()
told = []
jax.monitoring.register_event_listener(lambda name, **_: told.append(name))
first, last = map(int, sys.argv[1:])
for n in range(first, last):
  # Another program for each n.
  assert jax.jit(lambda x: (x + n).sum())(np.ones(3)) == 3 + 3 * n
print(json.dumps({
  'folder': jax.config.jax_compilation_cache_dir,
  'size': jax.config.jax_compilation_cache_max_size,
  'hits': told.count('/jax/compilation_cache/cache_hits'),
}))
"""


def plain_environment():
  """That of this process, without what is set for JAX or this library."""
  return {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(('JAX_', 'DELTAX_', 'XDG_'))
  }


def start(first=0, last=8, **environment):
  """A process that compiles some programs, all of which are worth keeping."""
  return subprocess.Popen(
    [sys.executable, '-c', PROGRAM, str(first), str(last)],
    env={
      **plain_environment(),
      'PYTHONPATH': str(ROOT),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      **environment,
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """What a process told, and its warnings."""
  out, warned = process.communicate(timeout=120)
  assert process.returncode == 0, warned
  return json.loads(out), warned


def run(*programs, **environment):
  return finish(start(*programs, **environment))


def entries(folder):
  return sorted(folder.glob('compiled/*-cache'))


def test_a_second_process_compiles_nothing(tmp_path):
  first, warned = run(DELTAX_CACHE=str(tmp_path))
  assert not warned and first['hits'] == 0
  assert first['folder'] == str(tmp_path / 'compiled')
  assert 0 < first['size'] <= 2**30
  kept = entries(tmp_path)
  assert len(kept) >= 8
  second, warned = run(DELTAX_CACHE=str(tmp_path))
  assert not warned and second['hits'] == len(kept)
  assert entries(tmp_path) == kept


@pytest.mark.parametrize(
  ('told', 'folder'),
  [({}, '.cache/deltax'), ({'XDG_CACHE_HOME': 'xdg'}, 'xdg/deltax')],
)
def test_the_folder_is_in_the_users_cache(tmp_path, told, folder):
  told = {name: str(tmp_path / value) for name, value in told.items()}
  run(0, 1, HOME=str(tmp_path), **told)
  assert entries(tmp_path / folder)


@pytest.mark.parametrize('told', ['', '0', 'off'])
def test_it_can_be_turned_off(tmp_path, told):
  found, warned = run(0, 1, HOME=str(tmp_path), DELTAX_CACHE=told)
  assert found['folder'] is None and not warned
  assert not list(tmp_path.iterdir())


def test_what_is_set_for_jax_wins(tmp_path):
  found, _ = run(
    *(0, 1),
    HOME=str(tmp_path / 'home'),
    DELTAX_CACHE=str(tmp_path / 'ours'),
    JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'jax'),
  )
  assert found['folder'] == str(tmp_path / 'jax') and found['size'] == -1
  assert [path.name for path in tmp_path.iterdir()] == ['jax']


def test_a_user_without_a_writable_home_has_no_cache(tmp_path):
  (tmp_path / 'file').touch()
  found, warned = run(0, 1, HOME=str(tmp_path / 'file'))
  assert found['folder'] is None and not warned


def test_a_folder_that_was_named_and_cannot_be_written_is_told(tmp_path):
  (tmp_path / 'file').touch()
  process = start(0, 1, DELTAX_CACHE=str(tmp_path / 'file'))
  _, told = process.communicate(timeout=120)
  assert process.returncode
  last = told.splitlines()[-1]
  assert f'DeltaxError: DELTAX_CACHE={tmp_path / "file"}: ' in last


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: b'',
    lambda content: content[: len(content) // 2],
    lambda content: b'no program at all',
    lambda content: content[:100] + bytes([content[100] ^ 16]) + content[101:],
  ],
  ids=['empty', 'cut', 'other', 'one bit'],
)
def test_a_damaged_entry_is_compiled_again(tmp_path, damage):
  run(DELTAX_CACHE=str(tmp_path))
  for path in entries(tmp_path):
    path.write_bytes(damage(path.read_bytes()))
  found, warned = run(DELTAX_CACHE=str(tmp_path))
  assert found['hits'] == 0
  assert 'Error reading persistent compilation cache entry' in warned
  assert 'Traceback' not in warned


def test_an_entry_whose_writer_was_killed_is_dropped(tmp_path):
  run(0, 3, DELTAX_CACHE=str(tmp_path))
  cut = entries(tmp_path)[0]
  cut.write_bytes(b'half')
  cut.with_name(cut.name.replace('-cache', '-atime')).unlink()
  _, warned = run(0, 6, DELTAX_CACHE=str(tmp_path))
  assert not warned
  assert cut in entries(tmp_path) and cut.read_bytes() != b'half'


def test_processes_share_a_folder_that_stays_small(tmp_path):
  largest = 10_000
  environment = {
    'DELTAX_CACHE': str(tmp_path),
    'JAX_COMPILATION_CACHE_MAX_SIZE': str(largest),
  }
  processes = [start(0, 30, **environment) for _ in range(2)]
  for process in processes:
    found, warned = finish(process)
    assert not warned and found['size'] == largest
  kept = entries(tmp_path)
  assert 1 < len(kept) < 30
  assert sum(path.stat().st_size for path in kept) <= largest


def test_only_what_is_no_news_is_hidden():
  def logged(text):
    record = logging.makeLogRecord({'msg': text})
    return compilation._worth_reading(record)

  start = "Unable to initialize backend 'tpu': "
  assert not logged(f'{start}INTERNAL: Failed to open libtpu.so: not there')
  assert logged(f'{start}the TPU is in use by process 7')
  assert logged("Unable to initialize backend 'cuda': out of memory")


def test_importing_the_library_leaves_jax_as_it_is():
  program = (
    'import deltax.training, deltax.delta, deltax.retrieval, jax;'
    'print(jax.config.jax_compilation_cache_dir)'
  )
  told = subprocess.run(
    [sys.executable, '-c', program],
    env={**plain_environment(), 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert told.stdout == 'None\n'


def test_a_program_that_has_a_folder_keeps_it():
  before = jax.config.jax_compilation_cache_dir
  compilation.set_up()
  assert jax.config.jax_compilation_cache_dir == before
