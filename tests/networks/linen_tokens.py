"""Transformers of the kinds that people use, in linen and tiny."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from linen_images import resized

from deltax.types import Array


class Mlp(nn.Module):
  """Two fully connected layers."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = nn.gelu(nn.Dense(2 * x.shape[-1], dtype=self.dtype, name='widen')(x))
    return nn.Dense(x.shape[-1], dtype=self.dtype, name='narrow')(y)


class Encoder(nn.Module):
  """Attention of all tokens to all, and an MLP."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    norm = nn.LayerNorm(dtype=self.dtype, name='norm_0')
    attention = nn.MultiHeadDotProductAttention(
      num_heads=2, dtype=self.dtype, name='attention'
    )
    x = x + attention(norm(x))
    norm = nn.LayerNorm(dtype=self.dtype, name='norm_1')
    return x + Mlp(self.dtype, name='mlp')(norm(x))


class ViT(nn.Module):
  """Patches of 8x8, a class token; `[B, H, W, 3]` to `[B, 5]`."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    del train
    x = nn.Conv(16, (8, 8), strides=8, dtype=self.dtype, name='patches')(x)
    x = x.reshape(len(x), -1, 16)
    normal = nn.initializers.normal(0.5)
    first = self.param('class_token', normal, (1, 1, 16)).astype(x.dtype)
    x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, 16)), x], 1)
    x = x + self.param('places', normal, (1, *x.shape[1:])).astype(x.dtype)
    for i in range(2):
      x = Encoder(self.dtype, name=f'layer_{i}')(x)
    x = nn.LayerNorm(dtype=self.dtype, name='norm')(x)
    return nn.Dense(5, dtype=self.dtype, name='head')(x[:, 0])


class Reduced(nn.Module):
  """Attention to fewer tokens, and an MLP with a depthwise convolution.

  Attributes:
    shape: rows and columns that the tokens stand for.
    heads: of the attention.
    reduction: stride of the convolution that makes fewer tokens.
    dtype: of arithmetic.
  """

  shape: tuple[int, int]
  heads: int
  reduction: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = x + self.attend(nn.LayerNorm(dtype=self.dtype, name='norm_0')(x))
    y = nn.LayerNorm(dtype=self.dtype, name='norm_1')(x)
    width = 2 * x.shape[-1]
    y = nn.Dense(width, dtype=self.dtype, name='widen')(y)
    depth = nn.Conv(
      width, (3, 3), feature_group_count=width, dtype=self.dtype, name='depth'
    )
    y = nn.gelu(depth(y.reshape(len(y), *self.shape, width)))
    y = y.reshape(len(y), -1, width)
    return x + nn.Dense(x.shape[-1], dtype=self.dtype, name='narrow')(y)

  def attend(self, x: Array) -> Array:
    width, seen = x.shape[-1], x
    if self.reduction > 1:
      size = (self.reduction, self.reduction)
      fewer = nn.Conv(
        width, size, strides=size, dtype=self.dtype, name='reduce'
      )
      seen = fewer(x.reshape(len(x), *self.shape, width))
      seen = seen.reshape(len(x), -1, width)
      seen = nn.LayerNorm(dtype=self.dtype, name='reduced_norm')(seen)

    def heads(x, name):
      x = nn.Dense(width, dtype=self.dtype, name=name)(x)
      return x.reshape(*x.shape[:2], self.heads, -1)

    y = nn.dot_product_attention(
      heads(x, 'query'), heads(seen, 'key'), heads(seen, 'value')
    )
    return nn.Dense(width, dtype=self.dtype, name='out')(y.reshape(x.shape))


class SegFormer(nn.Module):
  """A pyramid of tokens; `[B, H, W, 3]` to `[B, H / 4, W / 4, 4]`."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    del train
    maps = []
    for i, (width, size, stride, heads, reduction) in enumerate(
      [(8, 7, 4, 1, 2), (12, 3, 2, 2, 1)]
    ):
      x = nn.Conv(
        width, (size, size), strides=stride, dtype=self.dtype, name=f'embed_{i}'
      )(x)
      shape = x.shape[1:3]
      tokens = nn.LayerNorm(dtype=self.dtype, name=f'embed_norm_{i}')(
        x.reshape(len(x), -1, width)
      )
      layer = Reduced(shape, heads, reduction, self.dtype, name=f'layer_{i}')
      x = nn.LayerNorm(dtype=self.dtype, name=f'norm_{i}')(layer(tokens))
      maps.append(x.reshape(len(x), *shape, width))
      x = maps[-1]
    same = [
      resized(
        nn.Dense(8, dtype=self.dtype, name=f'project_{i}')(x),
        maps[0].shape[1:3],
      )
      for i, x in enumerate(maps)
    ]
    x = nn.Dense(8, dtype=self.dtype, name='fuse')(jnp.concatenate(same, -1))
    return nn.Dense(4, dtype=self.dtype, name='head')(nn.relu(x))


class Windowed(nn.Module):
  """Attention within windows of 4x4, which stand in the batch, and an MLP.

  Attributes:
    shift: pixels that the windows are shifted by.
    dtype: of arithmetic.
  """

  shift: int
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    batch, rows, cols, width = x.shape
    y = nn.LayerNorm(dtype=self.dtype, name='norm_0')(x)
    y = jnp.roll(y, (-self.shift, -self.shift), (1, 2))
    y = y.reshape(batch, rows // 4, 4, cols // 4, 4, width).swapaxes(2, 3)
    y = y.reshape(-1, 16, width)
    y = nn.Dense(3 * width, dtype=self.dtype, name='qkv')(y)
    q, k, v = jnp.moveaxis(y.reshape(-1, 16, 3, 2, width // 2), 2, 0)
    places = self.param('places', nn.initializers.normal(0.5), (1, 2, 16, 16))
    y = nn.dot_product_attention(q, k, v, bias=places.astype(q.dtype))
    y = nn.Dense(width, dtype=self.dtype, name='out')(y.reshape(-1, 16, width))
    y = y.reshape(batch, rows // 4, cols // 4, 4, 4, width).swapaxes(2, 3)
    y = y.reshape(batch, rows, cols, width)
    x = x + jnp.roll(y, (self.shift, self.shift), (1, 2))
    norm = nn.LayerNorm(dtype=self.dtype, name='norm_1')
    return x + Mlp(self.dtype, name='mlp')(norm(x))


class Swin(nn.Module):
  """Windows, shifted windows, merged patches; to `[B, H / 4, W / 4, 4]`."""

  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    del train
    x = nn.Conv(8, (4, 4), strides=4, dtype=self.dtype, name='patches')(x)
    x = Windowed(0, self.dtype, name='layer_0')(x)
    x = Windowed(2, self.dtype, name='layer_1')(x)
    batch, rows, cols, width = x.shape
    x = x.reshape(batch, rows // 2, 2, cols // 2, 2, width).swapaxes(2, 3)
    x = x.reshape(batch, rows // 2, cols // 2, 4 * width)
    x = nn.Dense(12, use_bias=False, dtype=self.dtype, name='merge')(x)
    x = nn.Dense(4, dtype=self.dtype, name='head')(x)
    return resized(x, (rows, cols))
