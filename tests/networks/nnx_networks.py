"""Networks of the kinds that people use, in nnx and tiny."""

import jax.numpy as jnp
from flax import nnx

from deltax.types import Array


class ConvNeXtBlock(nnx.Module):
  """Depthwise 7x7, norm, two fully connected layers, a scale for each channel.

  Args:
    width: channels.
    options: of its layers.
  """

  def __init__(self, width: int, **options):
    self.depth = nnx.Conv(
      width, width, (7, 7), feature_group_count=width, **options
    )
    self.norm = nnx.LayerNorm(width, **options)
    self.widen = nnx.Linear(width, 4 * width, **options)
    self.narrow = nnx.Linear(4 * width, width, **options)
    self.scale = nnx.Param(jnp.full((1, 1, 1, width), 0.5))

  def __call__(self, x: Array) -> Array:
    y = self.norm(self.depth(x))
    y = self.narrow(nnx.gelu(self.widen(y)))
    return x + self.scale[...].astype(y.dtype) * y


class ConvNeXt(nnx.Module):
  """Two stages of blocks; `[B, H, W, 3]` to `[B, 5]`."""

  def __init__(self, **options):
    self.stem = nnx.Conv(3, 8, (4, 4), strides=4, **options)
    self.stem_norm = nnx.LayerNorm(8, **options)
    self.down_norm = nnx.LayerNorm(8, **options)
    self.down = nnx.Conv(8, 12, (2, 2), strides=2, **options)
    self.blocks = nnx.List(
      [ConvNeXtBlock(8, **options), ConvNeXtBlock(12, **options)]
    )
    self.norm = nnx.LayerNorm(12, **options)
    self.head = nnx.Linear(12, 5, **options)

  def __call__(self, x: Array) -> Array:
    x = self.blocks[0](self.stem_norm(self.stem(x)))
    x = self.blocks[1](self.down(self.down_norm(x)))
    return self.head(self.norm(x.mean((1, 2))))


class Encoder(nnx.Module):
  """Attention of all tokens to all, and an MLP."""

  def __init__(self, width: int, **options):
    self.norm_0 = nnx.LayerNorm(width, **options)
    self.attention = nnx.MultiHeadAttention(2, width, decode=False, **options)
    self.norm_1 = nnx.LayerNorm(width, **options)
    self.mlp = nnx.Sequential(
      nnx.Linear(width, 2 * width, **options),
      nnx.gelu,
      nnx.Linear(2 * width, width, **options),
    )

  def __call__(self, x: Array) -> Array:
    x = x + self.attention(self.norm_0(x))
    return x + self.mlp(self.norm_1(x))


class ViT(nnx.Module):
  """Patches and a class token; `[B, *size, 3]` to `[B, 5]`."""

  def __init__(self, width=16, depth=2, patch=8, size=(32, 48), **options):
    window, tokens = (patch, patch), size[0] * size[1] // patch**2
    self.patches = nnx.Conv(3, width, window, strides=patch, **options)
    draw = nnx.initializers.normal(0.5)
    key = options['rngs'].params
    self.class_token = nnx.Param(draw(key(), (1, 1, width)))
    self.places = nnx.Param(draw(key(), (1, 1 + tokens, width)))
    self.layers = nnx.List([Encoder(width, **options) for _ in range(depth)])
    self.norm = nnx.LayerNorm(width, **options)
    self.head = nnx.Linear(width, 5, **options)

  def __call__(self, x: Array) -> Array:
    x = self.patches(x)
    x = x.reshape(len(x), -1, x.shape[-1])
    first = self.class_token[...].astype(x.dtype)
    x = jnp.concatenate(
      [jnp.broadcast_to(first, (len(x), 1, x.shape[-1])), x], 1
    )
    x = x + self.places[...].astype(x.dtype)
    for layer in self.layers:
      x = layer(x)
    return self.head(self.norm(x)[:, 0])


class Pair(nnx.Module):
  """Two convolutions, each with a group norm behind it."""

  def __init__(self, channels: int, features: int, **options):
    self.convs = nnx.List(
      [
        nnx.Conv(channels, features, (3, 3), **options),
        nnx.Conv(features, features, (3, 3), **options),
      ]
    )
    self.norms = nnx.List(
      [nnx.GroupNorm(features, num_groups=2, **options) for _ in range(2)]
    )

  def __call__(self, x: Array) -> Array:
    for conv, norm in zip(self.convs, self.norms, strict=True):
      x = nnx.relu(norm(conv(x)))
    return x


class UNet(nnx.Module):
  """Down and up again with a skip; `[B, H, W, 3]` to `[B, H, W, 4]`."""

  def __init__(self, **options):
    self.fine = Pair(3, 4, **options)
    self.down = nnx.Conv(4, 8, (2, 2), strides=2, **options)
    self.coarse = Pair(8, 8, **options)
    self.up = nnx.ConvTranspose(8, 4, (2, 2), strides=2, **options)
    self.merged = Pair(8, 4, **options)
    self.head = nnx.Conv(4, 4, (1, 1), **options)

  def __call__(self, x: Array) -> Array:
    fine = self.fine(x)
    x = self.coarse(self.down(fine))
    x = jnp.concatenate([self.up(x), fine], -1)
    return self.head(self.merged(x))
