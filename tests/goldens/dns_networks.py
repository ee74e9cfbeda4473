"""Our networks with the weights of the retrieval references, and back."""

import functools

import dns_rule
import jax
import numpy as np
from flax import traverse_util

from deltax import retrieval
from deltax.convert.retrieval import published_key, retrieval_variables

# The references' name of a network: ours, and its options.
NETWORKS = {
  'fg_att': ('fine_attention', {}),
  'fg_bin': ('fine_binary', {}),
  'fg_none': ('fine_plain', {}),
  's2vs': ('s2vs', {}),
  'visil_head_3840': ('visil', {}),
  'visil_head_512_symmetric': ('visil_symmetric', {}),
  'cg': ('coarse', {}),
  'cg_nonetvlad': ('coarse', {'netvlad': False}),
  'cg_notransformer': ('coarse', {'transformer': False}),
  'selector': ('selector', {}),
}


@functools.partial(
  jax.jit,
  static_argnums=(0, 1),
  # Programs that run once.
  compiler_options={'xla_backend_optimization_level': 0},
)
def run(net, method, variables, *arrays):
  """`net.apply`; a method of None is `__call__`."""
  return net.apply(variables, *arrays, method=method)


@functools.cache
def network(reference, **gains):
  """The module and its variables; `gains` as `dns_rule.weights` takes them."""
  name, options = NETWORKS[reference]
  state = dns_rule.weights(f'statedict_{reference}.json', **gains)
  variables = retrieval_variables(name, state, **options)
  return retrieval.create(name, **options), variables


def published(reference, variables):
  """Arrays of the network by published key, in the published layout."""
  name, _ = NETWORKS[reference]
  arrays = {}
  for path, array in traverse_util.flatten_dict(variables).items():
    key, array = published_key(path, name), np.asarray(array)
    if array.ndim == 4:
      array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2 and key != 'binarization.W':
      array = array.T
    arrays[key] = array
  return arrays


def assert_gradients(reference, gradients, golden, prefix='', noise=1e-7):
  """Norms within a thousandth, and sums and samples where the file has some."""
  found = published(reference, {'params': gradients})
  names = [key for key in golden if key.startswith(f'{prefix}grad_norm/')]
  assert len(names) == len(found)
  for name in names:
    key = name.partition('/')[2]
    norm = golden[name]
    array = found[key].astype(np.float64)
    np.testing.assert_allclose(
      np.linalg.norm(array), norm, rtol=1e-3, atol=noise, err_msg=key
    )
    if f'grad_sample/{key}' in golden:
      np.testing.assert_allclose(
        sampled(array),
        golden[f'grad_sample/{key}'],
        rtol=1e-3,
        atol=noise + 1e-3 * norm / np.sqrt(array.size),
        err_msg=key,
      )
      np.testing.assert_allclose(
        array.sum(),
        golden[f'grad_sum/{key}'],
        rtol=1e-3,
        atol=noise + 1e-3 * norm,
        err_msg=key,
      )


def sampled(array):
  """The sixteen elements, evenly spaced, that the references hold."""
  places = np.rint(np.linspace(0, array.size - 1, 16)).astype(int)
  return array.ravel()[np.unique(places)]
