"""Readers of the references, and the state dicts that they were made from."""

import functools
import json
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import rules

from deltax import convert, models
from deltax.convert.state_dict import module_path, shapes_of
from deltax.delta import Spec, distill

FOLDER = pathlib.Path(__file__).parent / 'delta'
CLASSES = 19
# The references' name of a network: ours, and how far its outputs may be off.
NETWORKS = {
  'ddrnet23s': ('ddrnet23_slim', 1e-4),
  'ddrnet23': ('ddrnet23', 1e-4),
  'ddrnet39': ('ddrnet39', 1e-4),
  'hrnet_w18_small': ('hrnet_w18_small', 1e-3),
}
# Programs of tests run once or twice.
fast_to_compile = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)
# What is compiled fast, as all tests are, rounds more.
_WELL = {'xla_backend_optimization_level': 3}
if 'fusion_emitters' in os.environ.get('QUICK_COMPILATION', ''):
  _WELL['xla_cpu_use_fusion_emitters'] = True  # jaxlib 0.11 has no such choice
compiled_well = functools.partial(jax.jit, compiler_options=_WELL)


def load(model, name):
  """The reference `<model>_<name>`: JSON, or a dict of arrays for '.npz'."""
  path = FOLDER / f'{model}_{name}'
  if path.suffix == '.json':
    return json.loads(path.read_text())
  with np.load(path) as arrays:
    return dict(arrays)


def nchw(x):
  """`[..., H, W, C]` in the layout of the references, `[..., C, H, W]`."""
  return np.moveaxis(np.asarray(x), -1, -3)


def flax_path(layer):
  """Our path of a layer of the published network."""
  return '/'.join(module_path(layer))


def leaf_of(params, key, *, low_rank='low_rank_4_out'):
  """The array of a delta network's parameters that a published key names.

  `low_rank` is the name of the cheap candidate: the default in segmentation,
  'low_rank_16_min' in detection.
  """
  layer, _, part = key.partition('.g_')
  if part == 'gate.bias':
    return params['gates'][flax_path(layer)]
  if part:
    names = {
      'Wa.weight': ('full', 'kernel'),
      'Wa.bias': ('full', 'bias'),
      'Wb.0.weight': (low_rank, 'first'),
      'Wb.1.weight': (low_rank, 'second'),
      'Wb.1.bias': (low_rank, 'bias'),
    }
    candidate, leaf = names[part]
    return params['students'][flax_path(layer)][candidate][leaf]
  layer, _, leaf = key.replace('.W.', '.').rpartition('.')
  node = params['teacher']['params']
  for name in module_path(layer):
    node = node[name]
  if leaf == 'weight':
    leaf = 'kernel' if 'kernel' in node else 'scale'
  return node[leaf]


def rule_state(keys, gate='mixed'):
  """The state dict of all `keys` ([key, shape, type] rows) by the rule."""
  return {key: rules.weight(key, shape, gate) for key, shape, _ in keys}


def plain_state(keys):
  """The state dict of the network alone, from the keys of its delta network."""
  return {
    key.replace('.W.', '.'): array
    for key, array in rule_state(keys).items()
    if '.g_' not in key
  }


def init_state(keys, students, gate='mixed', *, low_rank='low_rank_4_out'):
  """The rule's teacher and gates, and students as the published start has them.

  Their kernels are those of `students`, what our `Delta.init` gives for the
  teacher of the rule; their biases are the teacher's, a second time.
  """

  def initial(key, array):
    if re.search(r'\.g_W(a|b\.1)\.bias$', key):
      return rules.weight(key.split('.g_')[0] + '.W.bias', array.shape)
    if '.g_W' in key:
      kernel = leaf_of(students, key, low_rank=low_rank)
      return np.asarray(kernel).transpose(3, 2, 0, 1)
    return array

  state = rule_state(keys, gate)
  return {key: initial(key, array) for key, array in state.items()}


class Network:
  """A segmentation network and its deltas, with the references' weights."""

  def __init__(self, model):
    self.load = functools.partial(load, model)
    self.name, self.tolerance = NETWORKS[model]
    self.keys = self.load('delta_keys.json')
    # Layers and batch norms by their published names, layers with our paths.
    self.layers = {
      key.removesuffix('.W.weight'): flax_path(key.removesuffix('.W.weight'))
      for key, *_ in self.keys
      if key.endswith('.W.weight')
    }
    self.norms = [
      key.removesuffix('.running_mean')
      for key, *_ in self.keys
      if key.endswith('.running_mean')
    ]
    self.net = models.create(self.name, num_classes=CLASSES)
    self.delta = distill(self.net)
    self.apply = fast_to_compile(self.net.apply)
    self.clip = fast_to_compile(
      lambda params, clips: self.delta.clip(params, clips)[0]
    )
    self.params = functools.cache(self.params)
    self.outputs = functools.cache(self.outputs)

  def from_torch(self, state):
    return convert.delta_from_state_dict(self.name, Spec(), state)

  @functools.cached_property
  def teacher(self):
    # It stays, so it may not be of a trace in which it is first asked for.
    with jax.ensure_compile_time_eval():
      return convert.from_state_dict(self.name, plain_state(self.keys))

  @functools.cached_property
  def students(self):
    """Our own start of every student, without biases."""
    init = functools.partial(self.delta.init, jax.random.key(0))
    return jax.jit(init)(self.teacher, jnp.zeros((1, 64, 64, 3)))

  def params(self, variant):
    """Parameters whose students are from the rule, or as published at first."""
    state = (
      rule_state(self.keys)
      if variant == 'rule'
      else init_state(self.keys, self.students)
    )
    return self.from_torch(state)

  def gated(self, variant, gate):
    """Those parameters with other gates: of the rule, by its tag."""
    gates = {
      path: rules.weight(f'{layer}.g_gate.bias', (1,), gate)
      for layer, path in self.layers.items()
    }
    return {**self.params(variant), 'gates': gates}

  def outputs(self, variant, gate):
    """Two clips of four frames: frames 0 to 3, and frames 2, 3, 3, 3."""
    clips = rules.clip(128, 256)[np.array([[0, 1, 2, 3], [2, 3, 3, 3]])]
    return nchw(self.clip(self.gated(variant, gate), clips))

  @functools.cached_property
  def prices(self):
    """Cost of the layers at the published frame size."""
    frame = jax.ShapeDtypeStruct((1, 1024, 2048, 3), jnp.float32)
    return self.delta.costs({'teacher': shapes_of(self.net)}, frame)[1]

  def check(self, outs, expected):
    """Compares what the references hold: every so many rows and columns."""
    step = outs.shape[-1] // expected.shape[-1]
    outs = outs[..., ::step, ::step]
    np.testing.assert_allclose(outs, expected, atol=self.tolerance)
