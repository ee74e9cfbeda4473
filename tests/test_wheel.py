"""The wheel of this checkout works where the checkout is not."""

import os
import pathlib
import subprocess
import sys
import venv
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import delta, models, training
from deltax.data.video.files import read_video, write_video

ROOT = pathlib.Path(__file__).parents[1]
SPEC = {'candidates': (('low_rank', 2, 'out'),)}

pytestmark = pytest.mark.slow


def run(*arguments, cwd):
  """A program that knows nothing of the checkout, nor of its user's cache."""
  kept = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  done = subprocess.run(
    [*map(str, arguments)],
    cwd=cwd,
    env={
      **kept,
      'XLA_FLAGS': os.environ['QUICK_COMPILATION'],
      'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    },
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """Built as a release would be; its build backend comes from the registry."""
  folder = tmp_path_factory.mktemp('wheel')
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
  run(*pip, 'wheel', ROOT, '--no-deps', '--wheel-dir', folder, cwd=folder)
  (path,) = folder.iterdir()
  return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
  """The folder of programs of an environment with the wheel.

  What it depends on is that of the tests: a path in a .pth file, whose own .pth
  files, such as the one of a checkout installed with -e, do not count.
  """
  folder = tmp_path_factory.mktemp('environment')
  venv.create(folder, symlinks=True)
  (packages,) = folder.glob('lib/python*/site-packages')
  libraries = pathlib.Path(jax.__file__).parents[1]
  (packages / 'libraries.pth').write_text(f'{libraries}\n')
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
  python = folder / 'bin/python'
  run(
    *(*pip, '--python', python, 'install', '--no-deps', '--no-index'),
    *('--ignore-installed', wheel),
    cwd=folder,
  )
  told = run(python, '-c', 'import deltax; print(deltax.__file__)', cwd=folder)
  assert pathlib.Path(told.strip()).is_relative_to(packages)
  return folder / 'bin'


def film(count):
  """A white disc that crosses a coloured frame."""
  rows, columns = np.mgrid[:96, :128]
  frames = np.empty((count, 96, 128, 3), np.uint8)
  for t in range(count):
    near = (rows - 48) ** 2 + (columns - 8 * t) ** 2 < 400
    frames[t] = np.where(near[..., None], 255, (200, 90, 30))
  return frames


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
  assert wheel.name.startswith('deltax_jax-')
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split('/')[0].split('-')[0] for name in names} == {
    *('deltax', 'deltax_jax')
  }
  held = {name for name in names if name.startswith('deltax/')}
  there = (path for path in ROOT.glob('deltax/**/*') if path.is_file())
  assert held == {
    path.relative_to(ROOT).as_posix() for path in there if path.suffix != '.pyc'
  }


def test_videos_are_indexed_and_found(installed, tmp_path):
  (tmp_path / 'films').mkdir()
  write_video(tmp_path / 'films/disc.mp4', film(12), 4)
  write_video(tmp_path / 'films/back.mp4', film(12)[::-1, :, ::-1], 4)
  command = installed / 'deltax'
  told = run(command, 'index', 'films', '--out', 'my.index', cwd=tmp_path)
  assert '2 videos, 2 of them new' in told
  told = run(command, 'search', 'my.index', 'films/disc.mp4', cwd=tmp_path)
  assert told.splitlines()[1].split()[:2] == ['1', '1.000']


def test_a_network_runs_on_a_video(installed, tmp_path):
  net = models.create('ddrnet23_tiny', num_classes=11)
  frame = jnp.zeros((1, 64, 64, 3))
  variables = net.init(jax.random.key(0), frame)
  distilled = delta.distill(net, delta.make_spec(**SPEC))
  params = distilled.init(jax.random.key(1), variables, frame)
  teacher = params['teacher']
  state = training.TrainState(
    jnp.int32(0),
    {**params, 'teacher': teacher['params']},
    {'batch_stats': teacher['batch_stats']},
    *((), jax.random.key(2)),
  )
  task = {'name': 'segmentation', 'model': 'ddrnet23_tiny', 'num_classes': 11}
  described = {
    'task': {**task, 'delta': {'spec': SPEC}},
    'data': {'name': 'street', 'options': {'size': (64, 128)}, 'train': {}},
  }
  with training.Checkpoints(tmp_path / 'run', metadata=described) as kept:
    kept.save(state)
  write_video(tmp_path / 'drive.mp4', film(7), 4)
  told = run(
    *(installed / 'deltax', 'run', 'run', 'drive.mp4', '--out', 'seen.mp4'),
    *('--interval', '3'),
    cwd=tmp_path,
  )
  assert '7 frames of 96x128' in told and 'a key frame every 3' in told
  seen = read_video(tmp_path / 'seen.mp4', rate=1e9, short_side=None, crop=None)
  assert seen.frames.shape == (7, 96, 128, 3)
