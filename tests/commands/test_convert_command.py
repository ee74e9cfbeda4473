"""`deltax convert`: a file in, a folder that training and evaluation take."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_states
import torch_writer as torch

from configs import demo_delta
from deltax import commands, experiment, models, training
from deltax.delta import distill

ROOT = pathlib.Path(__file__).parents[2]
NAME, CLASSES = 'ddrnet23_tiny', 11
FRAME = jnp.zeros((1, 64, 64, 3))


@pytest.fixture(scope='module')
def params():
  net = models.create(NAME, num_classes=CLASSES)
  variables = jax.eval_shape(net.init, jax.random.key(0), FRAME)
  init = distill(net).init
  shapes = jax.eval_shape(init, jax.random.key(0), variables, FRAME)
  return torch_states.drawn(shapes)


def save(path, state):
  value = {
    key: torch.Tensor(torch.Storage(np.asarray(array), str(i)))
    for i, (key, array) in enumerate(state.items())
  }
  return torch.save(path, {'state_dict': value})


@pytest.fixture(scope='module')
def files(params, tmp_path_factory):
  folder = tmp_path_factory.mktemp('files')
  plain = torch_states.plain_state(params['teacher'])
  delta = torch_states.delta_state(params)
  return {
    'plain': save(folder / 'plain.pth', plain),
    'delta': save(folder / 'delta.pth', delta),
  }


def run(*arguments):
  commands.main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
  with pytest.raises(SystemExit) as left:
    run(*arguments)
  assert left.value.code != 0
  said = capsys.readouterr()
  assert not said.out
  return said.err


def environment(folder):
  return {
    **os.environ,
    'DELTAX_DATA': str(folder / 'data'),
    'XLA_FLAGS': os.environ['QUICK_COMPILATION'],
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }


def test_a_frame_based_file_is_a_teacher_to_start_from(
  files, params, tmp_path, capsys
):
  out = tmp_path / 'runs' / 'converted'
  run('convert', NAME, files['plain'], out, '--num-classes', CLASSES)
  said = capsys.readouterr().out
  assert f'{NAME}, frame-based, 11 classes' in said
  weights = sum(x.size for x in jax.tree.leaves(params['teacher']['params']))
  assert f'{weights:,} parameters' in said
  assert [path.name for path in out.parent.iterdir()] == ['converted']
  config = demo_delta.get_config('smoke').to_dict()
  config['teacher'] = str(out)
  teacher = experiment.build(config).options['teacher']
  jax.tree.map(np.testing.assert_array_equal, teacher, dict(params['teacher']))


def test_a_delta_file_is_a_run_that_is_evaluated(files, tmp_path, params):
  out = tmp_path / 'converted'
  run('convert', NAME, files['delta'], out)
  restored, model_state = training.restore_params(out)
  expected = {**params, 'teacher': params['teacher']['params']}
  jax.tree.map(np.testing.assert_array_equal, restored, expected)
  assert set(model_state) == {'batch_stats'}
  task = training.read_metadata(out)['task']
  assert (task['model'], task['num_classes']) == (NAME, CLASSES)
  judged = subprocess.run(
    [
      *(sys.executable, 'eval.py', '--config=configs/demo_delta.py:smoke'),
      f'--workdir={out}',
    ],
    cwd=ROOT,
    env=environment(tmp_path),
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert judged.returncode == 0, judged.stderr[-3000:]
  results = json.loads((out / 'results.json').read_text())
  assert {row['interval'] for row in results['delta']} == {3, 5, 10}


def test_costs_are_written_by_layer(files, tmp_path, params):
  count = len(params['students'])
  costs = tmp_path / 'macs.p'
  costs.write_bytes(torch.dumps([i / count for i in range(count)]))
  for form in ('plain', 'delta'):
    out = tmp_path / form
    run('convert', NAME, files[form], out, '--costs', costs)
    written = json.loads((out / 'costs.json').read_text())
    assert set(written) == set(params['students'])
    assert sorted(written.values()) == [i / count for i in range(count)]


def test_training_goes_on_from_converted_students_and_costs(
  files, tmp_path, params
):
  costs = tmp_path / 'macs.p'
  costs.write_bytes(torch.dumps([1.0] * len(params['students'])))
  out = tmp_path / 'converted'
  run('convert', NAME, files['delta'], out, '--costs', costs)
  config = demo_delta.get_config('smoke').to_dict()
  config['teacher'] = str(out)
  config['task']['model'] = NAME
  config['task']['delta']['costs'] = str(out / 'costs.json')
  built = experiment.build(config)
  assert set(built.options['delta']['costs'].values()) == {1.0}
  frames = np.zeros((1, 2, 64, 64, 3), np.uint8)
  started, _ = built.task.init(jax.random.key(0), {'frames': frames})
  expected = {**params, 'teacher': params['teacher']['params']}
  jax.tree.map(np.testing.assert_array_equal, started, expected)


def test_nothing_is_written_when_anything_is_wrong(
  files, params, tmp_path, capsys
):
  out = tmp_path / 'out'
  state = torch_states.plain_state(params['teacher'])
  del state['layer2.0.bn1.running_mean']
  state['neck.weight'] = np.zeros((2, 2), np.float32)
  state['layer1.0.conv1.weight'] = np.zeros((8, 8, 3, 2), np.float32)
  said = refused(capsys, 'convert', NAME, save(tmp_path / 'a.pth', state), out)
  assert 'missing: batch_stats/layer2_0/bn1/mean (16,)' in said
  assert 'left over: neck.weight (2, 2)' in said
  assert 'wrong shape: layer1.0.conv1.weight' in said

  cut = tmp_path / 'cut.pth'
  cut.write_bytes(files['plain'].read_bytes()[:-1000])
  assert str(cut) in refused(capsys, 'convert', NAME, cut, out)
  assert 'expected 7' in refused(
    capsys, 'convert', NAME, files['plain'], out, '--num-classes', 7
  )
  few = tmp_path / 'macs.p'
  few.write_bytes(torch.dumps([1.0]))
  assert 'holds 1 costs, expected 53' in refused(
    capsys, 'convert', NAME, files['plain'], out, '--costs', few
  )
  assert "no network 'ddrnet'" in refused(
    capsys, 'convert', 'ddrnet', files['plain'], out
  )
  assert 'nowhere.pth' in refused(
    capsys, 'convert', NAME, tmp_path / 'nowhere.pth', out
  )
  assert not out.exists()
  assert not any(path.name.startswith('.') for path in tmp_path.iterdir())


def test_a_folder_is_only_replaced_when_told(files, tmp_path, capsys):
  out = tmp_path / 'out'
  out.mkdir()
  (out / 'precious').touch()
  said = refused(capsys, 'convert', NAME, files['plain'], out)
  assert '--force' in said
  assert (out / 'precious').exists()
  run('convert', NAME, files['plain'], out, '--force')
  assert training.find_checkpoint(out).is_dir()
  assert not (out / 'precious').exists()


def test_the_command_is_known_by_three_names_and_help_needs_no_jax(tmp_path):
  code = (
    'import sys; sys.modules["jax"] = None; '
    'from deltax.commands import main; main(["--help"])'
  )
  for arguments in (
    ['-c', code],
    ['-m', 'deltax', '--help'],
    ['-m', 'deltax.convert', '--help'],
  ):
    told = subprocess.run(
      [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert told.returncode == 0, told.stderr
    assert 'convert' in told.stdout
  assert 'usage: deltax convert' in told.stdout


def test_an_unknown_command_is_told_the_known_ones(capsys):
  assert 'known: distill, run, label, profile, export, convert' in refused(
    capsys, 'transmogrify'
  )
