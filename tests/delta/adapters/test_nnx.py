"""What nnx networks alone have: graphs, streams, statistics, sharing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from deltax.delta import Full, Spec, Streamer, distill
from deltax.delta.adapters import Hooks, as_network
from deltax.delta.export import export
from deltax.delta.search import operations
from deltax.delta.survey import survey
from deltax.training.checkpoints import Checkpoints, restore_params
from deltax.training.state import TrainState

EVERY = Spec(lambda layers: layers, (Full(),))


class Block(nnx.Module):
  """A convolution with all that has a state."""

  def __init__(self, rngs, rate=0.5):
    self.conv = nnx.Conv(4, 4, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(4, rngs=rngs)
    self.dropout = nnx.Dropout(rate, rngs=rngs)

  def __call__(self, x):
    return nnx.relu(x + self.dropout(self.norm(self.conv(x))))


class Net(nnx.Module):
  """Lists, a dict, a sequence, and a block that is met twice."""

  def __init__(self, rngs, rate=0.5, depth=11):
    self.stem = nnx.Conv(3, 4, (1, 1), rngs=rngs)
    self.blocks = nnx.List([Block(rngs, rate) for _ in range(depth)])
    self.named = nnx.Dict(a=Block(rngs, rate))
    self.sequence = nnx.Sequential(Block(rngs, rate), nnx.relu)
    self.twice = self.blocks[0]
    self.levels = jnp.arange(4)[None, None, None]  # no parameter
    self.shift = nnx.Variable(jnp.full((1, 1, 1, 4), 0.5))  # nor is this

  def __call__(self, x):
    x = self.stem(x) + self.shift[...] + 0.1 * self.levels
    for block in self.blocks:
      x = block(x)
    return self.sequence(self.named['a'](self.twice(x)))


def build(**options):
  """A module, its delta network, parameters and a clip."""
  module = Net(nnx.Rngs(0, dropout=1), **options)
  clip = jax.random.normal(jax.random.key(0), (2, 3, 6, 8, 3))
  delta = distill(module, EVERY)
  params = delta.init(jax.random.key(1), nnx.state(module), clip[:, 0])
  return module, delta, params, clip


@pytest.fixture(scope='module')
def case():
  return build(depth=2)


def frame_by_frame(module, clip):
  module.eval()
  return jnp.stack([module(frame) for frame in clip.swapaxes(0, 1)], 1)


def test_parts_are_known_by_the_first_of_their_paths(case):
  module, _, params, clip = case
  listed = survey(module, nnx.state(module), clip[:, 0])
  assert [layer.name for layer in listed.layers] == [
    *('stem', 'blocks/0/conv', 'blocks/1/conv', 'blocks/0/conv:1'),
    *('named/a/conv', 'sequence/layers/0/conv'),
  ]
  # That of the shared block follows two calls, and is folded into neither.
  assert set(listed.norms) == {
    *('blocks/1/conv', 'named/a/conv', 'sequence/layers/0/conv'),
  }
  assert {b.path for b in listed.blocks if b.kind == 'Block'} == {
    *('blocks/0', 'blocks/1', 'named/a', 'sequence/layers/0'),
  }
  assert set(params['students']) == {layer.path for layer in listed.layers}


def test_a_list_of_more_than_ten_keeps_its_order():
  module, delta, params, clip = build(depth=11)
  for number, block in enumerate(module.blocks):
    path = f'blocks/{number}/conv'
    student = params['students'][path]['full']['kernel']
    np.testing.assert_array_equal(student, block.conv.kernel[...])
  outs = jax.jit(lambda p, c: delta.rollout(p, c, 3))(params, clip)
  np.testing.assert_allclose(outs, frame_by_frame(module, clip), atol=1e-4)


def test_parameters_are_floating_point_arrays_in_plain_dicts(case):
  module, _, params, _ = case
  teacher = params['teacher']
  leaves = jax.tree.leaves(params)
  assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
  assert set(teacher['batch_stats']) == {
    *('blocks', 'named', 'sequence', 'shift'),
  }
  doubled = jax.tree.map(lambda x: 2 * x, teacher)
  other = nnx.clone(module)
  nnx.update(other, doubled['params'], doubled['batch_stats'])
  pairs = zip(
    *(jax.tree.leaves(nnx.state(m, nnx.Param)) for m in (module, other)),
    strict=True,
  )
  for mine, theirs in pairs:
    np.testing.assert_array_equal(2 * mine, theirs)
  np.testing.assert_array_equal(other.shift[...], jnp.ones((1, 1, 1, 4)))


def test_parameters_of_a_checkpoint_are_those_that_were_saved(case, tmp_path):
  _, delta, params, clip = case
  gradient = jax.tree.map(jnp.ones_like, params)
  optimizer = optax.adam(0.01)
  state = optimizer.init(params)
  updates, state = optimizer.update(gradient, state, params)
  params = optax.apply_updates(params, updates)
  state = TrainState(jnp.int32(1), params, {}, state, jax.random.key(0))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state)
  restored, _ = restore_params(tmp_path)
  outs = jax.jit(lambda p: delta.rollout(p, clip, 2))
  np.testing.assert_array_equal(outs(restored), outs(params))


def test_an_nnx_state_and_its_pure_dict_are_variables_too(case):
  module, delta, params, clip = case
  expected = frame_by_frame(module, clip)[:, 0]
  state = nnx.state(module)
  floats = nnx.filter_state(state, lambda _, x: x.dtype == jnp.float32)
  for variables in (state, floats, nnx.to_pure_dict(floats)):
    same = delta.init(jax.random.key(1), variables, clip[:, 0])
    jax.tree.map(np.testing.assert_array_equal, same, params)
    _, out = delta.keyframe({**params, 'teacher': variables}, clip[:, 0])
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_a_graph_alone_will_do_where_nothing_else_is_needed(case):
  module, _, _, clip = case
  block = Block(nnx.Rngs(3))
  frame = jnp.ones((1, 6, 8, 4))
  graph, state = nnx.split(block)
  state = nnx.filter_state(state, nnx.Any(nnx.Param, nnx.BatchStat))
  delta = distill(graph, EVERY)
  params = delta.init(jax.random.key(0), state, frame)
  block.eval()
  np.testing.assert_allclose(delta.keyframe(params, frame)[1], block(frame))
  assert jnp.isfinite(train(delta, params, frame[:, None], 1)[0]).all()
  with pytest.raises(ValueError, match=r"'levels' of Net is no floating.*give"):
    distill(nnx.graphdef(module)).init(
      jax.random.key(0), nnx.state(module), clip[:, 0]
    )


def test_what_is_missing_or_no_network_is_told(case):
  module, delta, _, clip = case
  state = nnx.state(module, nnx.Param)
  with pytest.raises(
    ValueError, match=r"of Net lack 'blocks/0/norm/mean'; exp"
  ):
    delta.init(jax.random.key(0), state, clip[:, 0])
  with pytest.raises(TypeError, match='GraphDef of an nnx module, got that of'):
    distill(nnx.graphdef([module]))


def train(delta, params, clip, seed):
  key = None if seed is None else jax.random.key(seed)
  gates = {path: jnp.ones(1) for path in params['students']}
  return delta.clip(params, clip, key=key, train=True, gates=gates)


def test_dropout_draws_from_the_key_and_from_nothing_else(case):
  module, delta, params, clip = case
  before = jax.tree.leaves(nnx.state(module))
  once, again, other = (
    train(delta, params, clip, seed)[0] for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(once, again)
  assert jnp.abs(once - other).max() > 0.01
  with pytest.raises(ValueError, match=r"Net draws random .*'dropout'.*key="):
    train(delta, params, clip, None)
  for mine, old in zip(jax.tree.leaves(nnx.state(module)), before, strict=True):
    assert mine is old
  calm = build(rate=0.0, depth=1)
  train(*calm[1:], None)  # which draws nothing


def test_streams_of_one_key_draw_apart():
  class Noisy(nnx.Module):
    def __init__(self, rngs):
      self.conv = nnx.Conv(3, 3, (1, 1), rngs=rngs)
      self.rngs = nnx.Rngs(one=0, two=1)

    def __call__(self, x):
      shape = x.shape
      drawn = self.rngs.one.uniform(shape), self.rngs.two.uniform(shape)
      return {'x': self.conv(x), 'drawn': drawn}

  module = Noisy(nnx.Rngs(0))
  network, frame = as_network(module), jnp.ones((1, 2, 2, 3))
  variables = network.taken(nnx.state(module))
  outs, _ = network.train(variables, frame, Hooks(), jax.random.key(0))
  one, two = outs['drawn']
  assert not np.any(one == two)


def test_training_gives_the_statistics_that_the_module_would_have(case):
  module, delta, params, _ = case
  clip = jax.random.normal(jax.random.key(5), (3, 1, 6, 8, 3))
  frozen = nnx.clone(module)
  frozen.set_attributes(nnx.Dropout, rate=0.0)
  delta = distill(frozen, EVERY)
  outs, aux = jax.jit(lambda p, c: train(delta, p, c, None))(params, clip)
  frozen.train()
  np.testing.assert_allclose(outs[:, 0], frozen(clip[:, 0]), atol=1e-4)
  mean = aux.batch_stats['blocks'][0]['norm']['mean']
  # Of a block that is called twice, by both calls.
  np.testing.assert_allclose(mean, frozen.blocks[0].norm.mean[...], atol=1e-5)
  variables = params['teacher'] | {'batch_stats': aux.batch_stats}
  frozen.eval()
  _, out = delta.keyframe({**params, 'teacher': variables}, clip[:, 0])
  np.testing.assert_allclose(out, frozen(clip[:, 0]), atol=1e-4)


def test_it_is_deployed_like_any_other(case):
  module, delta, params, clip = case
  frozen = delta.freeze(params, clip[:, 0])
  streamer = Streamer(frozen, interval=2)
  outs = [streamer.push(frame) for frame in clip[0]]
  np.testing.assert_allclose(
    jnp.stack(outs), frame_by_frame(module, clip)[0], atol=1e-4
  )
  left = frozen.params['variables']
  assert set(left['params']) == {'blocks'}  # the norm that is not folded
  programs = export(frozen, clip[:1, 0].shape)  # for CPU, GPU and TPU
  assert set(programs) == {'keyframe', 'step'}


def test_a_block_cut_out_of_the_network_is_the_block():
  module, _, _, clip = build(depth=1)
  listed = survey(module, nnx.state(module), clip[:, 0])
  network = as_network(module)
  variables = network.taken(nnx.state(module))
  whole = operations.Operation(network.run, (variables, clip[:, 0]))
  x = jax.random.normal(jax.random.key(3), (2, 6, 8, 4))
  module.eval()
  for block in listed.blocks:
    if block.path == 'blocks/0':
      cut = operations.block_alone(block, whole)
      np.testing.assert_allclose(cut.run(variables, x), module.twice(x))


def test_a_weight_that_two_layers_share_stays_while_one_needs_it():
  class Tied(nnx.Module):
    def __init__(self, rngs):
      self.one = nnx.Conv(3, 3, (1, 1), use_bias=False, rngs=rngs)
      self.two = nnx.Conv(3, 3, (1, 1), use_bias=False, rngs=rngs)
      self.two.kernel = self.one.kernel
      self.three = nnx.Conv(3, 3, (1, 1), use_bias=False, rngs=rngs)

    def __call__(self, x):
      return self.three(self.two(self.one(x)))

  module, frame = Tied(nnx.Rngs(0)), jnp.ones((1, 4, 4, 3))
  network = as_network(module)
  variables = network.taken(nnx.state(module))
  kernel = network.layer(variables, 'two')['kernel']
  np.testing.assert_array_equal(kernel, module.one.kernel[...])
  assert set(network.without(variables, ['one'], frame)['params']) == {
    'one',
    'three',
  }
  assert set(network.without(variables, ['one', 'two'], frame)['params']) == {
    'three'
  }
  params = distill(module, EVERY).init(jax.random.key(0), variables, frame)
  assert set(params['students']) == {'one', 'two', 'three'}


@pytest.mark.parametrize(
  'read',
  [
    lambda kernel: jnp.tanh(kernel[...]).mean(),
    lambda kernel: jnp.float32(kernel.size),
    lambda kernel: jnp.asarray(kernel).mean(),
    lambda kernel: (2 * kernel).mean(),
  ],
)
def test_a_weight_that_the_network_reads_itself_stays(read):
  class Reader(nnx.Module):
    def __init__(self, rngs):
      self.one = nnx.Conv(3, 3, (1, 1), rngs=rngs)
      self.two = nnx.Conv(3, 3, (1, 1), rngs=rngs)

    def __call__(self, x):
      return self.two(self.one(x)) * read(self.one.kernel)

  module, frame = Reader(nnx.Rngs(0)), jnp.ones((1, 4, 4, 3))
  delta = distill(module, EVERY)
  params = delta.init(jax.random.key(0), nnx.state(module), frame)
  frozen = delta.freeze(params, frame)
  assert set(frozen.params['variables']['params']) == {'one'}
  assert set(frozen.params['variables']['params']['one']) == {'kernel'}
  _, out = frozen.keyframe(frozen.params, frame)
  np.testing.assert_allclose(out, module(frame), atol=1e-5)


def test_classes_are_asked_without_others_being_told():
  registered = []

  class Registered(nnx.Module):
    def __init_subclass__(cls, **options):
      super().__init_subclass__(**options)
      registered.append(cls)

  class Own(Registered):
    def __init__(self, rngs):
      self.conv = nnx.Conv(3, 3, (1, 1), rngs=rngs)
      self._ask = 7

    def __call__(self, x):
      assert type(self).__name__ == 'Own' and isinstance(self, Own)
      return self._ask * self.conv(x)

  module, frame = Own(nnx.Rngs(0)), jnp.ones((1, 4, 4, 3))
  out = as_network(module).run(nnx.state(module), frame)
  np.testing.assert_array_equal(out, module(frame))
  assert registered == [Own] and type(module) is Own


def test_a_flag_of_the_call_is_given_too():
  class Flagged(nnx.Module):
    def __init__(self, rngs):
      self.norm = nnx.BatchNorm(3, use_running_average=None, rngs=rngs)

    def __call__(self, x, training=False):
      return self.norm(x, use_running_average=not training)

  module = Flagged(nnx.Rngs(0))
  network = as_network(module)
  variables = network.taken(nnx.state(module))
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
  out, statistics = network.train(variables, x, Hooks(), None)
  np.testing.assert_allclose(out, module(x, training=True), atol=1e-6)
  mean = module.norm.mean[...]
  np.testing.assert_allclose(statistics['norm']['mean'], mean, atol=1e-6)
  variables['batch_stats'] = statistics
  np.testing.assert_allclose(network.run(variables, x), module(x), atol=1e-6)


class Scanned(nnx.Module):
  """Layers stacked and scanned over."""

  def __init__(self, rngs):
    self.stem = nnx.Conv(3, 3, (1, 1), rngs=rngs)

    @nnx.split_rngs(splits=2)
    @nnx.vmap(in_axes=0, out_axes=0)
    def stacked(rngs):
      return nnx.Conv(3, 3, (1, 1), rngs=rngs)

    self.inner = stacked(rngs)

  def __call__(self, x):
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def forward(x, layer):
      return layer(x)

    return forward(self.stem(x), self.inner)


class Remat(nnx.Module):
  """A layer whose gradient computes it again."""

  def __init__(self, rngs):
    self.stem = nnx.Conv(3, 3, (1, 1), rngs=rngs)
    self.inner = nnx.Conv(3, 3, (1, 1), rngs=rngs)

  def __call__(self, x):
    return nnx.remat(lambda layer, x: layer(x))(self.inner, self.stem(x))


@pytest.mark.parametrize('kind', [Scanned, Remat])
def test_a_network_that_hides_its_layers_is_refused(kind):
  module, frame = kind(nnx.Rngs(0)), jnp.ones((1, 4, 4, 3))
  with pytest.raises(ValueError, match=r'inner.*runs inside'):
    distill(module).init(jax.random.key(0), nnx.state(module), frame)
