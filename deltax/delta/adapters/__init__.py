"""One seam to each library that networks are written in.

Only here is it known how layers are found, named and replaced while a network
runs, and how its variables are laid out.
"""

from typing import Any

import flax.linen as nn
from flax.nnx import GraphDef
from flax.nnx import Module as NnxModule

from deltax.delta.adapters.interception import cut
from deltax.delta.adapters.linen import LinenNetwork
from deltax.delta.adapters.network import Hooks, Network
from deltax.delta.adapters.nnx import nnx_network

__all__ = ['Hooks', 'Network', 'as_network', 'cut']


def as_network(net: Any) -> Network:
  """A network as the transform sees it.

  Args:
    net: a `flax.linen` or `flax.nnx` module, the GraphDef of one of nnx, or a
      `Network` already.

  Raises:
    TypeError: it is none of these.
  """
  if isinstance(net, nn.Module):
    return LinenNetwork(net)
  if isinstance(net, NnxModule | GraphDef):
    return nnx_network(net)
  if isinstance(net, Network):
    return net
  raise TypeError(
    f'expected a flax.linen or flax.nnx module, got {type(net).__name__}'
  )
