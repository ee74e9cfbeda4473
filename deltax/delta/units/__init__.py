"""Units: what can have a student, and what the transform asks of it.

A convolution is a `Layer`, a fully connected layer a `Dense`; a submodule, or
all that lies between two layers, is a `Block`. Units are known by their module
path, such as `layer1_0/conv1`, and by the call number where a module is called
repeatedly. A further kind is one more class with the members of `Unit`.
"""

from deltax.delta.units.block import SPAN, Block
from deltax.delta.units.conv import Layer, conv_macs
from deltax.delta.units.dense import Dense
from deltax.delta.units.unit import (
  NoStart,
  Unit,
  add_bias,
  modules,
  numbered,
  path_of,
)

__all__ = [
  'SPAN',
  'Block',
  'Dense',
  'Layer',
  'NoStart',
  'Unit',
  'add_bias',
  'conv_macs',
  'modules',
  'numbered',
  'path_of',
]
