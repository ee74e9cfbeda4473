"""EfficientNet-B0 and its plainer sibling Lite0.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", 2019, in the TensorFlow form: 'SAME' padding, which a stride
of 2 puts below and to the right first, and batch norm with epsilon 1e-3.
Submodules carry the names of the released PyTorch checkpoints, numbers joined
by an underscore: `blocks.0.1.conv_pw` is `blocks_0_1/conv_pw`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax.layers import BatchNorm, conv2d, noise
from deltax.types import Array

Norm = Callable[..., nn.Module]


class Stage(NamedTuple):
  """Blocks of one width; the stride is the first block's."""

  blocks: int
  kernel: int
  stride: int
  expand: int
  features: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class SqueezeExcite(nn.Module):
  """Scales channels by what their means over the picture say.

  Attributes:
    features: channels between the two convolutions.
  """

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = x.mean((1, 2), keepdims=True)
    y = nn.silu(conv2d(self.features, 1, bias=True, name='conv_reduce')(y))
    y = conv2d(x.shape[-1], 1, bias=True, name='conv_expand')(y)
    return x * nn.sigmoid(y)


class InvertedResidual(nn.Module):
  """Expands 1x1, filters each channel, squeezes, projects 1x1.

  Attributes:
    features: channels of the output.
    norm: makes a batch norm.
    act: activation.
    kernel: size of the depthwise kernel.
    stride: of the depthwise convolution.
    expand: inner channels per input channel; at 1 nothing is expanded.
    squeeze: whether channels are scaled by squeeze and excitation, with a
      quarter of the input's channels.
    drop: probability in training that an example keeps its shortcut only.
  """

  features: int
  norm: Norm
  act: Callable[[Array], Array]
  kernel: int = 3
  stride: int = 1
  expand: int = 6
  squeeze: bool = True
  drop: float = 0.0

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    inputs, width = x, x.shape[-1]
    expands = self.expand > 1
    names = iter(('bn1', 'bn2', 'bn3'))
    if expands:
      x = conv2d(width * self.expand, 1, name='conv_pw')(x)
      x = self.act(self.norm(name=next(names))(x))
    x = conv2d(
      x.shape[-1],
      self.kernel,
      self.stride,
      groups=x.shape[-1],
      same=True,
      name='conv_dw',
    )(x)
    x = self.act(self.norm(name=next(names))(x))
    if self.squeeze:
      x = SqueezeExcite(width // 4, name='se')(x)
    x = conv2d(self.features, 1, name='conv_pwl' if expands else 'conv_pw')(x)
    x = self.norm(name=next(names))(x)
    if self.stride > 1 or width != self.features:
      return x
    if train and self.drop:
      x = self._drop_path(x)
    return inputs + x

  def _drop_path(self, x):
    keep = 1 - self.drop

    def draw(key, rows):
      return jax.random.bernoulli(key, keep, (rows, 1, 1, 1))

    kept = noise.of_rows(draw, self.make_rng('dropout'), len(x))
    return jnp.where(kept, x / keep, 0)


class EfficientNet(nn.Module):
  """EfficientNet: its classifier, or the features of its stages.

  Attributes:
    num_classes: K; None for the features of the stages.
    stem: channels of the first convolution.
    stages: what follows it.
    squeeze: whether blocks have squeeze and excitation.
    act: activation.
    drop_path: probability that the last block is dropped in training; grows
      linearly from 0 at the first. Draws from the 'dropout' generator.
    input_affine: (scale, shift) per colour, applied to the frames first.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int | None = None
  stem: int = 32
  stages: tuple[Stage, ...] = STAGES
  squeeze: bool = True
  act: Callable[[Array], Array] = nn.silu
  drop_path: float = 0.0
  input_affine: tuple[tuple[float, ...], tuple[float, ...]] | None = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> Array | list[Array]:
    """Class scores of frames, or features.

    Args:
      frames: `[B, H, W, 3]` normalised RGB of any size.
      train: whether batch statistics are used and updated, and paths dropped.

    Returns:
      `[B, K]` logits; or, without classes, the outputs of the seven stages
      `[B, H / s, W / s, C]` at strides s of 2, 4, 8, 16, 16, 32 and 32 (sizes
      rounded up) with 16, 24, 40, 80, 112, 192 and 320 channels.
    """
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      epsilon=1e-3,
      axis_name=self.axis_name,
    )
    x = frames
    if self.input_affine is not None:
      scale, shift = (jnp.array([[[v]]], x.dtype) for v in self.input_affine)
      x = x * scale + shift
    x = conv2d(self.stem, stride=2, same=True, name='conv_stem')(x)
    x = self.act(norm(name='bn1')(x))
    total, done = sum(stage.blocks for stage in self.stages), 0
    outputs = []
    for s, stage in enumerate(self.stages):
      for b in range(stage.blocks):
        x = InvertedResidual(
          stage.features,
          norm,
          self.act,
          kernel=stage.kernel,
          stride=stage.stride if b == 0 else 1,
          expand=stage.expand,
          squeeze=self.squeeze,
          drop=self.drop_path * done / total,
          name=f'blocks_{s}_{b}',
        )(x, train)
        done += 1
      outputs.append(x)
    if self.num_classes is None:
      return outputs
    x = self.act(norm(name='bn2')(conv2d(1280, 1, name='conv_head')(x)))
    return nn.Dense(self.num_classes, name='classifier')(x.mean((1, 2)))


# Frames come normalised by ImageNet's mean and deviation; Lite0 was trained on
# (RGB - 127) / 128. An affine map at the entrance is exact, also at the border,
# where a change of the first kernel would not be.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TINY = (
  Stage(1, 3, 1, 1, 8),
  Stage(1, 3, 2, 3, 12),
  Stage(1, 3, 2, 3, 16),
  Stage(1, 3, 2, 3, 24),
  Stage(1, 3, 1, 3, 24),
  Stage(1, 3, 2, 3, 32),
  Stage(1, 3, 1, 3, 32),
)
_VARIANTS = {
  'efficientnet_b0': {},
  'efficientnet_tiny': {'stem': 8, 'stages': _TINY},  # for tests
  'efficientnet_lite0': {
    'squeeze': False,
    'act': nn.relu6,
    'input_affine': (
      tuple(255 * s / 128 for s in _STD),
      tuple((255 * m - 127) / 128 for m in _MEAN),
    ),
  },
}


def efficientnet(variant: str, **options: Any) -> EfficientNet:
  """A member of the family by its name.

  Args:
    variant: 'efficientnet_b0' or 'efficientnet_lite0', which has no squeeze and
      excitation, and ReLU6 for SiLU.
    **options: attributes of the module; without `num_classes` it returns the
      features of its stages.

  Returns:
    The module. Frames are normalised by ImageNet's mean and deviation for
    either.

  Raises:
    ValueError: if the family has no such member.

  Example:
    >>> efficientnet('efficientnet_lite0').squeeze
    False
  """
  if variant not in _VARIANTS:
    raise ValueError(
      f'no EfficientNet {variant!r}; known: {", ".join(_VARIANTS)}'
    )
  return EfficientNet(**{**_VARIANTS[variant], **options})
