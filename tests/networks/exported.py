"""Exported delta networks, and their programs run without the library."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import torch_states

from deltax.delta import distill


def distilled(net, spec, frame):
  """A delta network whose gates choose every candidate in turn."""
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  delta = distill(net, spec)
  params = jax.eval_shape(delta.init, jax.random.key(0), variables, frame)
  params = torch_states.drawn(params)
  gates = {
    path: jnp.full_like(logits, 1.0 if i % 2 else -1.0)
    for i, (path, logits) in enumerate(params['gates'].items())
  }
  return delta, {**params, 'gates': gates}


def frames_of(shape, count=3):
  draw = np.random.default_rng(0).standard_normal
  base = draw(shape)
  return (base + 0.3 * draw((count, *shape))).astype(np.float32)


def rollout(frozen, frames):
  carry, out = jax.jit(frozen.keyframe)(frozen.params, frames[0])
  outs, step = [out], jax.jit(frozen.step)
  for frame in frames[1:]:
    carry, out = step(frozen.params, carry, frame)
    outs.append(out)
  return jax.tree.map(lambda *leaves: np.stack(leaves), *outs)


def run_onnx(programs, frames):
  """The outputs that ONNX programs give, each `[T, ...]`."""
  onnxruntime = pytest.importorskip('onnxruntime')
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  sessions = {
    name: onnxruntime.InferenceSession(
      program.content, options, providers=['CPUExecutionProvider']
    )
    for name, program in programs.items()
  }

  def call(name, given, arrays):
    return dict(zip(given, sessions[name].run(given, arrays), strict=True))

  return _by_names(programs, frames, call)


def run_litert(programs, frames):
  """The outputs that LiteRT programs give, each `[T, ...]`."""
  litert = pytest.importorskip('ai_edge_litert.interpreter')
  interpreters = {
    name: litert.Interpreter(model_content=program.content)
    for name, program in programs.items()
  }

  def call(name, given, arrays):
    made = interpreters[name].get_signature_runner()(**arrays)
    return {n: made[n] for n in given}

  return _by_names(programs, frames, call)


def _by_names(programs, frames, call):
  """Outputs of programs whose arrays are handed over by their names."""
  held, outs = {}, []
  for t, frame in enumerate(frames):
    name = 'step' if t else 'keyframe'
    given = [value.name for value in programs[name].outputs]
    arrays = {
      value.name: held[value.name.replace('held/', 'carry/', 1)]
      for value in programs[name].inputs
      if value.name != 'frame'
    }
    made = call(name, given, {**arrays, 'frame': frame})
    for value in programs[name].outputs:
      assert made[value.name].shape[1:] == value.shape[1:]
    held |= {n: made.pop(n) for n in given if n.startswith('carry/')}
    outs.append(made.values())
  return [np.stack(out) for out in zip(*outs, strict=True)]


def run_stablehlo(programs, frames):
  """The outputs that StableHLO programs give, each `[T, ...]`."""
  calls = {
    name: jax.jit(jax.export.deserialize(bytearray(program.content)).call)
    for name, program in programs.items()
  }
  count = len(programs['step'].inputs) - 1
  values, outs = (), []
  for frame in frames:
    values = calls['step' if outs else 'keyframe'](*values[:count], frame)
    outs.append(values[count:])
  return [np.stack(out) for out in zip(*outs, strict=True)]


RUN = {
  'onnx': run_onnx,
  'openvino': run_onnx,
  'litert': run_litert,
  'stablehlo': run_stablehlo,
}
