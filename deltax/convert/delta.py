"""Published delta checkpoints to the parameters of `deltax.delta`.

A converted convolution `P` of a released checkpoint has the teacher's weights
in `P.W`, the full copy in `P.g_Wa`, the low-rank pair in `P.g_Wb.0` and
`P.g_Wb.1` and the gate in `P.g_gate.bias`; the deployed form keeps `P.W` and
the chosen student in `P.g_W` only.
"""

import collections
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.convert.state_dict import (
  FRAME,
  StateDict,
  fill,
  module_path,
  network,
  refuse,
  shapes_of,
  to_flax,
)
from deltax.delta import Full, LowRank, Spec, distill
from deltax.delta.survey import survey

_STUDENT = re.compile(r'(?P<module>.+)\.(?P<part>g_(?:Wa|Wb|W|gate))\.(.+)')
_LEAVES = {
  'full': {'weight': 'kernel', 'bias': 'bias'},
  'low_rank': {'0.weight': 'first', '1.weight': 'second', '1.bias': 'bias'},
}


def delta_from_state_dict(
  name: str, spec: Spec, state_dict: StateDict
) -> dict[str, Any]:
  """Parameters of a delta network from a published checkpoint.

  Args:
    name: of the network, as `deltax.models.create` takes it.
    spec: the setting it was trained with; its candidates are one `Full` and one
      `LowRank`.
    state_dict: arrays by PyTorch key, of the training or the deployed form. The
      deployed form holds one student a layer: its gate is set to choose that
      one, and the other starts from the teacher.

  Returns:
    `{'teacher': ..., 'students': ..., 'gates': ...}`, as `Delta.init` gives.

  Raises:
    ValueError: naming every key that is missing, left over, of the wrong shape
      or not finite; or if the spec has other candidates.
  """
  plain, layers = _split(state_dict)
  net = network(name, plain)
  shapes = shapes_of(net)
  teacher, problems = fill(shapes, plain)
  init = functools.partial(distill(net, spec).init, jax.random.key(0))
  wanted = jax.eval_shape(init, shapes, FRAME)['students']
  students, gates = {}, {}
  for path, choice in spec.select(survey(net, shapes, FRAME)).items():
    students[path], gates[path], wrong = _fill_layer(
      path, *choice, wanted[path], layers.pop(path, {})
    )
    problems += wrong
  for arrays in layers.values():
    problems += _left_over(arrays)
  refuse(problems, f'the delta form of {name}')
  if any(len(own) == 1 for own in students.values()):
    frame = jnp.zeros(FRAME.shape)
    start = jax.jit(init)(teacher, frame)['students']
    students = {path: {**start[path], **own} for path, own in students.items()}
  return {'teacher': teacher, 'students': students, 'gates': gates}


def _split(state_dict):
  """The teacher's keys, and the students' `{leaf: (key, array)}` by path."""
  plain, students = {}, collections.defaultdict(dict)
  for key, array in state_dict.items():
    match = _STUDENT.fullmatch(key)
    if match is None:
      plain[re.sub(r'\.W\.(weight|bias)$', r'.\1', key)] = array
      continue
    path = '/'.join(module_path(match['module']))
    students[path][f'{match["part"]}.{match[3]}'] = (key, array)
  return plain, students


def _fill_layer(path, layer, candidates, wanted, arrays):
  """One layer's students, its gate, and what is wrong with its arrays."""
  names = _names_by_kind(candidates)
  arrays, gate, problems = dict(arrays), None, []
  if any(leaf.startswith(('g_Wa.', 'g_Wb.')) for leaf in arrays):
    prefixes = {'full': 'g_Wa.', 'low_rank': 'g_Wb.'}
    if 'g_gate.bias' in arrays:
      key, bias = arrays.pop('g_gate.bias')
      gate, problems = to_flax(key, np.ravel(bias), (1,))
    else:
      problems = [f'missing: {path} g_gate.bias']
    # `g_W` beside them is a second name of the candidate evaluated first.
    arrays = {k: v for k, v in arrays.items() if not k.startswith('g_W.')}
  else:
    kind = 'full' if 'g_W.weight' in arrays else 'low_rank'
    prefixes = {kind: 'g_W.'}
    gate = jnp.full((1,), 1.0 if kind == 'full' else -1.0)
  own = {}
  for kind, prefix in prefixes.items():
    kernels = wanted[names[kind]]
    own[names[kind]] = found = {}
    for leaf, label in _LEAVES[kind].items():
      if prefix + leaf in arrays:
        key, array = arrays.pop(prefix + leaf)
        biases = label == 'bias'
        shape = layer.kernel[-1:] if biases else kernels[label].shape
        found[label], wrong = to_flax(key, array, shape)
        problems += wrong
      elif label != 'bias':
        problems.append(f'missing: {path} {names[kind]} {label}')
  if gate is not None and next(iter(names)) == 'low_rank':
    gate = -gate  # the published gate is the full copy's
  return own, gate, problems + _left_over(arrays)


def _names_by_kind(candidates):
  """Names of the full copy and the low-rank pair, in the order of the spec."""
  names = {}
  for candidate in candidates:
    kind = {Full: 'full', LowRank: 'low_rank'}.get(type(candidate))
    names[kind] = candidate.name
  if set(names) != {'full', 'low_rank'} or len(candidates) != 2:
    raise ValueError(
      'published checkpoints hold a full copy and a low-rank pair a layer; the '
      f'spec has {[candidate.name for candidate in candidates]}, expected '
      f'{[Full().name, LowRank().name]}'
    )
  return names


def _left_over(arrays):
  return [
    f'left over: {key} {np.shape(array)}' for key, array in arrays.values()
  ]
