"""What compiles and runs a deployed network: XLA, or an engine for its exports.

An engine for exported programs holds the carry itself from frame to frame: what
one program gives is handed to the next as it lies in memory.
"""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from deltax.delta.deploy.frozen import Frozen
from deltax.delta.export import Program, export
from deltax.errors import DeltaxError
from deltax.layers import forms

# Packages that an engine needs, the one that runs it first.
ENGINES = {
  'xla': ('jax',),
  'onnx': ('onnxruntime', 'onnx'),
  'openvino': ('openvino', 'onnx'),
  'litert': ('ai_edge_litert', 'litert_converter'),
}

Held = dict[str, Any]  # arrays of an engine, by name


def check_engine(name: str) -> None:
  """Raises a DeltaxError for an engine that is unknown or not installed."""
  if name not in ENGINES:
    raise DeltaxError(f'no engine {name!r}; known: {", ".join(ENGINES)}')
  extras = 'litert' if name == 'litert' else 'export,engines'
  for package in ENGINES[name]:
    if not _is_installed(package):
      raise DeltaxError(
        f'the engine {name!r} needs the package {package.replace("_", "-")}, '
        f"which is not installed: pip install 'deltax-jax[{extras}]'"
      )


def _is_installed(package: str) -> bool:
  if package in sys.modules:
    return sys.modules[package] is not None
  return importlib.util.find_spec(package) is not None


def compiled(
  frozen: Frozen, frame: jax.ShapeDtypeStruct, engine: str = 'xla'
) -> tuple[Callable, Callable]:
  """Programs of key and later frames.

  Args:
    frozen: the network; its `rollout` is not used.
    frame: shape and dtype of the frames.
    engine: one of `ENGINES`.

  Returns:
    `frozen.keyframe` and `frozen.step`, compiled. The carry is the engine's
    own, and a step takes it away from its caller.

  Raises:
    DeltaxError: see `check_engine`; or a layer has no form for the engine.
  """
  check_engine(engine)
  if engine == 'xla':
    return _by_xla(frozen, frame)
  programs = export(frozen, frame.shape, form=engine, dtype=frame.dtype)
  load = {
    'onnx': by_onnxruntime,
    'openvino': _by_openvino,
    'litert': _by_litert,
  }[engine]
  _, out = jax.eval_shape(frozen.keyframe, frozen.params, frame)
  structure = jax.tree.structure(out)
  # Where every frame is a key frame, no later one gives anything.
  key, later = (
    load(program) if program.outputs else None
    for program in (programs['keyframe'], programs['step'])
  )

  def keyframe(params, frame):
    del params  # they are part of the programs
    held, outs = key({}, np.asarray(frame))
    return held, jax.tree.unflatten(structure, outs)

  def step(params, held, frame):
    del params
    changed, outs = later(held, np.asarray(frame))
    return held | changed, jax.tree.unflatten(structure, outs)

  return keyframe, step


def _by_xla(frozen, frame):
  carry, _ = jax.eval_shape(frozen.keyframe, frozen.params, frame)
  step = jax.jit(frozen.step, donate_argnums=1)
  return (
    jax.jit(frozen.keyframe).lower(frozen.params, frame).compile(),
    step.lower(frozen.params, carry, frame).compile(),
  )


Call = Callable[[Held, np.ndarray], tuple[Held, list[np.ndarray]]]


def by_onnxruntime(program: Program) -> Call:
  """A program as `(carry, frame) -> (carry, outputs)`, by ONNX Runtime."""
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  options.intra_op_num_threads = forms.cores()
  session = onnxruntime.InferenceSession(
    program.content, options, providers=['CPUExecutionProvider']
  )
  names = [value.name for value in program.outputs]

  def call(held, frame):
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(frame)
    binding.bind_ortvalue_input('frame', value)
    for name, array in taken(program, held).items():
      binding.bind_ortvalue_input(name, array)
    for name in names:
      binding.bind_output(name, 'cpu')
    session.run_with_iobinding(binding)
    made = dict(zip(names, binding.get_outputs(), strict=True))
    return _apart(made, lambda value: value.numpy())

  return call


def _by_openvino(program: Program) -> Call:
  import openvino

  core = openvino.Core()
  network = core.compile_model(
    core.read_model(program.content),
    'CPU',
    {
      'INFERENCE_NUM_THREADS': forms.cores(),
      'INFERENCE_PRECISION_HINT': 'f32',
      'PERFORMANCE_HINT': 'LATENCY',
    },
  )
  names = [value.name for value in program.outputs]
  read = {name for port in network.inputs for name in port.names}
  # Two by turns: one reads what the other gave, and writes over its own.
  requests = itertools.cycle([network.create_infer_request() for _ in 'ab'])

  def call(held, frame):
    request = next(requests)
    request.set_tensor('frame', openvino.Tensor(frame))
    for name, array in taken(program, held).items():
      if name in read:
        request.set_tensor(name, array)
    request.infer()
    made = {name: request.get_tensor(name) for name in names}
    return _apart(made, lambda tensor: np.array(tensor.data))

  return call


def _by_litert(program: Program) -> Call:
  from ai_edge_litert import interpreter

  made = interpreter.Interpreter(
    model_content=program.content, num_threads=forms.cores()
  )
  made.allocate_tensors()
  (signature,) = made.get_signature_list()
  runner = made.get_signature_runner(signature)
  takes, gives = (
    {name: described['index'] for name, described in details.items()}
    for details in (runner.get_input_details(), runner.get_output_details())
  )
  there: dict[str, Any] = {}  # what the interpreter was given last; it keeps it

  def call(held, frame):
    for name, array in (taken(program, held) | {'frame': frame}).items():
      if there.get(name) is not array:
        made.set_tensor(takes[name], array)
        there[name] = array
    made.invoke()
    given = {v.name: made.get_tensor(gives[v.name]) for v in program.outputs}
    return _apart(given, lambda array: array)

  return call


def taken(program: Program, held: Held) -> Held:
  """What a program takes of the carry, under its own names."""
  names = [value.name for value in program.inputs if value.name != 'frame']
  return {name: held[name.replace('held/', 'carry/', 1)] for name in names}


def _apart(
  made: Mapping[str, Any], copied: Callable[[Any], np.ndarray]
) -> tuple[Held, list[np.ndarray]]:
  """The carry, and the outputs as arrays of numpy."""
  held = {n: value for n, value in made.items() if n.startswith('carry/')}
  return held, [copied(value) for n, value in made.items() if n not in held]
