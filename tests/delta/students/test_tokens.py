"""Blocks of tokens, and what attention costs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Spec, count, distill, make_spec
from deltax.delta.survey import survey
from deltax.delta.units import NoStart

WIDTH, TOKENS = 16, 24


class Encoder(nn.Module):
  """Attention and a perceptron, each added to its input."""

  @nn.compact
  def __call__(self, x):
    attention = nn.MultiHeadDotProductAttention(2, name='attention')
    x = x + attention(nn.LayerNorm(name='first_norm')(x))
    y = nn.Dense(4 * WIDTH, name='up')(nn.LayerNorm(name='second_norm')(x))
    return x + nn.Dense(WIDTH, name='down')(nn.gelu(y))


class WithClass(nn.Module):
  """One token more than it takes."""

  @nn.compact
  def __call__(self, x):
    token = self.param('token', nn.initializers.normal(), (1, 1, WIDTH))
    token = jnp.broadcast_to(token, (len(x), 1, WIDTH))
    return jnp.concatenate([token, nn.Dense(WIDTH, name='all')(x)], 1)


class Transformer(nn.Module):
  """Patches, a class token, two encoder layers, an output a patch, resized."""

  @nn.compact
  def __call__(self, frames):
    x = nn.Conv(WIDTH, (8, 8), (8, 8), name='patches')(frames)
    batch, rows, cols, _ = x.shape
    x = WithClass(name='with_class')(x.reshape(batch, rows * cols, WIDTH))
    for i in range(2):
      x = Encoder(name=f'layer_{i}')(x)
    x = nn.Dense(3, name='head')(x[:, 1:].reshape(batch, rows, cols, WIDTH))
    return jax.image.resize(x, (batch, 2 * rows, 2 * cols, 3), 'bilinear')


@pytest.fixture(scope='module')
def case():
  net = Transformer()
  clip = jax.random.normal(jax.random.key(0), (2, 4, 32, 48, 3))
  return net, jax.jit(net.init)(jax.random.key(1), clip[:, 0]), clip


def build(case, spec):
  net, variables, clip = case
  delta = distill(net, spec)
  params = delta.init(jax.random.key(2), variables, clip[:, 0])
  keys = iter(jax.random.split(jax.random.key(3), 1000))
  params['students'] = jax.tree.map(
    lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape),
    params['students'],
  )
  return delta, params, clip


def test_attention_is_counted_and_resizing_is_not(case):
  net, variables, clip = case
  rows = {row.name: row.key for row in count(net, variables, clip[:, 0]).rows}
  tokens = TOKENS + 1
  layer = {
    **{f'attention/{x}': tokens * WIDTH**2 for x in ('query', 'key', 'value')},
    'attention/out': tokens * WIDTH**2,
    'attention': 2 * tokens**2 * WIDTH,  # queries by keys, weights by values
    'up': tokens * 4 * WIDTH**2,
    'down': tokens * 4 * WIDTH**2,
  }
  # Of attention's layers a bias is counted nowhere, of a convolution it is.
  assert rows == {
    'patches': TOKENS * WIDTH * (8 * 8 * 3 + 1),
    'with_class/all': TOKENS * WIDTH**2,
    **{f'layer_{i}/{name}': n for i in (0, 1) for name, n in layer.items()},
    'head': TOKENS * WIDTH * 3,
  }


@pytest.mark.parametrize('kind', ['Encoder', 'MultiHeadDotProductAttention'])
def test_a_block_of_tokens_costs_what_its_student_does(case, kind):
  spec = make_spec(layers='all_but_first_and_last', blocks=(kind,))
  delta, params, clip = build(case, spec)
  macs = delta.macs(params, clip[:, 0])
  assert macs.key == count(*case[:2], clip[:, 0]).key
  name = 'layer_0' if kind == 'Encoder' else 'layer_0/attention'
  (row,) = [row for row in macs.rows if row.name == name]
  tokens, inside = TOKENS + 1, WIDTH // 4
  student = 2 * tokens * WIDTH * inside + (tokens + 1) * inside**2
  assert row.later == student < row.key / 10


class Twice(nn.Module):
  """One encoder layer, called two times."""

  @nn.compact
  def __call__(self, frames):
    x = nn.Conv(WIDTH, (8, 8), (8, 8), name='patches')(frames)
    x = x.reshape(len(x), -1, WIDTH)
    layer = Encoder(name='layer')
    return nn.Dense(3, name='head')(layer(layer(x)))


def test_attention_of_a_block_that_is_called_twice_is_counted_once_a_call(case):
  frame = case[2][:, 0]
  variables = jax.jit(Twice().init)(jax.random.key(1), frame)
  delta = distill(Twice(), make_spec(blocks=('Encoder',)))
  params = delta.init(jax.random.key(2), variables, frame)
  macs = delta.macs(params, frame)
  assert [row.name for row in macs.rows][1:3] == ['layer', 'layer:1']
  assert macs.key == count(Twice(), variables, frame).key


@pytest.mark.parametrize(
  'candidates',
  [(('residual', 2, 1),), (('residual', 4, 3), ('skip',), ('teacher',))],
)
@pytest.mark.parametrize('kind', ['Encoder', 'MultiHeadDotProductAttention'])
def test_every_form_of_a_network_of_tokens_agrees(case, kind, candidates):
  spec = make_spec(blocks=(kind,), block_candidates=candidates)
  delta, params, clip = build(case, spec)

  @jax.jit
  def forms(params, clip):
    folded, aux = delta.clip(params, clip, interval=3)
    return delta.rollout(params, clip, 3), folded, aux.deltas

  outs, folded, deltas = forms(params, clip)
  np.testing.assert_allclose(folded, outs, atol=1e-5)
  assert {x.shape[:2] for x in deltas.values()} == {(2, 2)}
  frozen = delta.freeze(params, clip[:, 0])
  deployed = jax.jit(lambda p, c: frozen.rollout(p, c, 3))(frozen.params, clip)
  np.testing.assert_allclose(deployed, outs, atol=1e-5)


def test_a_student_of_attention_sees_every_token(case):
  spec = make_spec(blocks=('Encoder',), block_candidates=(('residual', 2, 1),))
  _, params, clip = build(case, spec)
  net, variables, _ = case
  (block, (student,)) = spec.select(survey(net, variables, clip[:, 0]))[
    'layer_0'
  ]
  weights = params['students']['layer_0'][student.name]
  still = jax.random.normal(jax.random.key(4), (1, *block.outputs))
  change = jnp.zeros_like(still).at[0, 3].set(1.0)
  moved = student.apply(weights, [change], [still], block)
  assert jnp.abs(moved[0, 20]).max() > 1e-3
  unmoved = student.apply(weights, [0 * change], [still], block)
  assert not unmoved.any()


def test_a_block_of_another_length_is_told_and_its_layers_take_its_place(case):
  spec = make_spec(blocks=('WithClass', 'Encoder'))
  delta, params, clip = build(case, spec)
  assert {'layer_0', 'layer_1', 'with_class/all'} == set(params['students'])
  rows = {row.name: row for row in delta.macs(params, clip[:, 0]).rows}
  reason = 'it makes 25x16 of 24x16, and a residual student gives as many'
  assert reason in rows['with_class/all'].left_out['residual_4_1']
  assert 'no residual_4_1: it makes 25x16' in str(
    delta.macs(params, clip[:, 0])
  )
  net, variables, _ = case
  listed = survey(net, variables, clip[:, 0])
  (block,) = [b for b in listed.blocks if b.path == 'with_class']
  (student,) = spec.block_candidates
  with pytest.raises(NoStart, match='makes 25x16 of 24x16'):
    student.init(jax.random.key(0), block)


def test_the_default_gives_every_projection_a_thin_pair(case):
  _, params, _ = build(case, Spec())
  students = params['students']
  assert len(students) == 1 + 2 * 6
  pair = students['layer_0/attention/query']['low_rank_4_min']
  assert pair['first'].shape == (1, 1, WIDTH, WIDTH // 4)
  assert pair['second'].shape == (1, 1, WIDTH // 4, WIDTH)


class Windowed(nn.Module):
  """Attention within windows, which lie along the batch."""

  @nn.compact
  def __call__(self, frames):
    x = nn.Conv(WIDTH, (4, 4), (4, 4), name='patches')(frames)
    batch, rows, cols, _ = x.shape
    x = x.reshape(batch, rows // 2, 2, cols // 2, 2, WIDTH).swapaxes(2, 3)
    windows = x.reshape(-1, 4, WIDTH)
    windows += nn.MultiHeadDotProductAttention(2, name='attention')(windows)
    windows = nn.relu(nn.Dense(WIDTH, name='mixed')(windows))
    x = windows.reshape(batch, rows // 2, cols // 2, 2, 2, WIDTH)
    x = x.swapaxes(2, 3).reshape(batch, rows, cols, WIDTH)
    return nn.Dense(2, name='head')(x)


def test_windows_along_the_batch_follow_their_frames(case):
  _, _, clip = case
  net = Windowed()
  variables = jax.jit(net.init)(jax.random.key(1), clip[:, 0])
  delta, params, clip = build((net, variables, clip), Spec())
  rows = {row.name: row for row in delta.macs(params, clip[:, 0]).rows}
  assert rows['attention/query'].key == 8 * 12 * WIDTH**2
  assert rows['attention'].key == 2 * 8 * 12 * 4 * WIDTH
  thin = 2 * WIDTH * (WIDTH // 4)
  assert rows['mixed'].candidates['low_rank_4_min'] == 8 * 12 * thin

  @jax.jit
  def forms(params, clip):
    folded, aux = delta.clip(params, clip, interval=3)
    scanned, scanned_aux = delta.clip(params, clip, interval=3, scan=True)
    exact, changes = delta.reference(params, clip, interval=3)
    outs = delta.rollout(params, clip, 3)
    return (outs, folded, scanned), exact, (aux, scanned_aux), changes

  outs, exact, (aux, scanned), changes = forms(params, clip)
  for other in outs[1:]:
    np.testing.assert_allclose(other, outs[0], atol=1e-5)
  np.testing.assert_allclose(
    exact[:, 2], net.apply(variables, clip[:, 2]), atol=1e-5
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
    aux.deltas,
    scanned.deltas,
  )
  shapes = {name: x.shape for name, x in aux.deltas.items()}
  assert shapes == {name: x.shape for name, x in changes.items()}
  assert shapes['mixed'] == (2, 2, 24, 4, WIDTH)
  frozen = delta.freeze(params, clip[:, 0])
  deployed = jax.jit(lambda p, c: frozen.rollout(p, c, 3))(frozen.params, clip)
  np.testing.assert_allclose(deployed, outs[0], atol=1e-5)
