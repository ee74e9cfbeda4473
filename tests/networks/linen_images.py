"""Convolutional networks of the kinds that people use, in linen and tiny."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax.types import Array


class ConvNeXtBlock(nn.Module):
  """Depthwise 7x7, norm, two fully connected layers, a scale for each channel.

  Attributes:
    dtype: of arithmetic.
  """

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    width = x.shape[-1]
    y = nn.Conv(
      width, (7, 7), feature_group_count=width, dtype=self.dtype, name='depth'
    )(x)
    y = nn.LayerNorm(dtype=self.dtype, name='norm')(y)
    y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name='widen')(y))
    y = nn.Dense(width, dtype=self.dtype, name='narrow')(y)
    scale = self.param('scale', nn.initializers.constant(0.5), (1, 1, 1, width))
    return x + scale.astype(y.dtype) * y


class ConvNeXt(nn.Module):
  """Two stages of blocks; `[B, H, W, 3]` to `[B, 5]`."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    del train
    x = nn.Conv(8, (4, 4), strides=4, dtype=self.dtype, name='stem')(x)
    x = nn.LayerNorm(dtype=self.dtype, name='stem_norm')(x)
    x = ConvNeXtBlock(self.dtype, name='block_0')(x)
    x = nn.LayerNorm(dtype=self.dtype, name='down_norm')(x)
    x = nn.Conv(12, (2, 2), strides=2, dtype=self.dtype, name='down')(x)
    x = ConvNeXtBlock(self.dtype, name='block_1')(x)
    x = nn.LayerNorm(dtype=self.dtype, name='norm')(x.mean((1, 2)))
    return nn.Dense(5, dtype=self.dtype, name='head')(x)


class Excite(nn.Module):
  """Squeeze and excitation by fully connected layers."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    width = x.shape[-1]
    weights = x.mean((1, 2), keepdims=True)
    weights = nn.Dense(width // 4, dtype=self.dtype, name='squeeze')(weights)
    weights = nn.Dense(width, dtype=self.dtype, name='excite')(nn.relu(weights))
    return x * nn.hard_sigmoid(weights)


class Inverted(nn.Module):
  """Expansion, depthwise convolution, excitation, projection.

  Attributes:
    features: of its output.
    kernel: rows and columns of the depthwise one.
    stride: of the depthwise one.
    dtype: of arithmetic.
  """

  features: int
  kernel: int
  stride: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    def norm(x, name):
      return nn.BatchNorm(not train, dtype=self.dtype, name=name)(x)

    options = {'use_bias': False, 'dtype': self.dtype}
    width = 2 * x.shape[-1]
    y = nn.Conv(width, (1, 1), name='expand', **options)(x)
    y = nn.hard_swish(norm(y, 'expand_norm'))
    y = nn.Conv(
      width,
      (self.kernel, self.kernel),
      strides=self.stride,
      feature_group_count=width,
      name='depth',
      **options,
    )(y)
    y = Excite(self.dtype, name='se')(nn.hard_swish(norm(y, 'depth_norm')))
    y = nn.Conv(self.features, (1, 1), name='project', **options)(y)
    y = norm(y, 'project_norm')
    return x + y if x.shape == y.shape else y


class MobileNet(nn.Module):
  """Of the third version's kind; `[B, H, W, 3]` to `[B, 5]`."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = nn.Conv(
      8, (3, 3), strides=2, use_bias=False, dtype=self.dtype, name='stem'
    )(x)
    x = nn.BatchNorm(not train, dtype=self.dtype, name='stem_norm')(x)
    x = nn.hard_swish(x)
    x = Inverted(8, 3, 1, self.dtype, name='block_0')(x, train)
    x = Inverted(12, 5, 2, self.dtype, name='block_1')(x, train)
    x = nn.Dense(16, dtype=self.dtype, name='wide')(x.mean((1, 2)))
    return nn.Dense(5, dtype=self.dtype, name='head')(nn.hard_swish(x))


class Pair(nn.Module):
  """Two convolutions, each with a group norm behind it."""

  features: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    for name in ('a', 'b'):
      x = nn.Conv(self.features, (3, 3), dtype=self.dtype, name=name)(x)
      norm = nn.GroupNorm(2, dtype=self.dtype, name=f'{name}_norm')
      x = nn.relu(norm(x))
    return x


class UNet(nn.Module):
  """Down and up again with a skip; `[B, H, W, 3]` to `[B, H, W, 4]`."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    del train
    fine = Pair(4, self.dtype, name='fine')(x)
    x = nn.Conv(8, (2, 2), strides=2, dtype=self.dtype, name='down')(fine)
    x = Pair(8, self.dtype, name='coarse')(x)
    up = nn.ConvTranspose(
      4, (2, 2), strides=(2, 2), dtype=self.dtype, name='up'
    )
    x = jnp.concatenate([up(x), fine], -1)
    x = Pair(4, self.dtype, name='merged')(x)
    return nn.Conv(4, (1, 1), dtype=self.dtype, name='head')(x)


def resized(x: Array, shape: tuple[int, int]) -> Array:
  """`[B, H, W, C]` with other rows and columns, bilinear."""
  return jax.image.resize(x, (len(x), *shape, x.shape[-1]), 'bilinear')
