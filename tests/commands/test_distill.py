"""`deltax distill`: a network and videos of somebody's, in one command."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import own_films
import pytest
from flax import traverse_util

from deltax import commands, experiment, plain
from deltax.data.video.frames import read_frames
from deltax.tasks.network import bring

TESTS = pathlib.Path(__file__).parents[1]
BENCHMARK = TESTS.parent / 'benchmarks' / 'own.py'
FILE = TESTS / 'tasks' / 'imitation' / 'brought_networks.py'


@pytest.fixture(scope='module')
def brought(tmp_path_factory):
  """Three videos, and the weights of two networks, under names of their own."""
  folder = tmp_path_factory.mktemp('brought')
  own_films.films(folder / 'videos')
  for name in ('maps', 'edges'):
    network = bring(f'{FILE}:{name}')
    frame = jnp.zeros((1, *own_films.SIZE, 3))
    variables = network.variables(jax.random.key(3), frame)
    flat = traverse_util.flatten_dict(variables, sep='.')
    arrays = {f'net.{path}': np.asarray(x) for path, x in flat.items()}
    np.savez(folder / f'{name}.npz', **arrays)
  return folder


def arguments(folder, name, out, *more, options=()):
  return [
    *('distill', f'{FILE}:{name}', *options),
    *('--weights', str(folder / f'{name}.npz')),
    *('--videos', str(folder / 'videos'), '--size', '48x64'),
    *('--prepare', f'{FILE}:prepare', '--data-dir', str(folder / 'data')),
    *('--out', str(out), '--interval', '3', '--batch-size', '4'),
    *('--held-out', 'long.mp4'),
    *more,
  ]


def test_a_network_is_distilled_on_videos_and_goes_on(
  brought, tmp_path, capsys
):
  out = tmp_path / 'mine'
  told = arguments(brought, 'maps', out, '--steps', '2')
  (out / 'checkpoints').mkdir(parents=True)  # of one killed while it solved
  commands.main(told)
  assert (out / 'fit.json').exists()
  said = capsys.readouterr().out
  assert 'copied, interval 3' in said and 'The page' in said
  results = json.loads((out / 'results.json').read_text())
  row = next(row for row in results['delta'] if row['interval'] == 3)
  assert 0 < row['score'] <= 1 and len(row['copied_per_distance']) == 3
  page = (out / 'report.html').read_text()
  assert 'where copying the key frame' in page and 'as it is prepared' in page
  config = plain.read_json(out / 'config.json', plain.DICT)
  assert config['training']['steps'] == 2

  commands.main(told)  # a run that is finished is only judged again
  assert 'goes on' in capsys.readouterr().out
  assert json.loads((out / 'results.json').read_text())['delta'][0] == {
    **results['delta'][0],
    'ms': pytest.approx(results['delta'][0]['ms'], rel=20),
  }


def test_such_a_run_is_run_exported_profiled_and_compared(
  brought, tmp_path, capsys
):
  out = tmp_path / 'mine'
  kinds = ('--output', 'output=probabilities', '--draw', f'{FILE}:draw')
  commands.main(
    arguments(
      *(brought, 'edges', out, '--steps', '1', *kinds), options=['features=8']
    )
  )
  video = brought / 'videos' / 'long.mp4'
  commands.main(['run', str(out), str(video), '--out', str(tmp_path / 'a.mp4')])
  frames, before = (
    np.stack(list(read_frames(path))) for path in (tmp_path / 'a.mp4', video)
  )
  assert frames.shape == before.shape
  off = np.abs(frames[1].astype(int) - (255 - before[1].astype(int)))
  assert np.median(off) < 12  # drawn by the function, then coded
  exported = tmp_path / 'exported'
  commands.main(['export', str(out), str(exported), '--size', '48x64'])
  manifest = json.loads((exported / 'manifest.json').read_text())
  assert manifest['frame']['preparation']['function'] == f'{FILE}:prepare'
  commands.main(
    ['profile', str(out), '--size', '48x64', '--candidates', 'low_rank:2']
  )
  assert 'second' in capsys.readouterr().out
  measured = subprocess.run(
    [sys.executable, str(BENCHMARK), str(out), '--clips', '1'],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert measured.returncode == 0, measured.stderr[-2000:]
  assert 'long.mp4: 1 clips' in measured.stdout
  assert 'interval 10' in measured.stdout
  commands.main(['compare', str(out), '--out', str(tmp_path / 'both.html')])
  assert 'IoU' in (tmp_path / 'both.html').read_text()


def test_weights_that_do_not_fit_are_listed_before_a_video_is_read(
  brought, tmp_path, capsys
):
  told = arguments(brought, 'maps', tmp_path / 'mine')
  told[told.index(str(brought / 'maps.npz'))] = str(brought / 'edges.npz')
  with pytest.raises(SystemExit) as stopped:
    commands.main(told)
  assert stopped.value.code == 1
  said = capsys.readouterr().err
  assert 'missing' in said and 'left over' in said and 'third' in said
  assert not (tmp_path / 'mine').exists()


@pytest.mark.parametrize(
  ('more', 'words'),
  [
    (('--steps', '1', '--output', 'other=values'), "no output 'other'"),
    (('--mean', '0', '0'), 'mean'),
    (('planes',), "'planes' is no argument such as num_classes=19"),
  ],
)
def test_what_cannot_be_is_told_in_one_sentence(
  brought, tmp_path, capsys, more, words
):
  options = [text for text in more if text == 'planes']
  more = [text for text in more if text != 'planes']
  told = arguments(brought, 'maps', tmp_path / 'mine', *more, options=options)
  if '--mean' in more:
    told.remove('--prepare')
    told.remove(f'{FILE}:prepare')
  with pytest.raises(SystemExit) as stopped:
    commands.main(told)
  assert stopped.value.code == 1
  assert words in capsys.readouterr().err
  assert not (tmp_path / 'mine').exists()


def test_several_targets_are_several_runs_and_one_page(
  brought, tmp_path, capsys
):
  out = tmp_path / 'mine'
  told = arguments(
    *(brought, 'maps', out, '--steps', '0'), *('--target', '0.3', '0.7')
  )
  commands.main(told)
  said = capsys.readouterr().out
  assert 'choosing students for 0.3, 0.7 of the cost' in said
  shares = []
  for target in (0.3, 0.7):
    folder = out / f'target_{target}'
    config = plain.read_json(folder / 'config.json', plain.DICT)
    assert set(config['task']['delta']['spec']['choices']) == {
      'second',
      'third',
      'classes',
    }
    results = json.loads((folder / 'results.json').read_text())
    shares.append(results['gmacs']['later'] / results['gmacs']['key'])
    assert 'solved for' in (folder / 'report.html').read_text()
  assert shares[0] < shares[1] < 1
  page = (out / 'front.html').read_text()
  assert 'teacher on' in page and 'copied' in page
  with pytest.raises(SystemExit):
    commands.main([*told[:-2], '0', '--out', str(tmp_path / 'other')])
  assert (
    'a target is a positive share below 1, got 0.0' in capsys.readouterr().err
  )


def test_a_target_may_be_of_milliseconds(brought, tmp_path):
  out = tmp_path / 'mine'
  told = ('--steps', '0', '--by', 'time', '--target', '0.95')
  commands.main(arguments(brought, 'maps', out, *told))
  folder = out / 'target_0.95'
  config = plain.read_json(folder / 'config.json', plain.DICT)
  assert len(config['task']['delta']['spec']['choices']) == 3
  assert (folder / 'results.json').exists()


def test_students_without_parameters_have_nothing_to_learn(
  brought, tmp_path, monkeypatch
):
  """A choice of layers that are skipped, or stay as they are."""
  spec = {'candidates': [['teacher']], 'choices': {'third': ['skip']}}
  monkeypatch.setattr(experiment, 'choose', lambda *told: [spec])
  out = tmp_path / 'mine'
  told = ('--steps', '1', '--by', 'time', '--target', '0.9')
  commands.main(arguments(brought, 'maps', out, *told))
  results = json.loads((out / 'target_0.9' / 'results.json').read_text())
  assert results['delta'][0]['score'] < 1
