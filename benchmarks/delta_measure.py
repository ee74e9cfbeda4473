"""What one process of `delta.py` measures: a network on the cores it has.

    python benchmarks/delta_measure.py JOB

JOB is a `Job` in JSON; the last line of the output is the result, in JSON.
"""

import dataclasses
import functools
import json
import math
import statistics
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax import models
from deltax.delta import distill, make_spec
from deltax.delta.run import engines


class Job(NamedTuple):
  """A network, and how it is measured.

  Attributes:
    network: name of it.
    size: rows and columns of a frame.
    batch: frames at once.
    dtype: 'float32' or 'bfloat16', of weights and frames.
    classes: K.
    layers: the rule that picks what has students.
    students: spelled as `delta.py` says.
    interval: frames of a clip.
    repeats: of every function.
    torch: whether PyTorch's teacher takes part.
    engines: for exported programs, that take part.
    threads: cores that the process has; 0: not limited.
  """

  network: str
  size: tuple[int, int]
  batch: int
  dtype: str
  classes: int
  layers: str
  students: tuple[str, ...]
  interval: int
  repeats: int
  torch: bool
  engines: tuple[str, ...]
  threads: int


def measured(job):
  """Milliseconds by function, and what is known of programs and students."""
  net = models.create(job.network, num_classes=job.classes)
  shape = job.batch, *job.size, 3
  frame = jax.random.normal(jax.random.key(0), shape, job.dtype)
  variables = drawn(jax.eval_shape(net.init, jax.random.key(0), frame))
  # The folded network without students: each layer's is the layer itself.
  frozen, weights, facts = prepared(job, net, variables, 'teacher', frame)
  teacher, program = compiled(frozen.step, weights, {}, frame)
  functions = {'teacher': lambda: teacher(weights, {}, frame)[1]}
  programs, students = {'teacher': program}, {}
  apart = None
  other = torch_teacher(job, weights, frame) if job.torch else None
  if other:
    functions = {'PyTorch teacher': other, **functions}
    apart = difference(functions['teacher'](), other())
  for engine in job.engines:
    key, _ = on_engine(engine, frozen, weights, frame)
    functions[f'{engine}: teacher'] = lambda key=key: key(frame)[1]
  for spelled in job.students:
    *parts, of_student = prepared(job, net, variables, spelled, frame)
    own, of_own, carry = student(*parts, frame, job.interval)
    functions |= {f'{spelled} {part}': f for part, f in own.items()}
    for engine in job.engines:
      named = parts_of(*on_engine(engine, *parts, frame), frame, job.interval)
      names = {f'{engine}: {spelled} {part}': f for part, f in named.items()}
      functions |= names
    programs |= {f'{spelled} {part}': p for part, p in of_own.items()}
    students[spelled] = {**of_student, 'carry_bytes': carry}
  return {
    'backend': jax.default_backend(),
    'teacher_macs': facts['later_macs'],
    'ms': timed(functions, job.repeats),
    'programs': programs,
    'students': students,
    'difference': apart,
  }


def prepared(job, net, variables, spelled, frame):
  """A delta network as deployed, its random weights, and its figures."""
  delta = distill(net, spec_of(spelled, job.layers))
  start = functools.partial(delta.init, jax.random.key(0))
  students = drawn(jax.eval_shape(start, variables, frame)['students'])
  params = {'teacher': variables, 'students': students, 'gates': {}}
  frozen, macs = delta.freeze(params, frame), delta.macs(params, frame)
  inputs_and_outputs, _ = jax.eval_shape(
    delta.keyframe, cast(params, job.dtype), frame
  )
  facts = {
    'later_macs': macs.later,
    'inputs_and_outputs_bytes': size_of(inputs_and_outputs),
  }
  return frozen, cast(frozen.params, job.dtype), facts


def student(frozen, weights, frame, interval):
  """Functions to time, their programs' figures, and the bytes of the carry."""
  key, of_key = compiled(frozen.keyframe, weights, frame)
  carry, _ = key(weights, frame)
  held = size_of(carry)
  step, of_step = compiled(frozen.step, weights, carry, frame, donated=1)
  functions = parts_of(
    functools.partial(key, weights),
    functools.partial(step, weights),
    frame,
    interval,
  )
  return functions, {'key': of_key, 'later': of_step}, held


def on_engine(engine, frozen, weights, frame):
  """Functions of a frame, and of a carry and a frame, run by an engine."""
  network = frozen._replace(params=weights)
  shape = jax.ShapeDtypeStruct(frame.shape, frame.dtype)
  return [
    functools.partial(program, weights)
    for program in engines.compiled(network, shape, engine)
  ]


def parts_of(key, step, frame, interval):
  """Functions to time: a key frame, a later one, a clip."""
  carry, _ = key(frame)

  def later():
    nonlocal carry  # a donated one is gone
    carry, out = step(carry, frame)
    return out

  def clip():
    carry, out = key(frame)
    for _ in range(interval - 1):
      carry, out = step(carry, frame)
    return out

  return {'key': lambda: key(frame)[1], 'later': later, 'clip': clip}


def spec_of(spelled, layers):
  """The spec of a spelled student: see `delta.py`."""
  options, candidates = {}, []
  for part in spelled.split('+'):
    blocks, _, one = part.rpartition('=')
    name, *arguments = one.split(':')
    candidate = name, *(int(a) if a.isdigit() else a for a in arguments)
    if blocks:
      named = blocks.split(',')
      options['blocks'] = [name for name in named if '-' not in name]
      options['spans'] = tuple(
        tuple(name.split('-')) for name in named if '-' in name
      )
      options['block_candidates'] = (candidate,)
    else:
      candidates.append(candidate)
  spec = make_spec(
    layers=layers, candidates=candidates or (('teacher',),), **options
  )
  first = functools.partial(first_that_starts, spec.candidates)
  return dataclasses.replace(spec, candidates=first)


def first_that_starts(candidates, layer):
  """The first candidate that takes the layer's kernel, alone."""
  kernel = jax.ShapeDtypeStruct(layer.kernel, jnp.float32)
  for candidate in candidates[:-1]:
    try:
      jax.eval_shape(functools.partial(candidate.init, layer=layer), kernel)
      return (candidate,)
    except ValueError:
      pass
  return candidates[-1:]


def drawn(shapes):
  """Random arrays of those shapes, under which activations keep their size."""
  generator = np.random.default_rng(0)
  ones = ('scale', 'var', 'edge_weights')

  def draw(path, leaf):
    if any(getattr(part, 'key', None) in ones for part in path):
      return jnp.asarray(np.ones(leaf.shape, np.float32))
    fan_in = math.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 200
    values = generator.standard_normal(leaf.shape, np.float32)
    return jnp.asarray(values * np.float32((2 / fan_in) ** 0.5))

  return jax.tree_util.tree_map_with_path(draw, shapes)


def cast(tree, dtype):
  return jax.tree.map(lambda x: x.astype(dtype), tree)


def compiled(function, *arguments, donated=()):
  """A program, and the seconds and bytes that it takes."""
  start = time.perf_counter()
  function = jax.jit(function, donate_argnums=donated)
  program = function.lower(*arguments).compile()
  seconds = time.perf_counter() - start
  held = program.memory_analysis().temp_size_in_bytes
  return program, {'compile_s': seconds, 'temporary_bytes': held}


def size_of(tree):
  """Bytes of all arrays."""
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def torch_teacher(job, weights, frame):
  """PyTorch's teacher with the same weights, where there is one."""
  import torch
  import torch_networks

  on_gpu = jax.default_backend() == 'gpu'
  built = job.network in torch_networks.NETWORKS
  if not built or (on_gpu and not torch.cuda.is_available()):
    return None
  if job.threads:
    torch.set_num_threads(job.threads)
  net = torch_networks.create(job.network, job.classes)
  torch_networks.load(net, weights)
  place = 'cuda' if on_gpu else 'cpu', getattr(torch, job.dtype)
  net, frames = net.to(*place), torch_networks.to_torch(frame).to(*place)

  def run():
    with torch.inference_mode():
      out = net(frames)
    if on_gpu:
      torch.cuda.synchronize()
    return out

  return run


def difference(ours, theirs):
  """The largest difference of two outputs, over the largest output."""
  if not isinstance(ours, dict):
    ours, theirs = {'': ours}, {'': theirs.permute(0, 2, 3, 1)}
  found = []
  for name, x in ours.items():
    x, y = np.asarray(x, np.float32), theirs[name].float().cpu().numpy()
    found.append(float(np.abs(x - y).max() / np.abs(x).max()))
  return max(found)


def timed(functions, repeats):
  """Median milliseconds, `{name: {'cpu': ..., 'wall': ...}}`; they take turns.

  CPU time is that of all threads of the process. The first turn is not counted,
  nor is the first of the two calls of each: it finds the caches full of what
  another has left, and threads of another that still wait on a core.
  """
  times = {name: [] for name in functions}
  for turn in range(repeats + 1):
    for name, function in functions.items():
      jax.block_until_ready(function())
      cpu, wall = time.process_time(), time.perf_counter()
      jax.block_until_ready(function())
      spent = time.process_time() - cpu, time.perf_counter() - wall
      if turn:
        times[name].append(spent)
  medians = {}
  for name, rows in times.items():
    cpu, wall = (
      1000 * statistics.median(kind) for kind in zip(*rows, strict=True)
    )
    medians[name] = {'cpu': cpu, 'wall': wall}
  return medians


if __name__ == '__main__':
  print(json.dumps(measured(Job(**json.loads(sys.argv[1])))))
