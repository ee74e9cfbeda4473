"""Our parameters as PyTorch would save them, in the published forms."""

import re

import jax
import numpy as np
from flax import traverse_util


def drawn(shapes):
  """Every leaf at random, small, with variances about 1."""
  generator = np.random.default_rng(0)

  def draw(path, leaf):
    values = generator.standard_normal(leaf.shape)
    is_variance = getattr(path[-1], 'key', None) == 'var'
    values = 0.5 + abs(values) if is_variance else 0.2 * values
    return values.astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def module_name(path):
  return '.'.join(re.sub(r'_(\d+)', r'.\1', part) for part in path)


def layout(array):
  axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(np.ndim(array))
  return np.transpose(array, axes) if axes else np.asarray(array)


def plain_state(variables):
  """A network's variables as PyTorch would save them."""
  names = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}
  names |= {'mean': 'running_mean', 'var': 'running_var'}
  state = {}
  for path, array in traverse_util.flatten_dict(variables).items():
    module = module_name(path[1:-1])
    state[f'{module}.{names.get(path[-1], path[-1])}'] = layout(array)
    if path[-1] == 'var':
      state[f'{module}.num_batches_tracked'] = np.array(7)
  return state


def delta_state(params):
  """A delta network's parameters, in the published training form."""
  state = plain_state(params['teacher'])
  names = {
    ('full', 'kernel'): 'g_Wa.weight',
    ('full', 'bias'): 'g_Wa.bias',
    ('low_rank', 'first'): 'g_Wb.0.weight',
    ('low_rank', 'second'): 'g_Wb.1.weight',
    ('low_rank', 'bias'): 'g_Wb.1.bias',
  }
  for path, own in params['students'].items():
    module = module_name(path.split('/'))
    for leaf in ('weight', 'bias'):
      if f'{module}.{leaf}' in state:
        state[f'{module}.W.{leaf}'] = state.pop(f'{module}.{leaf}')
    for candidate, arrays in own.items():
      kind = 'full' if candidate == 'full' else 'low_rank'
      for leaf, array in arrays.items():
        state[f'{module}.{names[kind, leaf]}'] = layout(array)
    state[f'{module}.g_gate.bias'] = np.asarray(params['gates'][path][0])
  return state


def deployed_state(state):
  """The same network after deployment: one student a layer, no gates."""
  deployed = {}
  for key, array in state.items():
    if '.g_' not in key:
      deployed[key] = array
      continue
    layer, _, rest = key.partition('.g_')
    part, _, rest = rest.partition('.')
    chosen = 'Wa' if state[f'{layer}.g_gate.bias'] > 0 else 'Wb'
    if part == chosen:
      deployed[f'{layer}.g_W.{rest}'] = array
  return deployed
