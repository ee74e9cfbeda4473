"""Networks by name: plain `flax.linen` modules that know of no transform."""

import functools
from typing import Any

import flax.linen as nn

from deltax.models.ddrnet import DDRNet23

MODELS = {
  'ddrnet23_slim': functools.partial(DDRNet23, planes=32, head_planes=64),
  'ddrnet23_tiny': functools.partial(
    DDRNet23, planes=8, head_planes=16, spp_planes=32
  ),
}


def create(name: str, *, num_classes: int, **options: Any) -> nn.Module:
  """A network by its name.

  Args:
    name: one of `MODELS`.
    num_classes: K, classes of the output.
    **options: attributes of the module, e.g. `axis_name`.

  Returns:
    A module: `net.init(key, frames)` gives its variables, `net.apply(variables,
    frames)` evaluates it, and `net.apply(..., train=True,
    mutable=['batch_stats'])` uses and updates batch statistics.

  Raises:
    ValueError: if no network has that name.

  Example:
    >>> create('ddrnet23_tiny', num_classes=11).num_classes
    11
  """
  if name not in MODELS:
    raise ValueError(f'no network {name!r}; known: {", ".join(MODELS)}')
  return MODELS[name](num_classes=num_classes, **options)
