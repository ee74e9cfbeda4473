"""One seam to each library that networks are written in.

Only here is it known how layers are found, named and replaced while a network
runs, and how its variables are laid out.
"""

from typing import Any

import flax.linen as nn

from deltax.delta.adapters.linen import LinenNetwork
from deltax.delta.adapters.network import Hooks, Network

__all__ = ['Hooks', 'Network', 'as_network']


def as_network(net: Any) -> Network:
  """A network as the transform sees it.

  Args:
    net: a `flax.linen` module, or a `Network` already.

  Raises:
    TypeError: it is neither.
  """
  if isinstance(net, nn.Module):
    return LinenNetwork(net)
  if isinstance(net, Network):
    return net
  raise TypeError(f'expected a flax.linen module, got {type(net).__name__}')
