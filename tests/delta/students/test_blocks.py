"""Students of whole blocks: in training, deployed, and in the books."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.delta import Skip, Spec, Strided, distill, make_spec
from deltax.delta.students.blocks import Residual
from deltax.delta.survey import survey
from deltax.layers import BatchNorm, conv2d


class Unit(nn.Module):
  """A residual block, of a stride or not."""

  features: int
  stride: int = 1

  @nn.compact
  def __call__(self, x, norm):
    y = nn.relu(norm('one')(conv2d(self.features, 3, self.stride, name='a')(x)))
    y = norm('two')(conv2d(self.features, name='b')(y))
    if self.stride > 1:
      x = conv2d(self.features, 1, self.stride, name='c')(x)
    return nn.relu(x + y)


class Merge(nn.Module):
  """Two feature maps of different sizes, brought to the finer one."""

  @nn.compact
  def __call__(self, maps):
    fine, coarse = maps
    coarse = conv2d(fine.shape[-1], 1, name='bring')(coarse)
    coarse = coarse.repeat(2, 1).repeat(2, 2)
    return nn.relu(fine + coarse)


class Net(nn.Module):
  """Convolutions with students of their own, and blocks."""

  @nn.compact
  def __call__(self, x, train=False):
    def norm(name):
      return BatchNorm(use_running_average=not train, name=name)

    x = nn.relu(norm('stem_norm')(conv2d(8, 3, 2, name='stem')(x)))
    fine = Unit(8, name='same')(x, norm)
    coarse = Unit(16, 2, name='down')(fine, norm)
    coarse = nn.relu(conv2d(16, name='between')(coarse))
    return conv2d(3, 1, name='head')(Merge(name='merge')([fine, coarse]))


def build(**options):
  spec = make_spec(blocks=('Unit', 'Merge'), **options)
  net, keys = Net(), jax.random.split(jax.random.key(0), 4)
  clip = jax.random.normal(keys[0], (2, 5, 16, 24, 3))
  delta = distill(net, spec)
  params = delta.init(keys[2], net.init(keys[1], clip[:, 0]), clip[:, 0])
  return net, delta, moved(keys[3], params), clip


def moved(key, params):
  """Random last layers, so that blocks do more than their shortcuts."""
  leaves, structure = jax.tree.flatten(params['students'])
  keys = jax.random.split(key, len(leaves))
  noisy = [
    leaf + 0.1 * jax.random.normal(own, leaf.shape)
    for own, leaf in zip(keys, leaves, strict=True)
  ]
  return {**params, 'students': jax.tree.unflatten(structure, noisy)}


def close(a, b, atol=2e-5):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), a, b)


def test_blocks_take_the_place_of_the_convolutions_inside():
  _, _, params, _ = build()
  assert set(params['students']) == {'same', 'down', 'between', 'merge'}


@pytest.mark.parametrize('reference', ['key', 'previous', 'none'])
def test_one_pass_equals_the_rollout_and_the_loop(reference):
  _, delta, params, clip = build(reference=reference)
  outs, aux = jax.jit(lambda p, c: delta.clip(p, c, interval=3))(params, clip)
  close(outs, jax.jit(lambda p, c: delta.rollout(p, c, 3))(params, clip))
  carry, step = None, jax.jit(delta.step)
  for t in range(clip.shape[1]):
    if t % 3 == 0:
      carry, out = delta.keyframe(params, clip[:, t])
    else:
      carry, out = step(params, carry, clip[:, t])
    close(out, outs[:, t])
  assert aux.deltas['merge'].shape == (2, 3, 8, 12, 8)


@pytest.mark.parametrize('reference', ['key', 'none'])
@pytest.mark.parametrize(
  'own', [('residual', 2), ('residual', 2, 2), ('skip',), ('teacher',)]
)
def test_the_frozen_network_equals_the_live_one(reference, own):
  _, delta, params, clip = build(reference=reference, block_candidates=(own,))
  frozen = delta.freeze(params, clip[:, 0])
  live = jax.jit(lambda p, c: delta.rollout(p, c, 3))(params, clip)
  outs = jax.jit(lambda p, c: frozen.rollout(p, c, 3))(frozen.params, clip)
  close(outs, live, 1e-4)


@pytest.mark.parametrize('reference', ['key', 'none'])
def test_a_frozen_network_takes_frames_of_any_size(reference):
  """Though coarse students and blocks go by the sizes of their layers."""
  _, delta, params, clip = build(
    reference=reference,
    candidates=(('strided',),),
    block_candidates=(('residual', 2, 2),),
  )
  frozen = delta.freeze(params)
  for frames in (clip, clip[:, :, :8, :16]):
    live = delta.rollout(params, frames, 3)
    close(frozen.rollout(frozen.params, frames, 3), live, 1e-4)


def test_a_still_clip_stays_what_the_teacher_says():
  net, delta, params, clip = build()
  still = jnp.repeat(clip[:, :1], 4, 1)
  outs = delta.rollout(params, still, 4)
  truth = net.apply(params['teacher'], clip[:, 0])
  close(outs, jnp.repeat(truth[:, None], 4, 1))


@pytest.mark.parametrize('reference', ['key', 'previous', 'none'])
def test_a_block_that_stays_the_teachers_is_exact(reference):
  """And a gate that hesitates gives what lies between."""
  exact = {'block_candidates': (('teacher',),), 'candidates': (('teacher',),)}
  net, delta, params, clip = build(reference=reference, **exact)
  truth = jax.vmap(lambda x: net.apply(params['teacher'], x), 1, 1)(clip)
  close(delta.clip(params, clip)[0], truth)
  close(delta.rollout(params, clip, 5), truth)
  frame = clip[:, 0]
  assert delta.macs(params, frame).later == delta.macs(params, frame).key
  exact['block_candidates'] = (('teacher',), ('skip',))
  _, delta, params, clip = build(reference=reference, **exact)
  _, aux = delta.clip(
    params, clip, gates=dict.fromkeys(params['gates'], jnp.array([0.5, 0.5]))
  )
  _, target = delta.reference(params, clip)
  close(2 * aux.deltas['same'], target['same'])


def test_training_takes_statistics_once_of_blocks_that_may_stay():
  options = {'block_candidates': (('skip',), ('teacher',))}
  net, delta, params, clip = build(**options)
  _, aux = delta.clip(params, clip, key=jax.random.key(0), train=True)
  frames = clip.reshape(-1, *clip.shape[2:])
  _, updated = net.apply(
    params['teacher'], frames, train=True, mutable=['batch_stats']
  )
  # Of the first block, which reads what the teacher's stem gives on all frames.
  close(aux.batch_stats['same'], updated['batch_stats']['same'])


def test_a_block_starts_as_its_shortcut():
  net, keys = Net(), jax.random.split(jax.random.key(0), 3)
  clip = jax.random.normal(keys[0], (1, 2, 16, 24, 3))
  delta = distill(net, make_spec(blocks=('Unit',)))
  params = delta.init(keys[1], net.init(keys[2], clip[:, 0]), clip[:, 0])
  seen = {}

  def watch(call, args, kwargs, context):
    if context.module.path == ('stem_norm',):
      out = call(*args, **kwargs)
      seen['x'] = nn.relu(out)
      return out
    return call(*args, **kwargs)

  with nn.intercept_methods(watch):
    net.apply(params['teacher'], clip.reshape(2, 16, 24, 3))
  _, aux = delta.clip(params, clip)
  close(aux.deltas['same'][:, 0], seen['x'][1:] - seen['x'][:1])


def test_gradients_reach_every_block_and_gate():
  options = (('residual', 2), ('skip',))
  _, delta, params, clip = build(block_candidates=options, initial_logit=1.0)

  def loss(params, key):
    outs, _ = delta.clip(params, clip, key=key, train=True)
    return jnp.square(outs).sum()

  # A draw that skips what follows hides a block from the loss.
  keys = jax.random.split(jax.random.key(5), 8)
  slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, keys)
  for path in ('same', 'down', 'merge'):
    assert slopes['gates'][path].shape == (8, 1)
    assert jnp.abs(slopes['gates'][path]).sum() > 0
  assert set(params['students']['same']) == {'residual_2_1', 'skip'}


def test_the_blocks_own_change_is_what_is_distilled():
  net, delta, params, clip = build()
  _, targets = delta.reference(params, clip)
  _, aux = delta.clip(params, clip)
  assert {k: v.shape for k, v in targets.items()} == {
    k: v.shape for k, v in aux.deltas.items()
  }

  def run(frames):
    maps = {}

    def keep(call, args, kwargs, context):
      out = call(*args, **kwargs)
      maps['/'.join(context.module.path)] = out
      return out

    with nn.intercept_methods(keep):
      net.apply(params['teacher'], frames)
    return maps['down']

  close(targets['down'][:, 1], run(clip[:, 2]) - run(clip[:, 0]))


def test_a_block_costs_its_convolutions_and_its_student_its_own():
  net, delta, params, clip = build(block_candidates=(('residual', 2),))
  rows = {row.name: row for row in delta.macs(params, clip[:1, 0]).rows}
  assert list(rows) == ['stem', 'same', 'down', 'between', 'merge', 'head']
  assert rows['same'].key == 2 * 8 * 12 * 8 * 8 * 9
  # 1x1 to 4 channels, 3x3 among them, 1x1 back to 8.
  assert rows['same'].later == 8 * 12 * (8 * 4 + 4 * 4 * 9 + 4 * 8)
  # The coarse input is brought to 4 channels at its own size.
  merge = 8 * 12 * (8 * 4 + 4 * 4 * 9 + 4 * 8) + 4 * 6 * 16 * 4
  assert rows['merge'].later == merge
  found = survey(net, params['teacher'], clip[:1, 0])
  block = next(b for b in found.blocks if b.path == 'down')
  assert block.kind == 'Unit'
  assert block.layers == ('down/a', 'down/b', 'down/c')
  costs, teacher = delta.costs(params, clip[:1, 0])
  assert costs['same'] == (rows['same'].later,)
  assert teacher['same'] == rows['same'].key


@pytest.mark.parametrize(
  ('name', 'kinds', 'rule', 'path'),
  [
    (
      *('ddrnet23_tiny', ('BasicBlock', 'Bottleneck')),
      *('all_but_first_and_last', 'layer1_0'),
    ),
    (
      *('hrnet_w18_small', ('BasicBlock',)),
      *('all_but_first_and_last', 'stage2_0/branches_0_0'),
    ),
    (
      *('efficientdet_tiny', ('InvertedResidual', 'Node')),
      *('detector', 'fpn/cell_0/fnode_0'),
    ),
  ],
)
def test_published_networks_have_blocks(name, kinds, rule, path):
  net = models.create(name, num_classes=4)
  frame = jnp.zeros((1, 64, 64, 3))
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  delta = distill(net, make_spec(layers=rule, blocks=kinds))
  params = jax.eval_shape(delta.init, jax.random.key(1), variables, frame)
  carry, out = jax.eval_shape(delta.keyframe, params, frame)
  _, later = jax.eval_shape(delta.step, params, carry, frame)
  assert jax.tree.map(jnp.shape, out) == jax.tree.map(jnp.shape, later)
  assert path in params['students']
  assert f'{path}/conv1' not in params['students']


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(blocks=('Unti',)), 'Unti.*Merge, Unit'),
    (dict(block_candidates=(('residul', 4),)), 'known: residual, skip'),
    (dict(block_candidates=(('skip',), ('skip',))), "'same' has candidates"),
  ],
)
def test_specs_that_make_no_sense_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    spec = make_spec(**{'blocks': ('Unit', 'Merge'), **options})
    frame = jnp.zeros((1, 16, 24, 3))
    variables = jax.eval_shape(Net().init, jax.random.key(0), frame)
    spec.select(survey(Net(), variables, frame))


def test_of_a_block_within_a_block_the_outer_is_taken():
  frame = jnp.zeros((1, 16, 24, 3))

  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
      return conv2d(3, name='last')(Net(name='inner')(x))

  variables = jax.eval_shape(Outer().init, jax.random.key(0), frame)
  found = survey(Outer(), variables, frame)
  selected = Spec(blocks=lambda blocks: blocks).select(found)
  assert list(selected) == ['inner']
  with pytest.raises(ValueError, match='one is within another'):
    Spec(blocks=lambda blocks: blocks, spans=(('inner/stem', 'last'),)).select(
      found
    )


def test_factors_below_one_are_refused():
  with pytest.raises(ValueError, match='at least 1'):
    Residual(0)


def test_a_layer_called_at_two_sizes_has_a_student_at_each():
  class Pyramid(nn.Module):
    @nn.compact
    def __call__(self, x):
      shared = conv2d(4, bias=True, name='shared')
      return shared(x).mean((1, 2)) + shared(x[:, ::2, ::2]).mean((1, 2))

  net, clip = Pyramid(), jax.random.normal(jax.random.key(0), (1, 3, 8, 8, 3))
  teacher = net.init(jax.random.key(1), clip[:, 0])
  for candidate in (Skip(), Strided()):
    delta = distill(net, Spec(lambda layers: layers, (candidate,)))
    params = delta.init(jax.random.key(2), teacher, clip[:, 0])
    frozen = delta.freeze(params, clip[:, 0])
    outs = delta.rollout(params, clip, 3)
    close(outs, frozen.rollout(frozen.params, clip, 3))
    close(outs, delta.clip(params, clip)[0])


@pytest.mark.parametrize('reference', ['key', 'previous', 'none'])
def test_a_span_is_a_block_between_two_convolutions(reference):
  class Chain(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      for name in 'abc':
        x = conv2d(8, 3, 2 if name == 'a' else 1, name=name)(x)
        x = BatchNorm(use_running_average=not train, name=f'{name}_norm')(x)
        x = nn.relu(x)
      return conv2d(3, 1, name='d')(x)

  net, keys = Chain(), jax.random.split(jax.random.key(0), 4)
  clip = jax.random.normal(keys[0], (2, 5, 16, 24, 3))
  spec = make_spec(
    spans=(('a', 'b'),),
    block_candidates=(('residual', 2), ('teacher',)),
    reference=reference,
  )
  delta = distill(net, spec)
  params = delta.init(keys[1], net.init(keys[2], clip[:, 0]), clip[:, 0])
  params = moved(keys[3], params)
  outs, aux = jax.jit(lambda p, c: delta.clip(p, c, interval=3))(params, clip)
  assert set(aux.deltas) == {'a-b', 'c'}
  assert aux.deltas['a-b'].shape == (2, 3, 8, 12, 8)
  close(outs, jax.jit(lambda p, c: delta.rollout(p, c, 3))(params, clip))
  _, targets = delta.reference(params, clip, interval=3)
  assert set(targets) == set(aux.deltas)
  rows = [row.name for row in delta.macs(params, clip[:, 0]).rows]
  assert rows == ['a-b', 'c', 'd']
  costs, _ = delta.costs(params, clip[:, 0])
  assert len(costs['a-b']) == 1 and sum(costs['a']) == 0
  if reference == 'previous':
    with pytest.raises(ValueError, match="reference 'key'"):
      delta.freeze(params, clip[:, 0])
    return
  frozen = delta.freeze(params, clip[:, 0])
  carry, _ = frozen.keyframe(frozen.params, clip[:, 0])
  assert 'a' not in carry
  close(outs, frozen.rollout(frozen.params, clip, 3), 1e-4)


@pytest.mark.parametrize(
  ('ends', 'message'),
  [
    (('stem', 'nose'), 'in this order, stem, same/a'),
    (('same/b', 'same/a'), 'in this order'),
    # The shortcut of the block reads what comes before its convolutions.
    (('stem', 'same/a'), "reads 'stem'"),
    (('same/b', 'down/a'), "'down/a' reads 'stem'"),
  ],
)
def test_what_is_no_span_is_refused(ends, message):
  frame = jnp.zeros((1, 16, 24, 3))
  variables = jax.eval_shape(Net().init, jax.random.key(0), frame)
  with pytest.raises(ValueError, match=message):
    Spec(spans=(ends,)).select(survey(Net(), variables, frame))
