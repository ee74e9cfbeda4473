"""Students of whole blocks: the paper's nonlinear blocks.

A block student maps the change of a block's inputs, and the inputs of the
reference frame, to the change of its output. What it computes of the reference
frame alone is cached when deployed.

Source: Habibian et al., ECCV 2022, section 3.2.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from deltax.delta.layers import Block
from deltax.delta.students import conv_macs
from deltax.layers.conv import fast_conv
from deltax.layers.resize import resize_bilinear
from deltax.types import Array, Key

_SAME = ((1, 1), (1, 1))
_SPREAD = jax.nn.initializers.he_normal()


class BlockCandidate(Protocol):
  """What `deltax.delta.Spec` takes as a candidate for blocks."""

  @property
  def name(self) -> str:
    """Names the candidate's parameters, unique within a block."""

  def init(self, key: Key, block: Block) -> dict[str, Any]:
    """Parameters; the student begins near the block's shortcut."""

  def apply(
    self,
    params: Any,
    changes: Sequence[Array],
    references: Sequence[Array],
    block: Block,
  ) -> Array:
    """The change of the output: zero where no input changes.

    Args:
      params: from `init`.
      changes: `[B, H, W, C]` change of every input.
      references: every input on the reference frame.
      block: the block.

    Returns:
      `[B, H', W', N]`.
    """

  def prepare(
    self, params: Any, references: Sequence[Array], block: Block
  ) -> dict[str, Array]:
    """What later frames need of a reference frame's inputs."""

  def follow(
    self,
    params: Any,
    prepared: dict[str, Array],
    inputs: Sequence[Array],
    block: Block,
  ) -> Array:
    """`apply`, up to a constant, from the inputs themselves.

    The difference of two results for one `prepared` is that of two `apply`.
    """

  def macs(self, block: Block) -> int:
    """Multiply-accumulates of one later frame, deployed."""


@dataclasses.dataclass(frozen=True)
class NoChange:
  """The block's output on the reference frame, which costs nothing."""

  @property
  def name(self) -> str:
    return 'skip'

  def init(self, key: Key, block: Block) -> dict[str, Any]:
    del key, block
    return {}

  def apply(self, params, changes, references, block) -> Array:
    del params, references
    first = changes[0]
    return jnp.zeros((first.shape[0], *block.outputs), first.dtype)

  def prepare(self, params, references, block) -> dict[str, Array]:
    del params, references, block
    return {}

  def follow(self, params, prepared, inputs, block) -> Array:
    del prepared
    return self.apply(params, inputs, (), block)

  def macs(self, block: Block) -> int:
    del block
    return 0


@dataclasses.dataclass(frozen=True)
class Residual:
  """Two layers with ReLU at a fraction of the block's width, and a shortcut.

  1x1 convolutions bring the change of every input and the reference frame's
  input to R channels, where they are added; a ReLU, a 3x3 convolution, a ReLU
  and a 1x1 convolution follow. Inputs of another size than the output are
  averaged or resized to it. The shortcut of a single input is the identity
  where shapes allow it, else a 1x1 convolution. Starts with a last layer of
  zeros: as the shortcut alone, which for a residual block is what its own
  nonlinear part adds to.

  Attributes:
    factor: R is the output channels over `factor`.

  Raises:
    ValueError: for a factor below 1.
  """

  factor: int = 4

  def __post_init__(self):
    if self.factor < 1:
      raise ValueError(f'a residual factor is at least 1, got {self.factor}')

  @property
  def name(self) -> str:
    return f'residual_{self.factor}'

  def width(self, block: Block) -> int:
    """R, the width inside."""
    return max(1, block.outputs[-1] // self.factor)

  def init(self, key: Key, block: Block) -> dict[str, Any]:
    width, features = self.width(block), block.outputs[-1]
    keys = jax.random.split(key, 2 * len(block.inputs) + 1)
    change, context = (
      [
        _SPREAD(each, (1, 1, shape[-1], width))
        for each, shape in zip(own, block.inputs, strict=True)
      ]
      for own in (keys[1::2], keys[2::2])
    )
    params = {
      'change': change,
      'context': context,
      'middle': _SPREAD(keys[0], (3, 3, width, width)),
      'last': jnp.zeros((1, 1, width, features)),
    }
    if _projects(block):
      channels = block.inputs[0][-1]
      params['shortcut'] = jnp.eye(channels, features)[None, None]
    return params

  def apply(self, params, changes, references, block) -> Array:
    still = _summed(params['context'], references, block)
    moved = still + _summed(params['change'], changes, block)
    inside = _inside(params, moved) - _inside(params, still)
    out = fast_conv(inside, params['last'], (1, 1), 'VALID')
    return _shortcut(params, out, changes, block)

  def prepare(self, params, references, block) -> dict[str, Array]:
    still = _summed(params['context'], references, block)
    own = _summed(params['change'], references, block)
    return {'still': still - own}

  def follow(self, params, prepared, inputs, block) -> Array:
    moved = prepared['still'] + _summed(params['change'], inputs, block)
    out = fast_conv(_inside(params, moved), params['last'], (1, 1), 'VALID')
    return _shortcut(params, out, inputs, block)

  def macs(self, block: Block) -> int:
    (rows, cols, features), width = block.outputs, self.width(block)
    total = conv_macs((3, 3, width, width), (rows, cols, width))
    total += conv_macs((1, 1, width, features), block.outputs)
    for height, length, channels in block.inputs:
      size = min(rows, height), min(cols, length)
      total += conv_macs((1, 1, channels, width), (*size, width))
    if _projects(block):
      channels = block.inputs[0][-1]
      total += conv_macs((1, 1, channels, features), block.outputs)
    return total


BLOCK_CANDIDATES = {'residual': Residual, 'skip': NoChange}


def _projects(block: Block) -> bool:
  return len(block.inputs) == 1 and block.inputs[0] != block.outputs


def _shortcut(params, out, inputs, block):
  if len(inputs) > 1:
    return out
  x = inputs[0]
  if 'shortcut' in params:
    x = _brought(params['shortcut'], x, block.outputs[:2])
  return out + x


def _summed(kernels, maps, block):
  return sum(
    _brought(kernel, x, block.outputs[:2])
    for kernel, x in zip(kernels, maps, strict=True)
  )


def _brought(kernel, x, size):
  """A 1x1 convolution at the smaller of two sizes, and the output's size."""
  if x.shape[1] > size[0] or x.shape[2] > size[1]:
    x = _averaged(x, size)
  x = fast_conv(x, kernel, (1, 1), 'VALID')
  return resize_bilinear(x, size)


def _averaged(x, size):
  """Means of the pixels under each pixel of a smaller size."""
  (batch, rows, cols, channels), (height, width) = x.shape, size
  down, across = -(-rows // height), -(-cols // width)
  short = height * down - rows, width * across - cols
  x = jnp.pad(x, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), 'edge')
  x = x.reshape(batch, height, down, width, across, channels)
  return x.mean((2, 4))


def _inside(params, hidden):
  return jax.nn.relu(
    fast_conv(jax.nn.relu(hidden), params['middle'], (1, 1), _SAME)
  )
