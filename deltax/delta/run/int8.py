"""ONNX models whose convolutions are of int8, for CPUs that multiply such."""

import contextlib
import logging
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deltax.delta.export import Program
from deltax.delta.run.engines import by_onnxruntime, taken
from deltax.types import Array

Row = dict[str, np.ndarray]  # the inputs of a program, by name


def in_int8(
  programs: Mapping[str, Program], clips: Sequence[Array]
) -> dict[str, Program]:
  """The two programs of a network with convolutions of int8.

  Weights are rounded to 255 steps of each of a kernel's outputs, and what goes
  into a convolution to 256 of the range that it had on some clips. All else
  stays float32, the carry too.

  Args:
    programs: as `export` gives them, of the form 'onnx' or 'openvino'.
    clips: float32 `[T, B, H, W, C]` each, as the network takes them, like what
      it will see. Frame 0 is the key frame; 16 clips are plenty.

  Returns:
    Programs of the same inputs and outputs.

  Raises:
    ValueError: no clip, or one without a later frame.
    ImportError: the packages of the extras `export` and `engines` are missing.
  """
  if not clips or min(map(len, clips)) < 2:
    raise ValueError('ranges are those of clips of two frames or more')
  keyframe, step = programs['keyframe'], programs['step']
  call = by_onnxruntime(keyframe)
  seen: list[Row] = []
  later: list[Row] = []
  for clip in clips:
    first, *others = (np.asarray(frame) for frame in clip)
    held, _ = call({}, first)
    carry = {name: v.numpy() for name, v in taken(step, held).items()}
    seen.append({'frame': first})
    later += [{**carry, 'frame': frame} for frame in others]
  return {
    'keyframe': keyframe._replace(content=_quantised(keyframe, seen)),
    'step': step._replace(content=_quantised(step, later)),
  }


def _quantised(program: Program, rows: Sequence[Row]) -> bytes:
  from onnxruntime import quantization

  class Rows(quantization.CalibrationDataReader):
    def __init__(self):
      self.left = iter(rows)

    def get_next(self):
      return next(self.left, None)

  with tempfile.TemporaryDirectory() as folder, _quiet():
    whole, small = (pathlib.Path(folder, name) for name in ('whole', 'small'))
    whole.write_bytes(program.content)
    quantization.quantize_static(
      *(whole, small, Rows()),
      op_types_to_quantize=['Conv'],
      per_channel=True,
      activation_type=quantization.QuantType.QUInt8,
      weight_type=quantization.QuantType.QInt8,
    )
    return small.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without advice to prepare a model that has been prepared."""
  logger = logging.getLogger()
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)
