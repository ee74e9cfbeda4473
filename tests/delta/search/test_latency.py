"""Latency tables: what they hold, their file, and what is refused.

No test asserts a time.
"""

import dataclasses
import json
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Spec, distill, make_spec
from deltax.delta.search import latency, operations
from deltax.delta.search.latency import Entry, Latencies
from deltax.delta.spec import blocks_of, no_blocks
from deltax.delta.students.blocks import NoChange, Residual
from deltax.delta.students.layers import Full, LowRank, Skip, Teacher, conv_macs
from deltax.delta.survey import survey
from deltax.layers import BatchNorm, conv2d

SHAPE = (2, 16, 24, 3)


class Twice(nn.Module):
  """A residual block."""

  @nn.compact
  def __call__(self, x, *, bent=True):
    y = conv2d(8, name='one')(x)
    y = BatchNorm(use_running_average=True, name='norm')(y)
    y = conv2d(8, name='two')(nn.relu(y))
    return nn.relu(x + y) if bent else x + y


class Net(nn.Module):
  """Equal layers, a shared one, and blocks."""

  @nn.compact
  def __call__(self, x):
    x = conv2d(8, 3, 2, bias=True, name='stem')(x)
    x = Twice(name='block')(x)
    x = conv2d(8, name='same_a')(x)
    x = BatchNorm(use_running_average=True, name='norm')(x)
    x = conv2d(8, name='same_b')(nn.relu(x))
    x = Twice(name='plain')(x, bent=False)
    shared = conv2d(8, 1, name='shared')
    x = shared(x)[:, ::2] + shared(x[:, ::2])
    return conv2d(4, 1, name='head')(x)


def variables(seed=0):
  shapes = jax.eval_shape(Net().init, jax.random.key(0), jnp.zeros(SHAPE))
  leaves, structure = jax.tree.flatten(shapes)
  draw = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    [np.float32(draw.uniform(0.1, 0.5, leaf.shape)) for leaf in leaves],
  )


SPEC = Spec(
  candidates=(Full(), LowRank(2), Skip(), Teacher()),
  blocks=blocks_of('Twice'),
  block_candidates=(Residual(2), NoChange()),
)


@pytest.fixture(scope='module')
def counted():
  """The latencies of the network, and how many programs were compiled."""
  told = []
  found = latency.measure(
    *(Net(), variables(), SPEC, SHAPE),
    repeats=2,
    progress=lambda done, count: told.append((done, count)),
  )
  return found, told


def test_every_layer_and_candidate_has_a_time(counted):
  found, _ = counted
  assert list(found.candidates) == [
    *('block', 'plain', 'same_a', 'same_b', 'shared')
  ]
  for path, own in found.candidates.items():
    names = [Residual(2).name, 'skip']
    if path in ('same_a', 'same_b', 'shared'):
      names = ['full', 'low_rank_2_out', 'skip', 'teacher']
    assert list(own) == names
  for entry in [*found.teacher.values(), *found.candidates['same_a'].values()]:
    assert math.isfinite(entry.ms)
    assert entry.ms >= 0
  assert found.frame > 0
  assert (found.network, found.shape, found.dtype) == ('Net', SHAPE, 'float32')
  assert found.backend == 'cpu'
  assert found.device
  assert found.cores >= 1


def test_equal_layers_are_measured_once(counted):
  found, told = counted
  assert found.candidates['same_a'] == found.candidates['same_b']
  assert found.teacher['same_a'] == found.teacher['same_b']
  assert found.candidates['same_a']['teacher'] == found.teacher['same_a']
  # Two frames; a kind of block and its 2 students; the equal layers, and either
  # call of the shared one, with 3 students each.
  assert told == [(n, 17) for n in range(1, 18)]


def test_multiply_accumulates_are_those_of_the_budget(counted):
  found, _ = counted
  delta, frame = distill(Net(), SPEC), jnp.zeros(SHAPE)
  params = delta.init(jax.random.key(0), variables(), frame)
  costs, teacher = delta.costs(params, frame)
  assert {p: e.macs for p, e in found.teacher.items()} == teacher
  for path, own in found.candidates.items():
    assert tuple(entry.macs for entry in own.values()) == costs[path]


def test_of_a_span_the_convolutions_are_timed():
  """What is inside of it costs nothing more."""
  spec = dataclasses.replace(
    SPEC,
    candidates=(Skip(),),
    blocks=no_blocks,
    spans=(('same_a', 'same_b'),),
    block_candidates=(Residual(2), Teacher()),
  )
  found = latency.measure(Net(), variables(), spec, SHAPE, repeats=2)
  span, inside = 'same_a-same_b', found.teacher['same_a']
  assert list(found.candidates[span]) == [Residual(2).name]
  assert found.teacher[span].ms > 0
  assert found.teacher[span].macs == 2 * conv_macs((3, 3, 8, 8), (8, 12, 8))
  assert (inside.ms, inside.macs) == (0, 0)
  assert found.candidates['same_a']['skip'].ms == 0
  delta, frame = distill(Net(), spec), jnp.zeros(SHAPE)
  params = delta.init(jax.random.key(0), variables(), frame)
  student = found.candidates[span][Residual(2).name]
  others = [p for p in found.candidates if not p.startswith('same')]
  assert found.predicted(delta.choose(params)) == pytest.approx(
    found.rest
    + student.ms
    + sum(found.candidates[path]['skip'].ms for path in others)
  )


def test_bytes_are_those_of_arguments_and_results(counted):
  found, _ = counted
  maps, kernel = 2 * 8 * 12 * 8, 3 * 3 * 8 * 8
  own = found.candidates['same_a']
  assert own['full'].bytes == 4 * (3 * maps + kernel)
  assert own['skip'].bytes == 4 * 2 * maps
  assert own['teacher'].bytes == 4 * (2 * maps + kernel + 8)
  # A block's parameters are its own only.
  assert found.teacher['block'].bytes == 4 * (2 * maps + 2 * kernel + 8)


def test_the_operations_are_the_deployed_network():
  """Blocks cut out of it give what they give inside, batch norm folded."""
  values = variables()
  frame = jax.random.uniform(jax.random.key(1), SHAPE)
  network = operations.whole(Net(), values, frame)
  frozen = distill(Net(), Spec(candidates=(Teacher(),)))
  params = frozen.init(jax.random.key(0), values, frame)
  params = frozen.freeze(params, frame).params
  shapes = jax.tree.map(jnp.shape, params)
  assert jax.tree.map(lambda s: s.shape, network.args[0]) == shapes
  out = network.run(params, frame)
  np.testing.assert_allclose(out, Net().apply(values, frame), rtol=1e-4)

  found = survey(Net(), values, frame)
  inputs = jax.random.normal(jax.random.key(2), (2, 8, 12, 8))
  for block, bent in zip(found.blocks, (True, False), strict=True):
    cut = operations.block_alone(block, network)
    own = {kind: tree[block.path] for kind, tree in values.items()}
    expected = Twice().apply(own, inputs, bent=bent)
    np.testing.assert_allclose(
      cut.run(params, inputs), expected, rtol=1e-4, atol=1e-5
    )


def test_students_stand_beside_what_is_cached():
  (layer, *_) = survey(Net(), variables(), jnp.zeros(SHAPE)).layers
  frame = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
  student = operations.student(LowRank(2), layer, frame)
  shapes = jax.tree.map(lambda s: s.shape, student.args)
  assert shapes[1:] == ({}, (2, 8, 12, 8), (2, 16, 24, 3))
  own = LowRank(2).init(jnp.ones(layer.kernel), layer)
  x, constant = jnp.ones((2, 16, 24, 3)), jnp.full((2, 8, 12, 8), -15.0)
  expected = jnp.maximum(LowRank(2).apply(own, x, layer) + constant, 0.0)
  np.testing.assert_allclose(student.run(own, {}, constant, x), expected)
  assert 0 < (expected > 0).mean() < 1


def test_copies_side_by_side_share_nothing(monkeypatch):
  """As accelerators time them: per copy, of arguments of their own."""
  monkeypatch.setattr(operations, '_COPIES', {'cpu': 3})
  seen = []

  def run(x, y):
    jax.debug.callback(lambda *given: seen.append(given), x, y)
    return x + y

  like = jax.ShapeDtypeStruct((5, 7), jnp.float32)
  operation = operations.Operation(run, (like, like))
  operations.measured({'sum': operation}, repeats=1)
  jax.effects_barrier()
  calls = np.stack([np.stack(given) for given in seen]).reshape(-1, 35)
  assert len(np.unique(calls, axis=0)) == 6
  assert len(calls) % 6 == 0


def made():
  entry = Entry(2.0, 100, 8)
  return Latencies(
    network='net',
    shape=(1, 8, 8, 3),
    dtype='float32',
    backend='cpu',
    device='some processor',
    cores=2,
    frame=7.0,
    rest=3.0,
    teacher={'a': entry, 'b': entry},
    candidates={
      'a': {'full': entry, 'skip': Entry(0.25, 0, 4)},
      'b': {'skip': Entry(0.5, 0, 4), 'full': Entry(1.75, 100, 8)},
    },
  )


def test_a_prediction_is_the_rest_and_the_chosen():
  found = made()
  assert found.rest == 3.0
  assert found.predicted({'a': 0, 'b': 1}) == 3.0 + 2.0 + 1.75
  assert found.predicted({'a': 1, 'b': 0}) == 3.0 + 0.25 + 0.5
  with pytest.raises(
    ValueError, match="no layer or block 'c' in the latencies"
  ):
    found.predicted({'a': 0, 'b': 0, 'c': 0})
  with pytest.raises(ValueError, match="nothing is chosen for 'b'"):
    found.predicted({'a': 0})


def test_a_file_holds_them_all(tmp_path):
  path = tmp_path / 'new' / 'latency.json'
  latency.write(path, made())
  assert latency.read(path) == made()
  assert list(latency.read(path).candidates['b']) == ['skip', 'full']
  assert [p.name for p in path.parent.iterdir()] == ['latency.json']


def test_a_file_that_cannot_be_read_says_why(tmp_path):
  path = tmp_path / 'latency.json'
  with pytest.raises(
    FileNotFoundError, match=r'no latencies at .*latency\.json'
  ):
    latency.read(path)
  latency.write(path, made())
  text = path.read_text()
  content = json.loads(text)
  damaged = [
    text[: len(text) // 2],
    '[1]',
    '{}',
    json.dumps({k: v for k, v in content.items() if k != 'frame'}),
    json.dumps({**content, 'teacher': {'a': 3}}),
    json.dumps({**content, 'candidates': {'a': {'full': {'ms': 1}}}}),
  ]
  for each in damaged:
    path.write_text(each)
    with pytest.raises(ValueError, match='holds no latencies, or is damaged'):
      latency.read(path)
  path.write_bytes(b'\xff\xfe')
  with pytest.raises(ValueError, match='holds no latencies, or is damaged'):
    latency.read(path)
  path.write_text(json.dumps({**content, 'version': 99}))
  with pytest.raises(ValueError, match=r'of version 99, expected .*measure'):
    latency.read(path)


def test_a_table_has_the_form_of_the_prices(counted):
  found, _ = counted
  delta, frame = distill(Net(), SPEC), jnp.zeros(SHAPE)
  params = delta.init(jax.random.key(0), variables(), frame)
  prices = delta.costs(params, frame)
  selected = SPEC.select(survey(Net(), variables(), jnp.zeros((1, 32, 32, 3))))
  costs, teacher = latency.table(found, selected)
  assert list(costs) == list(prices[0])
  assert list(teacher) == list(prices[1])
  assert {p: len(c) for p, c in costs.items()} == {
    p: len(c) for p, c in prices[0].items()
  }
  assert costs['same_a'][1] == found.candidates['same_a']['low_rank_2_out'].ms
  assert teacher['block'] == found.teacher['block'].ms


def test_a_table_keeps_the_order_of_the_spec(counted):
  found, _ = counted
  turned = Spec(candidates=(Skip(), Full()))
  selected = turned.select(survey(Net(), variables(), jnp.zeros(SHAPE)))
  selected = {p: selected[p] for p in ('same_a', 'shared')}
  costs, _ = latency.table(found, selected)
  own = found.candidates['shared']
  assert costs['shared'] == (own['skip'].ms, own['full'].ms)


def test_what_was_not_measured_is_named(counted):
  found, _ = counted
  everything = survey(Net(), variables(), jnp.zeros(SHAPE))
  with pytest.raises(
    ValueError, match=r"no layer or block 'block/one' in .* Net .* 2x16x24x3"
  ):
    latency.table(found, Spec(candidates=(Full(),)).select(everything))
  spec = Spec(
    lambda layers: [x for x in layers if x.path == 'shared'],
    candidates=(Full(), LowRank(4)),
  )
  with pytest.raises(
    ValueError, match=r"no candidate 'low_rank_4_out' of 'shared' in .*full"
  ):
    latency.table(found, spec.select(everything))


def test_half_precision_moves_half_the_bytes(counted):
  found, _ = counted
  spec = make_spec(candidates=(('skip',), ('full',)))
  half = latency.measure(
    *(Net(), variables(), spec, SHAPE), dtype='bfloat16', repeats=1
  )
  own = half.candidates['same_a']['full']
  assert 2 * own.bytes == found.candidates['same_a']['full'].bytes
  assert half.dtype == 'bfloat16'


@pytest.mark.parametrize(
  'change',
  [
    {'shape': [1, 2, 3]},
    {'shape': 'abcd'},
    {'cores': None},
    {'frame': '9'},
    {'frame': float('nan')},
    {'network': 3},
    {'teacher': {'a': {'ms': 1.0, 'macs': 1, 'bytes': [1]}}},
    {'candidates': {'a': {'full': {'ms': [], 'macs': 1, 'bytes': 1}}}},
    {'candidates': {'a': []}},
    {'candidates': {'a': {}}},
  ],
)
def test_values_of_another_type_are_refused(tmp_path, change):
  path = tmp_path / 'latency.json'
  latency.write(path, made())
  content = json.loads(path.read_text())
  path.write_text(json.dumps({**content, **change}))
  with pytest.raises(ValueError, match='holds no latencies, or is damaged: '):
    latency.read(path)
