"""Published delta checkpoints to the parameters of `deltax.delta`.

A converted convolution `P` of a released checkpoint has the teacher's weights
in `P.W`, the full copy in `P.g_Wa`, the low-rank pair in `P.g_Wb.0` and
`P.g_Wb.1` and the gate in `P.g_gate.bias`; the deployed form keeps `P.W` and
the chosen student in `P.g_W` only.
"""

import collections
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.convert.state_dict import (
  StateDict,
  from_state_dict,
  module_path,
  network,
  refuse,
  to_flax,
)
from deltax.delta import Full, LowRank, Spec, distill

_STUDENT = re.compile(r'(?P<module>.+)\.(?P<part>g_(?:Wa|Wb|W|gate))\.(.+)')
_LEAVES = {
  'weight': ('full', 'kernel'),
  'bias': ('full', 'bias'),
  '0.weight': ('low_rank', 'first'),
  '1.weight': ('low_rank', 'second'),
  '1.bias': ('low_rank', 'bias'),
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
  plain, students = _split(state_dict)
  teacher = from_state_dict(name, plain)
  params = distill(network(name, plain), spec).init(
    jax.random.key(0), teacher, jnp.zeros((1, 64, 64, 3))
  )
  problems = []
  for path, own in params['students'].items():
    keys = _candidate_keys(own)
    arrays = students.pop(path, {})
    problems += _fill_layer(path, own, params['gates'], arrays, keys)
  problems += [
    f'left over: {key} {np.shape(array)}'
    for arrays in students.values()
    for key, array in arrays.values()
  ]
  refuse(problems, f'the delta form of {name}')
  return params


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


def _candidate_keys(own):
  """Names of the full copy and the low-rank pair among a layer's students."""
  kinds = {}
  for name in own:
    kinds['low_rank' if name.startswith('low_rank') else name] = name
  if set(kinds) != {'full', 'low_rank'} or len(own) != 2:
    raise ValueError(
      'published checkpoints hold a full copy and a low-rank pair a layer; the '
      f'spec has {list(own)}, expected {[Full().name, LowRank().name]}'
    )
  return kinds


def _fill_layer(path, own, gates, arrays, names):
  """Fills one layer's students and gate in place; returns the problems."""
  parts = {leaf.split('.')[0] for leaf in arrays}
  if 'g_Wa' in parts or 'g_Wb' in parts:
    found = {
      'full': _strip(arrays, 'g_Wa.'),
      'low_rank': _strip(arrays, 'g_Wb.'),
    }
    # `g_W` beside them is a second name of the candidate evaluated first.
  else:
    chosen = _strip(arrays, 'g_W.')
    kind = 'full' if 'weight' in chosen else 'low_rank'
    found = {kind: chosen}
    first = next(iter(own)) == names[kind]
    gates[path] = jnp.full((1,), 1.0 if first else -1.0)
  problems = []
  for kind, leaves in found.items():
    target = own[names[kind]]
    for leaf, (owner, label) in _LEAVES.items():
      if owner != kind or (leaf not in leaves and label == 'bias'):
        continue
      if leaf not in leaves:
        problems.append(f'missing: {path} {names[kind]} {leaf}')
        continue
      key, array = leaves.pop(leaf)
      features = target['kernel' if kind == 'full' else 'second'].shape[-1:]
      shape = features if label == 'bias' else target[label].shape
      value, problem = to_flax(key, array, shape)
      problems += problem
      if value is not None:
        target[label] = value
    problems += [
      f'left over: {key} {np.shape(array)}' for key, array in leaves.values()
    ]
  if len(found) == 2:
    key, bias = arrays.get('g_gate.bias', (None, None))
    if key is None or np.size(bias) != 1:
      problems.append(f'missing: {path} g_gate.bias')
    else:
      sign = 1.0 if next(iter(own)) == names['full'] else -1.0
      gates[path] = sign * jnp.asarray(bias, jnp.float32).reshape(1)
  return problems


def _strip(arrays, prefix):
  return {
    leaf.removeprefix(prefix): pair
    for leaf, pair in arrays.items()
    if leaf.startswith(prefix)
  }
