"""What all commands have in common: their names, and how they fail."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import deltax
from deltax import commands, training
from deltax.convert.torch_file import TorchFileError
from deltax.data.features.made import open_or_make
from deltax.data.features.shards.records import FeatureError
from deltax.data.features.similarities import Similarities, write_similarities
from deltax.data.features.store import FeatureStore
from deltax.data.pickles import Refused
from deltax.data.video.stream import VideoError
from deltax.errors import DeltaxError, told_in_one_sentence

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
NAMES = [name for _, group in commands.COMMANDS.values() for name in group]


def ended(capsys, *arguments):
  """The exit status of a command, and what it said."""
  with pytest.raises(SystemExit) as left:
    commands.main([str(argument) for argument in arguments])
  return left.value.code, capsys.readouterr()


def process(*arguments, **options):
  """The command in a process of its own."""
  return subprocess.Popen(
    [sys.executable, *map(str, arguments)],
    cwd=ROOT,
    env={**os.environ, 'DELTAX_CACHE': 'off'},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )


def test_help_lists_every_command_below_what_it_is_about(capsys):
  status, told = ended(capsys, '--help')
  assert status == 0
  places = [told.out.index(f'\n  {name} ') for name in NAMES]
  assert places == sorted(places)
  for about, group in commands.COMMANDS.values():
    first = told.out.index(f'\n  {next(iter(group))} ')
    assert told.out.index(f'\n{about}:') < first
  assert max(map(len, told.out.splitlines())) <= 80


@pytest.mark.parametrize('name', NAMES)
def test_every_command_has_help(capsys, name):
  status, told = ended(capsys, name, '--help')
  assert status == 0 and told.out.startswith(f'usage: deltax {name} ')


def test_the_version_is_that_of_the_library(capsys):
  status, told = ended(capsys, '--version')
  assert status == 0 and told.out == f'deltax {deltax.__version__}\n'


@pytest.mark.parametrize(
  ('typed', 'meant'),
  [('serch', 'search'), ('Index', 'index'), ('distil', 'distill')],
)
def test_a_command_that_does_not_exist_suggests_one(capsys, typed, meant):
  status, told = ended(capsys, typed)
  assert status == 2 and not told.out
  last = f"there is no command '{typed}'; is '{meant}' meant?"
  assert told.err.splitlines()[-1] == f'deltax: error: {last}'


def test_nothing_is_suggested_where_nothing_is_near(capsys):
  status, told = ended(capsys, 'zzzzz')
  assert status == 2 and told.err.endswith(f'known: {", ".join(NAMES)}\n')


def test_no_command_is_an_error(capsys):
  status, told = ended(capsys)
  assert status == 2 and 'COMMAND' in told.err


def test_modules_are_there_when_they_are_used():
  program = (
    'import sys, deltax;'
    'assert "delta" in dir(deltax) and "jax" not in sys.modules;'
    'print(deltax.delta.distill.__name__, deltax.retrieval.__name__)'
  )
  with process('-c', program) as started:
    out, told = started.communicate(timeout=60)
  assert (out, told) == ('distill deltax.retrieval\n', '')
  for name in set(dir(deltax)) - set(vars(deltax)):
    assert getattr(deltax, name).__name__ == f'deltax.{name}'
  with pytest.raises(AttributeError, match="'deltax' has no attribute 'x'"):
    deltax.x  # noqa: B018


@pytest.mark.parametrize(
  'error',
  [
    training.CheckpointError,
    training.WorkdirError,
    VideoError,
    FeatureError,
    TorchFileError,
    Refused,
  ],
)
def test_errors_of_the_library_have_one_base(error):
  assert issubclass(error, DeltaxError) and issubclass(error, ValueError)


@pytest.fixture
def broken(tmp_path):
  """A run of which a file is lost."""
  state = training.TrainState(
    jnp.int32(1), {'w': jnp.ones(3)}, {}, (), jax.random.key(0)
  )
  task = {'name': 'similarity', 'network': 'coarse', 'delta': {}}
  data = {'name': 'street', 'options': {'size': (64, 128)}, 'train': {}}
  with training.Checkpoints(
    tmp_path / 'run', metadata={'task': task, 'data': data}
  ) as checkpoints:
    checkpoints.save(state)
  shutil.rmtree(training.find_checkpoint(tmp_path / 'run') / 'state')
  shutil.copytree(tmp_path / 'run', tmp_path / 'runs/iter1')
  shutil.rmtree(training.find_checkpoint(tmp_path / 'run') / 'metadata')
  return tmp_path / 'run'


@pytest.mark.parametrize('name', ['run', 'export', 'score', 'bundle'])
def test_a_broken_checkpoint_is_told_in_one_sentence(
  tmp_path, broken, capsys, name
):
  with FeatureStore(tmp_path / 'features', fingerprint='none'):
    pass
  write_similarities(tmp_path / 'pairs.json', Similarities({}))
  arguments = {
    'run': [broken, 'a.mp4', '--out', tmp_path / 'out.mp4'],
    'export': [broken, tmp_path / 'out', '--size', '64x64'],
    'score': [
      *(broken, '--features', tmp_path / 'features'),
      *('--pairs', tmp_path / 'pairs.json', '--out', tmp_path / 'out'),
    ],
    'bundle': [tmp_path / 'out', '--coarse', broken, '--fine', broken],
  }
  status, told = ended(capsys, name, *arguments[name])
  assert status == 1
  assert told.err.startswith(f'deltax {name}: corrupt checkpoint {broken}')
  assert told.err.count('\n') == 1
  assert not list(tmp_path.glob('out*'))


def test_a_foreign_checkpoint_of_an_iteration_is_told(tmp_path, broken, capsys):
  features, pairs = open_or_make('')
  with FeatureStore(tmp_path / 'features', fingerprint='made') as store:
    for name, regions in features.items():
      store.add(name, regions)
  write_similarities(tmp_path / 'pairs.json', pairs)
  status, told = ended(
    *(capsys, 'iterate', f'{CONFIGS}/dns_coarse.py:smoke'),
    *('--workdir', tmp_path / 'runs', '--features', tmp_path / 'features'),
    *('--similarities', tmp_path / 'pairs.json'),
  )
  assert status == 1
  *_, last = told.err.splitlines()  # what training logs comes before
  assert last.startswith(f'deltax iterate: foreign checkpoint {tmp_path}')


def test_a_config_that_is_none_is_told(tmp_path, capsys):
  (tmp_path / 'config.py').write_text('')
  status, told = ended(
    *(capsys, 'iterate', tmp_path / 'config.py'),
    *('--workdir', tmp_path / 'runs', '--similarities', 'none.json'),
  )
  assert status == 1 and told.err.count('\n') == 1
  assert 'get_config' in told.err


@pytest.mark.parametrize('script', ['train.py', 'eval.py'])
def test_a_script_tells_what_is_wrong_in_one_sentence(broken, script):
  with process(
    *(script, f'--config={CONFIGS}/demo_delta.py:smoke'),
    *(f'--config.teacher={broken}', f'--workdir={broken}'),
  ) as started:
    _, told = started.communicate(timeout=120)
  assert started.returncode == 1
  assert told.startswith(f'{script}: corrupt checkpoint {broken}')
  assert told.count('\n') == 1


def test_a_loss_that_is_not_finite_is_told_in_one_sentence(capsys):
  with pytest.raises(SystemExit) as left, told_in_one_sentence('train.py'):
    raise FloatingPointError('step 3: the loss is not finite')
  assert left.value.code == 1
  assert capsys.readouterr().err == 'train.py: step 3: the loss is not finite\n'


def test_a_traceback_is_shown_where_one_is_asked_for(tmp_path, monkeypatch):
  monkeypatch.setenv('DELTAX_TRACEBACK', '1')
  with pytest.raises(FileNotFoundError):
    commands.main(['info', str(tmp_path)])


# A command that prints, waits and prints more than a pipe holds.
SLOW = """
import time
from deltax import commands
from deltax.commands.videos import info

def run(arguments):
  print('begun', flush=True)
  time.sleep(60 * arguments.names)
  print('more' * 100_000)

info.run = run
"""


# As a terminal starts a process; tests that a shell has put into the background
# ignore Ctrl-C, and so does what they start.
HEARS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def test_ctrl_c_is_one_line():
  code = f'{HEARS_CTRL_C}{SLOW}commands.main(["info", "any", "--names"])'
  with process('-c', code) as started:
    assert started.stdout.readline() == 'begun\n'
    os.kill(started.pid, signal.SIGINT)
    _, told = started.communicate(timeout=30)
  assert told == 'deltax info: stopped\n'
  assert started.returncode == 130


# Libraries that catch what Ctrl-C raises go on as if nothing had been.
IMPORTING = """
import importlib, time
from deltax import commands

def import_module(name):
  print('begun', flush=True)
  try:
    time.sleep(60)
  except BaseException:
    print('caught')
  time.sleep(60)

importlib.import_module = import_module
commands.main(['info', 'any'])
"""


def test_ctrl_c_is_one_line_while_libraries_are_imported():
  with process('-c', f'{HEARS_CTRL_C}{IMPORTING}') as started:
    assert started.stdout.readline() == 'begun\n'
    os.kill(started.pid, signal.SIGINT)
    rest, told = started.communicate(timeout=30)
  assert (rest, told) == ('', 'deltax info: stopped\n')
  assert started.returncode == 130


def test_a_reader_that_has_gone_is_no_error():
  with process('-c', f'{SLOW}commands.main(["info", "any"])') as started:
    assert started.stdout.readline() == 'begun\n'
    started.stdout.close()
    assert not started.stderr.read()
  assert started.returncode == 141


def test_help_without_a_reader_is_silent():
  with process('-m', 'deltax', '--help') as started:
    started.stdout.close()
    assert not started.stderr.read()
