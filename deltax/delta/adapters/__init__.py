"""One seam to each library that networks are written in.

Only here is it known how layers are found, named and replaced while a network
runs, and how its variables are laid out.
"""

from typing import Any

import flax.linen as nn
import jax
from flax.nnx import GraphDef
from flax.nnx import Module as NnxModule
from flax.nnx import state as nnx_state

from deltax.delta.adapters.interception import cut
from deltax.delta.adapters.linen import LinenNetwork
from deltax.delta.adapters.network import Call, Hooks, Network
from deltax.delta.adapters.nnx import nnx_network
from deltax.types import Array, Key

__all__ = ['Hooks', 'Network', 'as_network', 'cut', 'first_variables']


def as_network(net: Any, call: Call | None = None) -> Network:
  """A network as the transform sees it.

  Args:
    net: a `flax.linen` or `flax.nnx` module, the GraphDef of one of nnx, or a
      `Network` already.
    call: `(module, frames, train) -> outputs`, how the network is called where
      that is not `module(frames)`: another method, further inputs, a flag of
      another name. Of linen it is given the module with its variables. When
      absent, a module that has an argument `train`, `training`, `is_training`
      or `deterministic` is given it; one of nnx has `train()` and `eval()`
      called in any case.

  Raises:
    TypeError: it is none of these.

  Example:
    >>> import jax.numpy as jnp
    >>> class Masked(nn.Module):
    ...   @nn.compact
    ...   def features(self, frames, mask):
    ...     return nn.Conv(4, (3, 3))(frames * mask)
    >>> mask = jnp.ones((8, 8, 1))
    >>> net = as_network(
    ...   Masked(), lambda module, frames, train: module.features(frames, mask)
    ... )
    >>> net.name
    'Masked'
  """
  if isinstance(net, nn.Module):
    return LinenNetwork(net, call)
  if isinstance(net, NnxModule | GraphDef):
    return nnx_network(net, call)
  if isinstance(net, Network):
    return net
  raise TypeError(
    f'expected a flax.linen or flax.nnx module, got {type(net).__name__}'
  )


def first_variables(net: Any, key: Key, frames: Array) -> Any:
  """The variables that a module starts with, as `Network.run` takes them.

  Args:
    net: a module of linen, whose weights are drawn, or of nnx, which has some.
    key: for those that are drawn.
    frames: `[B, H, W, C]`; only the shape matters.
  """
  if isinstance(net, nn.Module):
    return jax.jit(net.init)(key, frames)
  return as_network(net).taken(nnx_state(net))
