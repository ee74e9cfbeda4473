"""Published networks of video retrieval: files, keys, shapes, layouts."""

import functools

import dns_networks
import dns_rule
import jax
import numpy as np
import pytest
import torch_writer as torch

from deltax import retrieval
from deltax.convert import TorchFileError, read_checkpoint
from deltax.convert.retrieval import (
  read_itq,
  read_whitening,
  retrieval_variables,
)

# Of the coarse student, which is large, without its large part.
NAMES = [name for name in dns_networks.NETWORKS if name != 'cg']


@functools.cache
def state(name):
  return dns_rule.weights(f'statedict_{name}.json')


def tensors(arrays):
  return {
    key: torch.Tensor(torch.Storage(array, key))
    for key, array in arrays.items()
  }


@pytest.mark.parametrize('name', NAMES)
def test_every_array_arrives_in_its_place(name):
  _, variables = dns_networks.network(name)
  back = dns_networks.published(name, variables)
  expected = {
    key: array
    for key, array in state(name).items()
    if not key.endswith('num_batches_tracked')
  }
  assert set(back) == set(expected)
  for key, array in expected.items():
    np.testing.assert_array_equal(back[key].reshape(array.shape), array)


def test_a_training_checkpoint_is_read_with_its_options(tmp_path):
  """As the published script saves it: model, optimizer, step and arguments."""
  moments = {'step': 3, 'exp_avg': tensors({'a': np.ones(4, np.float32)})['a']}
  group = {'lr': 1e-4, 'betas': (0.9, 0.999), 'params': [0], 'foreach': None}
  path = torch.save(
    tmp_path / 'model_fg_att_student.pth',
    {
      'model': tensors(state('fg_att')),
      'optimizer': {'state': {0: moments}, 'param_groups': [group]},
      'global_step': 7,
      'args': torch.Name(
        'argparse.Namespace',
        state={'attention': True, 'dataset_hdf5': '/data/x', 'gpu_id': 0},
      ),
    },
  )
  arrays, ignored = read_checkpoint(path)
  assert not ignored
  found = retrieval_variables('fine_attention', arrays)
  _, expected = dns_networks.network('fg_att')
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_options_of_a_checkpoint_cannot_run_anything(tmp_path):
  path = torch.save(
    tmp_path / 'bad.pth',
    {
      'model': tensors(state('fg_none')),
      'args': torch.Name('os.system', 'echo run'),
    },
  )
  with pytest.raises(TorchFileError, match=r'os\.system'):
    read_checkpoint(path)


def test_one_error_lists_everything_that_is_wrong():
  arrays = dict(state('fg_att'))
  del arrays['visil_head.conv2.bias']
  arrays['visil_head.conv1.weight'] = np.zeros((32, 1, 5, 5), np.float32)
  arrays['visil_head.fconv.bias'] = np.array([np.nan], np.float32)
  arrays['cnn.conv1.weight'] = np.zeros((64, 3, 7, 7), np.float32)
  with pytest.raises(ValueError, match='does not fit fine_attention') as caught:
    retrieval_variables('fine_attention', arrays)
  told = str(caught.value)
  for problem in (
    '4 problems',
    'missing: visil_head.conv2.bias',
    'wrong shape: visil_head.conv1.weight (32, 1, 5, 5)',
    'not finite: visil_head.fconv.bias',
    'left over: cnn.conv1.weight (64, 3, 7, 7)',
  ):
    assert problem in told


def test_another_network_is_refused():
  with pytest.raises(ValueError, match=r'missing: binarization\.W'):
    retrieval_variables('fine_binary', state('fg_att'))
  with pytest.raises(ValueError, match=r'missing: video_comperator\.conv1'):
    retrieval_variables('visil', state('s2vs'))
  with pytest.raises(ValueError, match="no network 'fg_att'; known: visil"):
    retrieval_variables('fg_att', state('fg_att'))


def test_the_size_of_regions_is_that_of_the_arrays():
  arrays = {**state('fg_bin'), 'binarization.W': np.eye(64, dtype=np.float32)}
  found = retrieval_variables('fine_binary', arrays)
  assert found['params']['binarization']['projection'].shape == (64, 64)


def test_components_are_read_as_a_whitening(tmp_path):
  golden = dns_rule.load('feature_extractor.npz')
  names = ('mean', 'd', 'V')
  arrays = {name: golden[f'pca_{name}'] for name in names}
  path = torch.save(tmp_path / 'pca.pth', tensors(arrays))
  whitening = read_whitening(path, 16)
  np.testing.assert_allclose(
    whitening.projection, golden['pca_DVt'], rtol=1e-5, atol=1e-6
  )
  found = retrieval.whiten(whitening, golden['pca_x'])
  np.testing.assert_allclose(found, golden['pca_y'], atol=2e-6)
  arrays['V'] = arrays['V'][:, :30]
  path = torch.save(tmp_path / 'cut.pth', tensors(arrays))
  with pytest.raises(
    ValueError, match=r'cut.pth holds mean \(40,\), d \(40,\)'
  ):
    read_whitening(path, 16)


def test_a_projection_is_read(tmp_path):
  projection = np.arange(16, dtype=np.float32).reshape(4, 4)
  path = torch.save(tmp_path / 'itq.pth', tensors({'proj': projection}))
  np.testing.assert_array_equal(read_itq(path), projection)
  with pytest.raises(
    ValueError, match=r'itq\.pth lacks arrays: expected mean, d'
  ):
    read_whitening(path)
  path = torch.save(tmp_path / 'cut.pth', tensors({'proj': projection[:2]}))
  with pytest.raises(ValueError, match=r'holds proj \(2, 4\); expected a squ'):
    read_itq(path)
