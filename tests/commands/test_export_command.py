"""`deltax export`: programs that run where this library is not."""

import json
import subprocess
import sys
from datetime import date, timedelta

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exported import RUN, distilled, frames_of, rollout

from deltax import commands, models, training
from deltax.data.video.files import write_video
from deltax.delta import Full, LowRank, Spec, make_spec
from deltax.delta.export import export
from deltax.errors import DeltaxError

SHAPE = (2, 16, 24, 3)

# Runs the two programs of a folder on stored frames, with jax and numpy alone.
ALONE = """
import sys
sys.modules['deltax'] = sys.modules['flax'] = None
import json, pathlib
import jax.export, numpy as np
folder = pathlib.Path(sys.argv[1])
manifest = json.loads((folder / 'manifest.json').read_text())
def load(name):
  described = manifest['programs'][name]
  content = (folder / described['file']).read_bytes()
  return jax.export.deserialize(bytearray(content)).call, described
frames = np.load(sys.argv[2])
keyframe, described = load('keyframe')
step, _ = load('step')
carried = sum(v['name'].startswith('carry/') for v in described['outputs'])
values = keyframe(frames[0])
outs = [values[carried:]]
for frame in frames[1:]:
  values = step(*values[:carried], frame)
  outs.append(values[carried:])
np.savez(sys.argv[3], *[np.stack(out) for out in zip(*outs)])
"""


class Small(nn.Module):
  """Two outputs, a shared convolution, a pool, a resize and a norm."""

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.Conv(8, (3, 3), strides=2, name='stem')(x)
    x = nn.relu(nn.BatchNorm(use_running_average=not train, name='norm')(x))
    shared = nn.Conv(8, (3, 3), name='shared')
    y = shared(shared(x)) + x
    return {'a': nn.Conv(4, (1, 1), name='a')(y), 'b': y.mean((1, 2))}


SPECS = {
  'key': Spec(lambda x: x[1:], (Full(), LowRank(2))),
  'previous': Spec(lambda x: x[1:], (LowRank(2),), reference='previous'),
}


@pytest.mark.parametrize('reference', SPECS)
def test_programs_name_and_measure_every_array(reference):
  frames = frames_of(SHAPE)
  delta, params = distilled(Small(), SPECS[reference], frames[0])
  frozen = delta.freeze(params, frames[0])
  programs = export(frozen, SHAPE)
  carried = ['carry/a', 'carry/shared', 'carry/shared:1']
  keyframe, step = programs['keyframe'], programs['step']
  assert [v.name for v in keyframe.inputs] == ['frame']
  assert [v.name for v in step.inputs] == [*carried, 'frame']
  assert keyframe.outputs == step.outputs
  assert [v.name for v in step.outputs] == [*carried, 'out/a', 'out/b']
  assert step.inputs[:-1] == step.outputs[:3]
  expected = rollout(frozen, frames)
  values = jax.export.deserialize(bytearray(keyframe.content)).call(frames[0])
  call = jax.jit(jax.export.deserialize(bytearray(step.content)).call)
  for t, frame in enumerate(frames):
    values = call(*values[:3], frame) if t else values
    for value, described in zip(values, step.outputs, strict=True):
      assert (value.shape, value.dtype) == (described.shape, described.dtype)
    np.testing.assert_allclose(values[3], expected['a'][t], atol=1e-6)
    np.testing.assert_allclose(values[4], expected['b'][t], atol=1e-6)


def test_programs_are_for_every_platform():
  frame = frames_of(SHAPE)[0]
  delta, params = distilled(Small(), SPECS['key'], frame)
  for program in export(delta.freeze(params, frame), SHAPE).values():
    exported = jax.export.deserialize(bytearray(program.content))
    assert exported.platforms == ('cpu', 'cuda', 'tpu')


@pytest.mark.parametrize('form', ['onnx', 'litert'])
@pytest.mark.parametrize('reference', SPECS)
def test_an_engine_gives_the_same_clip(reference, form):
  frames = frames_of(SHAPE)
  delta, params = distilled(Small(), SPECS[reference], frames[0])
  frozen = delta.freeze(params, frames[0])
  found = RUN[form](export(frozen, SHAPE, form=form), frames)
  expected = rollout(frozen, frames)
  np.testing.assert_allclose(found[0], expected['a'], atol=2e-6)
  np.testing.assert_allclose(found[1], expected['b'], atol=2e-6)


def test_programs_leave_out_what_suits_the_exporting_machine():
  net = nn.Sequential([nn.Conv(130, (3, 3)) for _ in range(3)])
  frame = frames_of((1, 8, 8, 130))[0]
  delta, params = distilled(net, SPECS['key'], frame)
  frozen = delta.freeze(params, frame)
  convs = frozen.params['convs']
  convs['layers_2'].setdefault('winograd', jnp.zeros((16, 130, 130)))
  programs = export(frozen, frame.shape)
  for conv in convs.values():
    conv.pop('winograd', None)
  for name, program in export(frozen, frame.shape).items():
    assert len(programs[name].content) == len(program.content)


class Sorted(nn.Module):
  """Ends in an operation that has no form in ONNX."""

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.Conv(4, (3, 3), name='b')(nn.Conv(4, (3, 3), name='a')(x))
    return Odd(name='odd')(x)


class Odd(nn.Module):
  def __call__(self, x):
    return jnp.sort(x)


def test_a_layer_without_a_form_in_onnx_is_named():
  frame = frames_of(SHAPE)[0]
  delta, params = distilled(Sorted(), SPECS['key'], frame)
  frozen = delta.freeze(params, frame)
  with pytest.raises(
    DeltaxError, match="Sorted/odd has no form in ONNX: the operation 'sort'"
  ):
    export(frozen, SHAPE, form='onnx')


def test_an_unknown_form_is_refused():
  frame = frames_of(SHAPE)[0]
  delta, params = distilled(Small(), SPECS['key'], frame)
  with pytest.raises(
    ValueError, match="no form 'tflite'; known: stablehlo, onnx"
  ):
    export(delta.freeze(params, frame), SHAPE, form='tflite')


def save_run(folder, params, task):
  model_state = {'batch_stats': params['teacher']['batch_stats']}
  trained = {**params, 'teacher': params['teacher']['params']}
  state = training.TrainState(
    jnp.zeros((), jnp.int32), trained, model_state, (), jax.random.key(0)
  )
  with training.Checkpoints(folder, metadata={'task': task}) as checkpoints:
    checkpoints.save(state)


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
  """A run of a delta network, and what it gives on three frames."""
  folder = tmp_path_factory.mktemp('run')
  frames = frames_of((1, 64, 128, 3))
  spec = {'candidates': (('full',), ('low_rank', 2, 'out'))}
  net = models.create('ddrnet23_tiny', num_classes=5)
  delta, params = distilled(net, make_spec(**spec), frames[0])
  task = {'model': 'ddrnet23_tiny', 'num_classes': 5, 'delta': {'spec': spec}}
  save_run(folder / 'run', params, task)
  np.save(folder / 'frames.npy', frames)
  return folder, rollout(delta.freeze(params, frames[0]), frames)


def test_a_run_is_exported_and_runs_without_the_library(run_folder, capsys):
  folder, expected = run_folder
  out = folder / 'exported'
  commands.main(['export', str(folder / 'run'), str(out), '--size', '64x128'])
  assert 'step.stablehlo' in capsys.readouterr().out
  manifest = json.loads((out / 'manifest.json').read_text())
  assert manifest['frame']['mean'] == pytest.approx([123.675, 116.28, 103.53])
  assert manifest['programs']['step']['inputs'][-1] == {
    'name': 'frame',
    'shape': [1, 64, 128, 3],
    'dtype': 'float32',
  }
  written = manifest['written']
  assert written['jax'] == jax.__version__
  days = [date.fromisoformat(written[k]) for k in ('on', 'readable_until')]
  assert days[1] - days[0] == timedelta(days=180)
  text = (out / 'step.mlir').read_text()
  assert text.startswith('// StableHLO 1.') and '@main(' in text
  subprocess.run(
    [
      *(sys.executable, '-c', ALONE, str(out)),
      *(str(folder / 'frames.npy'), str(folder / 'outs.npz')),
    ],
    check=True,
    timeout=300,
  )
  with np.load(folder / 'outs.npz') as outs:
    (found,) = outs.values()
  scale = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=2e-6 * scale)


@pytest.mark.parametrize('form', ['onnx', 'stablehlo'])
def test_a_batch_may_be_left_open(form, run_folder, capsys):
  folder, _ = run_folder
  out = folder / f'open_{form}'
  arguments = ['export', str(folder / 'run'), str(out), '--size', '64x128']
  commands.main([*arguments, '--batch', 'any', '--form', form])
  manifest = json.loads((out / 'manifest.json').read_text())
  taken = manifest['programs']['step']['inputs']
  assert {value['shape'][0] for value in taken} == {'batch'}
  with pytest.raises(SystemExit):
    commands.main([*arguments, '--batch', 'all', '--force'])
  assert "--batch is a number of frames or 'any'" in capsys.readouterr().err


def test_convolutions_may_be_of_int8(run_folder, capsys):
  folder, _ = run_folder
  out, video = folder / 'small', folder / 'drive.mp4'
  draw = np.random.default_rng(0)
  write_video(video, draw.integers(0, 256, (25, 96, 160, 3), np.uint8), 10)
  arguments = ['export', str(folder / 'run'), str(out), '--size', '64x128']
  arguments += ['--int8', str(video)]
  with pytest.raises(SystemExit):
    commands.main(arguments)
  assert 'is of ONNX models, and the form is' in capsys.readouterr().err
  arguments += ['--form', 'onnx', '--batch', '2']
  with pytest.raises(SystemExit):
    commands.main([*arguments, '--int8', str(folder / 'nowhere.mp4')])
  assert 'nowhere.mp4' in capsys.readouterr().err and not out.exists()
  commands.main(arguments)
  manifest = json.loads((out / 'manifest.json').read_text())
  assert manifest['convolutions'] == 'int8'
  onnx = pytest.importorskip('onnx')
  for described in manifest['programs'].values():
    model = onnx.load(out / described['file'])
    types = {array.data_type for array in model.graph.initializer}
    assert onnx.TensorProto.INT8 in types


def test_a_video_of_one_frame_has_no_ranges(run_folder, tmp_path, capsys):
  folder, _ = run_folder
  write_video(tmp_path / 'a.mp4', np.zeros((1, 64, 64, 3), np.uint8), 10)
  arguments = ['export', str(folder / 'run'), str(tmp_path / 'out')]
  arguments += ['--size', '64x128', '--form', 'onnx']
  with pytest.raises(SystemExit):
    commands.main([*arguments, '--int8', str(tmp_path / 'a.mp4')])
  assert 'a.mp4 has fewer than two frames' in capsys.readouterr().err


def test_models_for_phones_are_of_one_batch(run_folder, capsys):
  folder, _ = run_folder
  out = folder / 'phone'
  arguments = ['export', str(folder / 'run'), str(out), '--size', '64x128']
  arguments += ['--form', 'litert']
  with pytest.raises(SystemExit):
    commands.main([*arguments, '--batch', 'any'])
  assert 'as many frames as it was made for' in capsys.readouterr().err
  assert not out.exists()
  commands.main(arguments)
  assert 'step.tflite: ' in capsys.readouterr().out
  manifest = json.loads((out / 'manifest.json').read_text())
  litert = pytest.importorskip('ai_edge_litert.interpreter')
  for described in manifest['programs'].values():
    model = litert.Interpreter(str(out / described['file']))
    (signature,) = model.get_signature_list().values()
    for side in ('inputs', 'outputs'):
      named = [value['name'] for value in described[side]]
      assert sorted(named) == sorted(signature[side])


@pytest.mark.parametrize(
  ('run', 'size', 'message'),
  [
    ('run', '64', 'rows x columns such as 128x256'),
    ('nowhere', '64x128', 'no checkpoint in'),
    ('teacher', '64x128', 'holds no delta network'),
  ],
)
def test_what_cannot_be_exported_is_refused(
  run, size, message, run_folder, capsys, tmp_path
):
  folder, _ = run_folder
  if run == 'teacher' and not (folder / 'teacher').exists():
    task = {'model': 'ddrnet23_tiny', 'num_classes': 5, 'delta': None}
    teacher = {'params': {'a': jnp.zeros(1)}, 'batch_stats': {}}
    save_run(folder / 'teacher', {'teacher': teacher}, task)
  out = tmp_path / 'out'
  with pytest.raises(SystemExit):
    commands.main(['export', str(folder / run), str(out), '--size', size])
  assert message in capsys.readouterr().err
  assert not out.exists()
