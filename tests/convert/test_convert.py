"""Checkpoints to parameters: complete, or one error that names everything."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_states import delta_state, deployed_state, plain_state

from deltax import convert, models
from deltax.delta import Full, LowRank, Spec, distill

NAME, CLASSES = 'ddrnet23_tiny', 5
LAYER = 'layer1.0.conv1'
FULL, LOW_RANK = Full().name, LowRank().name


def noise(tree):
  """Every leaf of a tree drawn anew; its names and shapes kept."""
  draw = np.random.default_rng(0).standard_normal
  return jax.tree.map(lambda leaf: draw(leaf.shape).astype(np.float32), tree)


@pytest.fixture(scope='module')
def variables():
  net = models.create(NAME, num_classes=CLASSES)
  frame = jnp.zeros((1, 64, 64, 3))
  return noise(jax.eval_shape(net.init, jax.random.key(0), frame))


@pytest.fixture(scope='module')
def params(variables):
  """A delta network's parameters, with biases where the teacher has them."""
  delta = distill(models.create(NAME, num_classes=CLASSES))
  frame = jnp.zeros((1, 64, 64, 3))
  params = jax.eval_shape(delta.init, jax.random.key(0), variables, frame)
  for path, own in params['students'].items():
    teacher = functools.reduce(dict.get, path.split('/'), variables['params'])
    if 'bias' in teacher:
      own[FULL]['bias'] = own[LOW_RANK]['bias'] = teacher['bias']
  return noise(params) | {'teacher': variables}


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def to_delta(state, spec=None):
  return convert.delta_from_state_dict(NAME, spec or Spec(), state)


def test_a_network_comes_back_as_it_was(variables):
  own = convert.from_state_dict(NAME, plain_state(variables))
  assert_same(own, variables)
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(own))


def test_a_delta_network_comes_back_as_it_was(params):
  assert any('bias' in own[FULL] for own in params['students'].values())
  assert_same(to_delta(delta_state(params)), params)


def test_a_second_name_of_the_student_evaluated_first_is_no_problem(params):
  state = delta_state(params)
  state[f'{LAYER}.g_W.weight'] = state[f'{LAYER}.g_Wa.weight']
  assert_same(to_delta(state), params)


def test_the_gate_means_the_full_copy_in_whatever_order_the_spec_has(params):
  delta = distill(models.create(NAME, num_classes=CLASSES))
  turned = Spec(candidates=(LowRank(), Full()))
  other = distill(models.create(NAME, num_classes=CLASSES), turned)
  for state in (delta_state(params), deployed_state(delta_state(params))):
    own = delta.choose(to_delta(state))
    assert set(own.values()) == {0, 1}
    own = {path: 1 - index for path, index in own.items()}
    assert other.choose(to_delta(state, turned)) == own


def test_a_deployed_network_keeps_its_students_and_gets_the_others(params):
  delta = distill(models.create(NAME, num_classes=CLASSES))
  own = to_delta(deployed_state(delta_state(params)))
  frame = jnp.zeros((1, 64, 64, 3))
  start = jax.jit(delta.init)(jax.random.key(0), params['teacher'], frame)
  chosen = delta.choose(params)
  assert delta.choose(own) == chosen
  assert_same(own['teacher'], params['teacher'])
  for path, index in chosen.items():
    names = (FULL, LOW_RANK) if index == 0 else (LOW_RANK, FULL)
    students = own['students'][path]
    assert_same(students[names[0]], params['students'][path][names[0]])
    assert_same(students[names[1]], start['students'][path][names[1]])


def problems(error):
  return sorted(line.strip() for line in str(error.value).splitlines()[1:])


def spoil_teacher(state):
  """One problem of each kind, and the words that must name it."""
  weight = 'W.weight' if f'{LAYER}.W.weight' in state else 'weight'
  del state['layer2.0.bn1.running_mean']
  state['neck.conv.weight'] = np.zeros((2, 2, 1, 1), np.float32)
  state[f'{LAYER}.{weight}'] = state[f'{LAYER}.{weight}'][:, :, :, :2]
  state['conv1.1.bias'] = np.full_like(state['conv1.1.bias'], np.nan)
  return [
    'left over: neck.conv.weight (2, 2, 1, 1)',
    'missing: batch_stats/layer2_0/bn1/mean (16,)',
    'not finite: conv1.1.bias',
    'wrong shape: layer1.0.conv1.weight (8, 8, 3, 2) gives (3, 2, 8, 8), '
    'expected (3, 3, 8, 8)',
  ]


def spoil_students(state):
  layers = ['layer1.0.conv2', 'layer1.1.conv1', 'layer1.1.conv2']
  del state[f'{layers[0]}.g_Wb.0.weight']
  del state[f'{layers[0]}.g_gate.bias']
  state[f'{layers[0]}.g_Wb.2.weight'] = np.zeros(3, np.float32)
  state['final_layer.conv2.g_Wa.weight'] = np.zeros((5, 16, 1, 1), np.float32)
  state[f'{layers[1]}.g_Wb.1.weight'] = np.zeros((8, 8, 1, 3), np.float32)
  state[f'{layers[1]}.g_Wa.weight'][0] = np.inf
  state[f'{layers[2]}.g_gate.bias'] = np.float32(np.nan)
  return [
    'left over: final_layer.conv2.g_Wa.weight (5, 16, 1, 1)',
    'left over: layer1.0.conv2.g_Wb.2.weight (3,)',
    'missing: layer1_0/conv2 g_gate.bias',
    'missing: layer1_0/conv2 low_rank_4_out first',
    'not finite: layer1.1.conv1.g_Wa.weight',
    'not finite: layer1.1.conv2.g_gate.bias',
    'wrong shape: layer1.1.conv1.g_Wb.1.weight (8, 8, 1, 3) gives '
    '(1, 3, 8, 8), expected (1, 3, 2, 8)',
  ]


def test_every_problem_of_a_network_is_named_in_one_error(variables):
  state = plain_state(variables)
  expected = spoil_teacher(state)
  with pytest.raises(
    ValueError, match='does not fit ddrnet23_tiny: 4 problems'
  ) as error:
    convert.from_state_dict(NAME, state)
  assert problems(error) == sorted(expected)


@pytest.mark.parametrize(
  'spoils',
  [(spoil_students,), (spoil_teacher,), (spoil_teacher, spoil_students)],
)
def test_every_problem_of_a_delta_network_is_named_in_one_error(params, spoils):
  state = delta_state(copy.deepcopy(params))
  expected = [problem for spoil in spoils for problem in spoil(state)]
  with pytest.raises(ValueError, match='the delta form of ddrnet23') as error:
    to_delta(state)
  assert problems(error) == sorted(expected)


def test_a_plain_checkpoint_has_no_students(variables):
  with pytest.raises(ValueError, match='missing: layer1_0/conv1') as error:
    to_delta(plain_state(variables))
  assert len({line.split()[1] for line in problems(error)}) == 53


def test_a_delta_checkpoint_is_no_plain_network(params):
  with pytest.raises(ValueError, match=r'left over: conv1\.3\.g_Wa\.weight'):
    convert.from_state_dict(NAME, delta_state(params))


@pytest.mark.parametrize(
  'candidates',
  [(Full(),), (LowRank(4), LowRank(8)), (Full(), LowRank(2), LowRank(4))],
)
def test_a_spec_with_other_candidates_is_refused(params, candidates):
  with pytest.raises(
    ValueError, match=r"expected \['full', 'low_rank_4_out'\]"
  ):
    to_delta(delta_state(params), Spec(candidates=candidates))


def test_a_spec_with_another_rank_names_the_shapes(params):
  spec = Spec(candidates=(Full(), LowRank(2)))
  with pytest.raises(
    ValueError, match=r'wrong shape: layer1\.0\.conv1\.g_Wb\.0'
  ):
    to_delta(delta_state(params), spec)


def test_an_empty_checkpoint_and_an_unknown_network_are_refused(variables):
  with pytest.raises(
    ValueError, match='missing: params/final_layer/conv2/bias'
  ):
    convert.from_state_dict(NAME, {})
  with pytest.raises(ValueError, match="no network 'ddrnet'; known"):
    convert.from_state_dict('ddrnet', plain_state(variables))
