"""A further kind of unit, and of reference, is one more class."""

import dataclasses
import inspect
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import delta as delta_wing
from deltax.delta import Delta, Full, Spec, distill
from deltax.delta.adapters import Hooks, as_network, linen
from deltax.delta.references import KeyFrame
from deltax.delta.survey import survey
from deltax.delta.units import add_bias, numbered


class OwnUnit(NamedTuple):
  """One call of a fully connected layer, told in a way of one's own."""

  path: str
  call: int
  bias: bool
  inputs: tuple[int]
  outputs: tuple[int]

  linear = True
  ends = None
  windows = 1

  @property
  def name(self):
    return numbered(self.path, self.call)

  @property
  def shapes(self):
    return (self.inputs,)

  @property
  def calls(self):
    return (self.name,)

  @property
  def form(self):
    return self._replace(path='', call=0)

  @property
  def description(self):
    return f'{self.inputs} -> {self.outputs}'

  def macs(self, *, bias):
    return (self.inputs[0] + (bias and self.bias)) * self.outputs[0]

  def apply(self, params, x):
    return add_bias(x @ params['kernel'], params.get('bias'))

  def fold(self, params, scale, shift):
    assert shift is None
    return {**params, 'kernel': params['kernel'] * scale[None]}

  def weights(self, teacher):
    return teacher

  def student_macs(self, candidate):
    return candidate.macs(self)

  def refuses(self, candidate):
    return ''

  def start(self, key, teacher, candidates):
    return {c.name: c.init(teacher['kernel'], self) for c in candidates}

  def change(self, candidate, params, changes, references):
    return candidate.apply(params, changes[0], self)

  def prepare(self, candidate, params, references):
    return {}

  def follow(self, candidate, params, prepared, inputs):
    return candidate.apply(params, inputs[0], self)


def dense_unit(module, path, call, x):
  shapes = tuple(x.shape[1:]), (module.features,)
  return OwnUnit(path, call, module.use_bias, *shapes)


@dataclasses.dataclass(frozen=True)
class ThinMatrix:
  """The product of two thin matrices."""

  rank: int
  name: str = 'thin'

  def init(self, kernel, unit):
    left, values, right = jnp.linalg.svd(kernel, full_matrices=False)
    first = left[:, : self.rank] * values[None, : self.rank]
    return {'first': first, 'second': right[: self.rank]}

  def apply(self, params, x, unit):
    return x @ params['first'] @ params['second']

  def scale(self, params, factor):
    return {**params, 'second': params['second'] * factor[None]}

  def macs(self, unit):
    return self.rank * (unit.inputs[0] + unit.outputs[0])


class Headed(nn.Module):
  """Convolutions, and fully connected layers behind them."""

  @nn.compact
  def __call__(self, x, train=False):
    del train
    x = nn.relu(nn.Conv(4, (3, 3), name='conv')(x)).mean((1, 2))
    x = nn.relu(nn.Dense(6, name='hidden')(x))
    return nn.Dense(3, name='head')(x)


@pytest.fixture
def headed(monkeypatch):
  """The network, with fully connected layers as units of one's own."""
  monkeypatch.setitem(linen.LAYERS, nn.Dense, dense_unit)
  net = Headed()
  clip = jax.random.normal(jax.random.key(0), (2, 5, 8, 12, 3))
  variables = net.init(jax.random.key(1), clip[:, 0])

  def build(rank):
    spec = Spec(
      lambda layers: layers,
      lambda unit: (
        (ThinMatrix(rank),) if isinstance(unit, OwnUnit) else (Full(),)
      ),
    )
    delta = distill(net, spec)
    return delta, delta.init(jax.random.key(2), variables, clip[:, 0])

  return net, variables, clip, build


def frame_by_frame(net, variables, clip):
  return jax.vmap(lambda frames: net.apply(variables, frames), 1, 1)(clip)


def test_a_new_kind_of_unit_gives_the_network_with_perfect_students(headed):
  net, variables, clip, build = headed
  delta, params = build(rank=4)  # of a 4 x 6 and a 6 x 3 matrix
  assert set(params['students']) == {'conv', 'hidden', 'head'}
  outs = jax.jit(lambda p, c: delta.rollout(p, c, 3))(params, clip)
  expected = frame_by_frame(net, variables, clip)
  np.testing.assert_allclose(outs, expected, atol=1e-5)


def test_a_new_kind_of_unit_folds_and_freezes(headed):
  _, _, clip, build = headed
  delta, params = build(rank=1)
  outs = jax.jit(lambda p, c: delta.rollout(p, c, 3))(params, clip)
  folded, aux = jax.jit(lambda p, c: delta.clip(p, c, interval=3))(params, clip)
  np.testing.assert_allclose(folded, outs, atol=1e-5)
  assert aux.deltas['hidden'].shape == (2, 3, 6)
  frozen = delta.freeze(params, clip[:, 0])
  deployed = jax.jit(lambda p, c: frozen.rollout(p, c, 3))(frozen.params, clip)
  np.testing.assert_allclose(deployed, outs, atol=1e-5)


def test_a_new_kind_of_unit_has_a_price(headed):
  _, _, clip, build = headed
  delta, params = build(rank=1)
  rows = {row.name: row for row in delta.macs(params, clip[:, 0]).rows}
  assert (rows['hidden'].key, rows['hidden'].later) == (4 * 6 + 6, 4 + 6)
  assert delta.costs(params, clip[:, 0])[1]['head'] == 6 * 3


def test_a_reference_may_be_an_object_of_ones_own(make_case):
  class Own(KeyFrame):
    name = 'own'

  own, published = make_case(Spec(reference=Own())), make_case(Spec())
  outs = [
    jax.jit(lambda p, c, case=case: case.delta.rollout(p, c, 3))(
      case.params, case.clip
    )
    for case in (own, published)
  ]
  jax.tree.map(np.testing.assert_array_equal, *outs)
  with pytest.raises(ValueError, match="no reference 'next'; known: 'key'"):
    Spec(reference='next')


def test_hooks_meet_every_part_once(make_case):
  case, met = make_case(), []
  network = as_network(case.net)

  def layer(layer, teacher, x):
    met.append(layer.name)
    return teacher(x)

  frame = case.clip[:, 0]
  outs = network.run(case.params['teacher'], frame, Hooks(layer=layer))
  listed = survey(case.net, case.params['teacher'], frame)
  assert met == [layer.name for layer in listed.layers]
  expected = case.net.apply(case.params['teacher'], frame)
  jax.tree.map(np.testing.assert_array_equal, outs, expected)


def test_what_is_no_network_is_refused():
  with pytest.raises(
    TypeError, match=r'expected a flax.linen or flax.nnx module'
  ):
    distill('ddrnet23_slim')


def documented(kind: Any):
  return [
    member
    for name, member in vars(kind).items()
    if not name.startswith('_') and inspect.isfunction(member)
  ]


def test_help_tells_of_every_function_of_a_delta_network():
  names = [function.__name__ for function in documented(Delta)]
  assert names == [
    *('init', 'keyframe', 'step', 'rollout', 'clip', 'reference', 'sample'),
    *('choose', 'macs', 'costs', 'freeze'),
  ]
  for function in documented(Delta):
    text = inspect.getdoc(function)
    for name in inspect.signature(function).parameters:
      if name not in ('self', 'params') or function.__name__ == 'clip':
        assert name == 'self' or f'{name}:' in text, (function, name)


def test_every_public_name_of_the_wing_is_documented():
  for name in delta_wing.__all__:
    assert inspect.getdoc(getattr(delta_wing, name)), name
