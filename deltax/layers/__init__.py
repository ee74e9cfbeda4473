"""Convolution, batch norm and resizing in the forms that XLA runs fast."""

from deltax.layers.conv import conv2d, fast_conv
from deltax.layers.norm import BatchNorm
from deltax.layers.resize import resize_bilinear

__all__ = ['BatchNorm', 'conv2d', 'fast_conv', 'resize_bilinear']
