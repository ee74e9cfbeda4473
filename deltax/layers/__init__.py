"""Convolution, batch norm, pooling and resizing in forms that XLA runs fast."""

from deltax.layers.conv import conv2d, fast_conv
from deltax.layers.norm import BatchNorm
from deltax.layers.pool import max_pool, mean_pool
from deltax.layers.resize import double_nearest, resize_bilinear

__all__ = [
  'BatchNorm',
  'conv2d',
  'double_nearest',
  'fast_conv',
  'max_pool',
  'mean_pool',
  'resize_bilinear',
]
