"""Checkpoint files: the forms, the prefixes, the costs, both tasks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
import torch_states
import torch_writer as torch

from deltax import convert, models
from deltax.convert.checkpoint import DELTA_DEPLOYED, DELTA_TRAINING
from deltax.delta import distill, make_spec

FRAME = jnp.zeros((1, 64, 64, 3))
CLASSES = 5


@functools.cache
def drawn(name):
  """A delta network's parameters with the published setting, at random."""
  net = models.create(name, num_classes=CLASSES)
  delta = distill(net, make_spec(**convert.published_spec(name)))
  variables = jax.eval_shape(net.init, jax.random.key(0), FRAME)
  params = jax.eval_shape(delta.init, jax.random.key(0), variables, FRAME)
  return torch_states.drawn(params)


def save(path, state, *, places=(), prefix=''):
  value = {
    prefix + key: torch.Tensor(torch.Storage(array, str(i)))
    for i, (key, array) in enumerate(state.items())
  }
  for place in reversed(places):
    value = {'epoch': 7, place: value}
  return torch.save(path, value)


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


NAMES = ['ddrnet23_tiny', 'efficientdet_tiny', 'faster_rcnn_tiny']


@pytest.mark.parametrize('name', NAMES)
def test_a_frame_based_file_comes_back(name, tmp_path):
  variables = drawn(name)['teacher']
  state = torch_states.plain_state(variables)
  found = convert.convert(name, save(tmp_path / 'a.pth', state))
  assert found.form == convert.FRAME_BASED
  assert found.num_classes == CLASSES
  assert_same(found.params, {'teacher': variables['params']})
  assert_same(found.model_state, {'batch_stats': variables['batch_stats']})
  assert all('num_batches_tracked' in key for key in found.ignored)


@pytest.mark.parametrize('name', NAMES)
def test_a_delta_file_comes_back_in_either_form(name, tmp_path):
  params = drawn(name)
  state = torch_states.delta_state(params)
  found = convert.convert(name, save(tmp_path / 'a.pth', state))
  assert (found.form, found.num_classes) == (DELTA_TRAINING, CLASSES)
  teacher = params['teacher']['params']
  assert_same(found.params, {**params, 'teacher': teacher})

  path = save(tmp_path / 'b.pth', torch_states.deployed_state(state))
  deployed = convert.convert(name, path)
  assert (deployed.form, deployed.num_classes) == (DELTA_DEPLOYED, CLASSES)
  assert_same(deployed.params['teacher'], teacher)
  for layer, logit in deployed.params['gates'].items():
    assert (logit > 0) == (params['gates'][layer] > 0)


@pytest.mark.parametrize(
  ('places', 'prefix'),
  [
    ((), 'module.'),
    (('state_dict',), 'model.'),
    (('model',), 'detector.'),
    (('model', 'state_dict'), 'module.model.'),
    (('state_dict',), 'module.module.detector.'),
  ],
)
def test_places_and_prefixes_of_the_releases_are_known(
  places, prefix, tmp_path
):
  variables = drawn('ddrnet23_tiny')['teacher']
  state = torch_states.plain_state(variables)
  wrapped = {prefix + key: array for key, array in state.items()}
  wrapped['module.loss.criterion.weight'] = np.ones(19, np.float32)
  wrapped['anchors.boxes'] = np.ones((9, 4), np.float32)
  path = save(tmp_path / 'a.pth', wrapped, places=places)
  found = convert.convert('ddrnet23_tiny', path)
  assert_same(found.params, {'teacher': variables['params']})
  assert {'module.loss.criterion.weight', 'anchors.boxes'} < {*found.ignored}


@pytest.mark.parametrize('form', ['training', 'deployed', 'plain'])
@pytest.mark.parametrize(
  'prefix', ['_orig_mod.', 'net.', 'backbone.', 'module.a.b.0.', 'model.net.']
)
def test_any_common_prefix_is_taken_off(prefix, form, tmp_path):
  params = drawn('ddrnet23_tiny')
  state = torch_states.plain_state(params['teacher'])
  if form != 'plain':
    state = torch_states.delta_state(params)
  if form == 'deployed':
    state = torch_states.deployed_state(state)
  wrapped = {prefix + key: array for key, array in state.items()}
  if prefix != '_orig_mod.':  # which is no part of the network's own place
    wrapped['head2.weight'] = np.ones(3, np.float32)
  found = convert.convert('ddrnet23_tiny', save(tmp_path / 'a.pth', wrapped))
  teacher = {'teacher': params['teacher']['params']}
  assert_same(found.params['teacher'], teacher['teacher'])
  assert ('head2.weight' in found.ignored) == ('head2.weight' in wrapped)


def test_modules_that_were_compiled_are_found_wherever_they_are(tmp_path):
  variables = drawn('ddrnet23_tiny')['teacher']
  state = torch_states.plain_state(variables)
  wrapped = {k.replace('.', '._orig_mod.', 1): x for k, x in state.items()}
  found = convert.convert('ddrnet23_tiny', save(tmp_path / 'a.pth', wrapped))
  assert_same(found.params, {'teacher': variables['params']})


def test_a_network_that_is_there_twice_is_refused(tmp_path):
  state = torch_states.plain_state(drawn('ddrnet23_tiny')['teacher'])
  twice = {f'{p}.{k}': x for p in ('net', 'ema') for k, x in state.items()}
  with pytest.raises(ValueError, match=r'twice, under net\. and ema\.'):
    convert.convert('ddrnet23_tiny', save(tmp_path / 'a.pth', twice))


def test_what_does_no_harm_beside_the_weights_is_named(tmp_path):
  variables = drawn('ddrnet23_tiny')['teacher']
  state = torch_states.plain_state(variables)
  arrays = {
    key: torch.Tensor(torch.Storage(array, str(i)))
    for i, (key, array) in enumerate(state.items())
  }
  options = {
    'data': torch.Name('pathlib.PosixPath', '/', 'data'),
    'when': [torch.Name('datetime.datetime', b'1234567890')],
    'more': torch.Name(
      'pytorch_lightning.utilities.parsing.AttributeDict', state={'lr': 1}
    ),
  }
  path = tmp_path / 'a.pth'
  torch.save(path, {'state_dict': arrays, 'hyper_parameters': options})
  found = convert.convert('ddrnet23_tiny', path)
  assert_same(found.params, {'teacher': variables['params']})
  assert {
    'hyper_parameters.data (pathlib.PosixPath)',
    'hyper_parameters.when.0 (datetime.datetime)',
    'hyper_parameters.more (pytorch_lightning.utilities.parsing.AttributeDict)',
  } < set(found.ignored)


def test_keys_that_do_not_fit_are_shown(tmp_path):
  other = {f'layer{k}.weight': np.ones(3, np.float32) for k in range(20)}
  with pytest.raises(
    ValueError, match='number of classes; found keys'
  ) as error:
    convert.convert('ddrnet23_tiny', save(tmp_path / 'a.pth', other))
  assert 'layer0.weight, layer1.weight, ' in str(error.value)
  assert '... (20 in all)' in str(error.value)


def test_a_state_dict_is_found_beside_other_arrays(tmp_path):
  array = torch.Tensor(torch.Storage(np.ones(3, np.float32), '0'))
  path = torch.save(
    tmp_path / 'a.pth', {'rng': array, 'state_dict': {'w': array}}
  )
  state, ignored = convert.read_checkpoint(path)
  assert (list(state), ignored) == (['w'], ())


def test_one_name_under_two_prefixes_is_refused(tmp_path):
  ones = np.ones(3, np.float32)
  path = save(tmp_path / 'a.pth', {'model.w': ones, 'module.w': ones})
  with pytest.raises(ValueError, match='holds w twice'):
    convert.read_checkpoint(path)


@pytest.mark.parametrize(
  'value',
  [{'epoch': 1}, [1, 2], 'text', {}, {'state_dict': {'state_dict': {}}}],
)
def test_a_file_without_a_state_dict_says_what_it_has(value, tmp_path):
  path = torch.save(tmp_path / 'a.pth', value)
  with pytest.raises(ValueError, match='holds no state dict') as error:
    convert.read_checkpoint(path)
  assert str(path) in str(error.value)


@pytest.mark.parametrize('name', NAMES)
def test_output_layers_of_no_number_of_classes_are_named(name, tmp_path):
  state = torch_states.plain_state(drawn(name)['teacher'])
  one, two = (
    jax.eval_shape(
      models.create(name, num_classes=n).init, jax.random.key(0), FRAME
    )
    for n in (1, 2)
  )
  sizes = [torch_states.plain_state(_zeros(x)) for x in (one, two)]
  for key in state:
    if sizes[0][key].shape != sizes[1][key].shape:
      state[key] = np.zeros((0, *state[key].shape[1:]), np.float32)
  with pytest.raises(ValueError, match='has 0 rows, expected'):
    convert.convert(name, save(tmp_path / 'a.pth', state))


def _zeros(shapes):
  return jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)


def test_half_precision_becomes_single(tmp_path):
  variables = drawn('ddrnet23_tiny')['teacher']
  state = torch_states.plain_state(variables)
  state = {k: v.astype(jnp.bfloat16) for k, v in state.items() if v.ndim}
  found = convert.convert('ddrnet23_tiny', save(tmp_path / 'a.pth', state))
  for own, array in zip(
    jax.tree.leaves(found.params),
    jax.tree.leaves(variables['params']),
    strict=True,
  ):
    assert own.dtype == jnp.float32
    np.testing.assert_allclose(own, array, rtol=2**-8)


def test_the_published_keys_give_the_published_order_of_layers(tmp_path):
  keys = published.load('ddrnet23s', 'delta_keys.json')
  path = save(tmp_path / 'a.pth', published.rule_state(keys))
  found = convert.convert('ddrnet23_slim', path)
  layers = convert.converted_layers('ddrnet23_slim', found)
  expected = [
    published.flax_path(key.removesuffix('.W.weight'))
    for key, _, _ in keys
    if key.endswith('.W.weight')
  ]
  assert list(layers) == expected
  assert len(layers) == 53
  plain = save(tmp_path / 'b.pth', published.plain_state(keys))
  frame_based = convert.convert('ddrnet23_slim', plain)
  assert convert.converted_layers('ddrnet23_slim', frame_based) == layers


def test_costs_are_read_whatever_they_were_saved_as(tmp_path):
  costs = np.linspace(0.1, 0.4, 4, dtype=np.float32)
  paths = ('a', 'b/c', 'd', 'e')
  whole = torch.Tensor(torch.Storage(costs, '0'))
  path = tmp_path / 'net_macs.p'
  for content in (
    torch.save(path, whole).read_bytes(),
    torch.save_legacy(path, whole).read_bytes(),
    torch.dumps(torch.plain_tensor(costs)),
    torch.dumps([float(x) for x in costs]),
  ):
    path.write_bytes(content)
    found = convert.read_costs(path, paths)
    assert list(found) == list(paths)
    np.testing.assert_allclose(list(found.values()), costs)


def test_costs_of_another_number_of_layers_name_both(tmp_path):
  path = tmp_path / 'net_macs.p'
  path.write_bytes(torch.dumps([0.5, 0.5]))
  with pytest.raises(ValueError, match='holds 2 costs, expected 3'):
    convert.read_costs(path, ('a', 'b', 'c'))
  path.write_bytes(torch.dumps({'a': [1]}))
  with pytest.raises(ValueError, match='no list of costs, but a dict'):
    convert.read_costs(path, ('a',))
  path.write_bytes(torch.dumps([float('nan')]))
  with pytest.raises(ValueError, match='not finite'):
    convert.read_costs(path, ('a',))
