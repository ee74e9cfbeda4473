"""Exports a delta network as two programs, with their parameters in them.

    deltax export runs/delta exported --size 128x256

`keyframe` maps a frame to the carry and the outputs, `step` the carry and a
later frame to the same; manifest.json names and measures every array, in order.
With jax alone (StableHLO, for CPU, CUDA and TPU):

    keyframe = jax.export.deserialize(open('keyframe.stablehlo', 'rb').read())
    *carry, out = keyframe.call(frame)

or with onnxruntime (`--form onnx`) or LiteRT (`--form litert`: a .tflite with
one signature), by the names of the manifest: what a step reads as
'held/<layer>' was given as 'carry/<layer>', and what it does not give stays as
it is. Frames are RGB, float32, normalised with the manifest's mean and
std. The programs hold the forms of layers that suit their platforms, whatever
machine exports them.

With `--int8 VIDEO` convolutions of ONNX models are of int8, over the ranges
that they have on a video like those that the network will see.

What `jax.export` writes is read by later versions of jax for six months at
least, and by earlier ones for three weeks: the manifest says until when. The
.mlir file beside it is the same program as text.
"""

import argparse
import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from deltax import delta, training
from deltax.commands import folders
from deltax.commands.sizes import read_size
from deltax.data.video import frames as video_frames
from deltax.delta.export import PLATFORMS, Values, export
from deltax.delta.run.int8 import in_int8
from deltax.files import write_json
from deltax.models.inputs import MEAN, STD
from deltax.tasks.network import Brought, brought_by
from deltax.tasks.parts import delta_params

_CLIPS, _LENGTH = 16, 10  # that ranges are of, and their frames
_LATER = (0, 1, 5, 9)  # of those, what is looked at
_FRAMES = 300  # of a video that does not tell how many it has
READABLE = datetime.timedelta(days=180)  # what jax promises
SUFFIXES = {
  'stablehlo': '.stablehlo',
  'onnx': '.onnx',
  'openvino': '.onnx',
  'litert': '.tflite',
}


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('run', type=pathlib.Path, help='folder of the run')
  folders.add_out(parser)
  parser.add_argument(
    '--size', required=True, help='rows and columns of a frame, as 128x256'
  )
  parser.add_argument(
    '--batch',
    default='1',
    help="frames at a time; 'any' where the programs take as many as they are "
    'given; default: %(default)s',
  )
  parser.add_argument('--form', choices=SUFFIXES, default='stablehlo')
  parser.add_argument(
    '--int8',
    type=pathlib.Path,
    metavar='VIDEO',
    help='convolutions of int8, over the ranges that they have on this video; '
    'of ONNX models',
  )


def run(arguments: argparse.Namespace) -> None:
  """Builds the network that the run's checkpoint names, and writes it.

  Raises:
    ValueError: the run holds no delta network, a layer of it has no such form,
      the form takes no open batch, or OUT is there already. Or --int8 is of
      another form, or of a video that cannot be read or is too short.
  """
  folders.check_apart(arguments.out, arguments.run)
  folders.check_free(arguments.out, force=arguments.force)
  size = read_size(arguments.size)
  shape = (_batch(arguments.batch), *size, 3)
  if arguments.int8 and SUFFIXES[arguments.form] != '.onnx':
    raise ValueError(
      f'--int8 is of ONNX models, and the form is {arguments.form!r}'
    )
  frozen, brought, task = _frozen(arguments.run, (1, *size, 3))
  clips = _clips(arguments.int8, shape, brought) if arguments.int8 else None
  programs = export(frozen, shape, form=arguments.form)
  if clips:
    programs = in_int8(programs, clips)
  suffix = SUFFIXES[arguments.form]
  with folders.filled(arguments.out, force=arguments.force) as out:
    for name, program in programs.items():
      (out / f'{name}{suffix}').write_bytes(program.content)
      if program.text:
        (out / f'{name}.mlir').write_text(program.text)
    manifest = {
      'model': task['model'],
      'num_classes': task.get('num_classes'),
      'form': arguments.form,
      'convolutions': 'int8' if clips else 'float32',
      'platforms': PLATFORMS if arguments.form == 'stablehlo' else None,
      'written': _written(arguments.form),
      'frame': _frame(task),
      'programs': {
        name: {
          'file': f'{name}{suffix}',
          'inputs': _told(program.inputs),
          'outputs': _told(program.outputs),
        }
        for name, program in programs.items()
      },
    }
    write_json(out / 'manifest.json', manifest)
  for name, program in programs.items():
    print(
      f'{name}{suffix}: {len(program.content) / 1e6:.1f} MB, '
      f'{len(program.inputs)} inputs, {len(program.outputs)} outputs'
    )
  print(f'written to {arguments.out}')


def _batch(spelled: str) -> Any:
  if spelled == 'any':
    return jax.export.symbolic_shape('batch')[0]
  if not spelled.isdecimal() or int(spelled) < 1:
    raise ValueError(f"--batch is a number of frames or 'any', got {spelled!r}")
  return int(spelled)


def _told(values: Values) -> list[dict[str, Any]]:
  """Arrays as the manifest has them; 'batch' is a size that is not fixed."""
  return [
    {
      **value._asdict(),
      'shape': [n if isinstance(n, int) else str(n) for n in value.shape],
    }
    for value in values
  ]


def _written(form: str) -> dict[str, str]:
  """With what, when, and until when that can be counted on to be read."""
  today = datetime.date.today()
  told = {'jax': jax.__version__, 'on': today.isoformat()}
  if form == 'stablehlo':
    told['readable_until'] = (today + READABLE).isoformat()
  return told


def _frame(task: Mapping[str, Any]) -> dict[str, Any]:
  """What the programs take, and how it is made of pixels."""
  if task.get('name') == 'imitation':
    return {
      'layout': "batch, rows, columns, channels; as the run's own preparation "
      'makes them of uint8 RGB',
      'preparation': task.get('preparation'),
    }
  return {
    'layout': 'batch, rows, columns, RGB; (value of 0 to 255 - mean) / std',
    'mean': [255 * x for x in MEAN],
    'std': [255 * x for x in STD],
  }


def _frozen(run: pathlib.Path, shape: tuple[int, ...]):
  """The deployed form of a run's network, and what its checkpoint says."""
  checkpoint = training.find_checkpoint(run)
  task = training.read_metadata(checkpoint).get('task') or {}
  params, model_state = training.restore_params(checkpoint)
  if not task.get('delta'):
    raise ValueError(f'{run} holds no delta network, which export takes')
  brought = brought_by(task)
  spec = delta.make_spec(**(task['delta'].get('spec') or {}))
  whole = delta_params(params, model_state)
  frame = jax.ShapeDtypeStruct(shape, jnp.float32)
  return delta.distill(brought.net, spec).freeze(whole, frame), brought, task


def _clips(video: pathlib.Path, shape: tuple[Any, ...], brought: Brought):
  """Clips of a key frame and three later ones, from all over a video.

  Raises:
    ValueError: it cannot be read, or has fewer than two frames.
  """
  number = shape[0] if isinstance(shape[0], int) else 1
  count = video_frames.read_header(video).count or _FRAMES
  every = max(_LENGTH, count // _CLIPS)
  clips: list[list[np.ndarray]] = []
  for t, frame in enumerate(video_frames.read_frames(video)):
    if t % every == 0:
      if len(clips) == _CLIPS:
        break
      clips.append([])
    if t % every in _LATER:
      shown = video_frames.resize(frame, shape[1:3])[None]
      prepared = np.asarray(brought.prepare(jnp.asarray(shown)))
      clips[-1].append(prepared.repeat(number, 0))
  clips = [clip for clip in clips if len(clip) > 1]
  if not clips:
    raise ValueError(f'{video} has fewer than two frames')
  return clips
