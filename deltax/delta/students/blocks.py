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

from deltax.delta.units import Block, NoStart, conv_macs
from deltax.delta.units.unit import by
from deltax.layers import forms
from deltax.layers.conv import fast_conv
from deltax.layers.pool import mean_pool
from deltax.layers.resize import resize_bilinear
from deltax.types import Array, Key

WIDEST = 64  # numbers of a patch of pixels that is not averaged
_SAME = ((1, 1), (1, 1))
_SPREAD = jax.nn.initializers.he_normal()


class BlockCandidate(Protocol):
  """What `deltax.delta.Spec` takes as a candidate for blocks."""

  @property
  def name(self) -> str:
    """Names the candidate's parameters, unique within a block."""

  def init(self, key: Key, block: Block) -> dict[str, Any]:
    """Parameters; the student begins near the block's shortcut.

    Raises:
      NoStart: the block cannot have this candidate, which is left out for it.
    """

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
  and a 1x1 convolution follow. Of larger inputs, the pixels under one of the
  output are taken as they are if they hold at most `WIDEST` numbers, else
  averaged; smaller ones are resized. The shortcut of a single input is the
  identity where shapes allow it, else such a convolution. Starts with a last
  layer of zeros: as the shortcut alone, which for a residual block is what its
  own nonlinear part adds to.

  Tokens are columns of pixels, none of which has a neighbour: in place of the
  3x3 convolution each is mapped by itself, and the mean of all is added, so
  that a student of attention sees every token. They are not shrunk, and a block
  gives as many as it takes.

  Attributes:
    factor: R is the output channels over `factor`.
    shrink: how many times fewer rows and columns than the output the R channels
      have; what comes out is resized bilinearly. The shortcut is not shrunk.

  Raises:
    ValueError: for a factor or a shrinkage below 1.
  """

  factor: int = 4
  shrink: int = 1

  def __post_init__(self):
    if self.factor < 1 or self.shrink < 1:
      raise ValueError(
        f'a residual factor and shrinkage are at least 1, got {self.factor} '
        f'and {self.shrink}'
      )

  @property
  def name(self) -> str:
    return f'residual_{self.factor}_{self.shrink}'

  def width(self, block: Block) -> int:
    """R, the width inside."""
    return max(1, block.outputs[-1] // self.factor)

  def size(self, block: Block) -> tuple[int, int]:
    """Rows and columns inside; of tokens, their number and 1."""
    rows, cols, _ = _as_image(block.outputs)
    shrink = 1 if _has_tokens(block) else self.shrink
    return -(-rows // shrink), -(-cols // shrink)

  def init(self, key: Key, block: Block) -> dict[str, Any]:
    _check_tokens(block)
    width, features = self.width(block), block.outputs[-1]
    inputs = [_as_image(shape) for shape in block.inputs]
    count = 2 * len(inputs) + 1
    keys = jax.random.split(key, count + _has_tokens(block))
    patches = [_patch(shape, self.size(block)) for shape in inputs]
    change, context = (
      [
        _SPREAD(input_key, (*patch, shape[-1], width))
        for input_key, patch, shape in zip(
          input_keys, patches, inputs, strict=True
        )
      ]
      for input_keys in (keys[1:count:2], keys[2:count:2])
    )
    reach = (1, 1) if _has_tokens(block) else (3, 3)
    params = {
      'change': change,
      'context': context,
      'middle': _SPREAD(keys[0], (*reach, width, width)),
      'last': jnp.zeros((1, 1, width, features)),
    }
    if _has_tokens(block):
      params['mean'] = _SPREAD(keys[count], (1, 1, width, width))
    if _projects(block):
      rows, cols = _patch(inputs[0], _as_image(block.outputs))
      same = jnp.eye(inputs[0][-1], features) / (rows * cols)
      params['shortcut'] = jnp.tile(same[None, None], (rows, cols, 1, 1))
    return params

  def apply(self, params, changes, references, block) -> Array:
    inside = self._moved(params, changes, references, block)
    return _out(params, inside, _images(changes), block)

  def _moved(self, params, changes, references, block) -> Array:
    """The change of what is inside: `[B, h, w, R]`."""
    size = self.size(block)
    changes, references = _images(changes), _images(references)
    still = _summed(params['context'], references, size)
    moved = still + _summed(params['change'], changes, size)
    return _inside(params, moved) - _inside(params, still)

  def prepare(self, params, references, block) -> dict[str, Array]:
    size, references = self.size(block), _images(references)
    still = _summed(params['context'], references, size)
    # A later frame adds `change` of the whole input, of which the reference's
    # share is not change: it is taken off here, once.
    return {'still': still - _summed(params['change'], references, size)}

  def follow(self, params, prepared, inputs, block) -> Array:
    inputs = _images(inputs)
    moved = _summed(params['change'], inputs, self.size(block))
    inside = _inside(params, prepared['still'] + moved)
    return _out(params, inside, inputs, block)

  def seen(self, maps: Sequence[Array], block: Block) -> Array:
    """What `change` and `context` multiply, of all inputs: `[B, h, w, K]`."""
    size = self.size(block)
    laid = [_laid(x, _patch(x.shape[1:], size), size) for x in _images(maps)]
    return jnp.concatenate(laid, -1)

  def passed(self, changes: Sequence[Array], block: Block) -> Array:
    """What the shortcut multiplies, `[B, H', W', K]`, of a single input."""
    (x,), size = _images(changes), _as_image(block.outputs)[:2]
    return _laid(x, _patch(x.shape[1:], size), size)

  def shrunk(self, x: Array, block: Block) -> Array:
    """A map of the output's size at the size inside: `[B, h, w, C]`."""
    size = self.size(block)
    return resize_bilinear(_pooled(_images([x])[0], size), size)

  def features(self, params, changes, references, block) -> Array:
    """What the last layer multiplies: `[B, H', W', R]`."""
    inside = self._moved(params, changes, references, block)
    return resize_bilinear(inside, _as_image(block.outputs)[:2])

  def macs(self, block: Block) -> int:
    (rows, cols), width = self.size(block), self.width(block)
    outputs = _as_image(block.outputs)
    if _has_tokens(block):
      total = (rows + 1) * width * width
    else:
      total = conv_macs((3, 3, width, width), (rows, cols, width))
    total += conv_macs((1, 1, width, outputs[-1]), (rows, cols, outputs[-1]))
    for shape in map(_as_image, block.inputs):
      total += _brought_macs(shape, (rows, cols), width)
    if _projects(block):
      total += _brought_macs(_as_image(block.inputs[0]), outputs, outputs[-1])
    return total


def _has_tokens(block: Block) -> bool:
  return len(block.outputs) == 2


def _check_tokens(block: Block) -> None:
  """Raises a `NoStart` where tokens come or go."""
  counts = {shape[:-1] for shape in (*block.inputs, block.outputs)}
  ranks = {len(count) for count in counts}
  if ranks != {2} and len(counts) > 1:
    taken = ', '.join(map(by, block.inputs))
    raise NoStart(
      f'it makes {by(block.outputs)} of {taken}, and a residual student gives '
      'as many tokens as it takes'
    )


def _as_image(shape: Sequence[int]) -> tuple[int, int, int]:
  """(H, W, C) of a map; tokens are a column of pixels."""
  return tuple(shape) if len(shape) == 3 else (shape[0], 1, shape[1])


def _images(maps: Sequence[Array]) -> list[Array]:
  return [x if x.ndim == 4 else x[:, :, None] for x in maps]


def _projects(block: Block) -> bool:
  return len(block.inputs) == 1 and block.inputs[0] != block.outputs


def _out(params, inside, inputs, block):
  """The last layer and the shortcut."""
  size = _as_image(block.outputs)[:2]
  out = fast_conv(inside, params['last'], (1, 1), 'VALID')
  out = resize_bilinear(out, size)
  if len(inputs) == 1:
    x = inputs[0]
    if 'shortcut' in params:
      x = _brought(params['shortcut'], x, size)
    out = out + x
  return out.reshape(-1, *block.outputs)


def _summed(kernels, maps, size):
  return sum(
    _brought(kernel, x, size) for kernel, x in zip(kernels, maps, strict=True)
  )


def _factors(shape, size) -> tuple[int, int]:
  """How many rows and columns one pixel of the new size takes the place of."""
  return -(-shape[0] // size[0]), -(-shape[1] // size[1])


def _patch(shape, size) -> tuple[int, int]:
  """Rows and columns of the kernel that brings a shape to a size."""
  rows, cols = _factors(shape, size)
  return (rows, cols) if rows * cols * shape[-1] <= WIDEST else (1, 1)


def _brought(kernel, x, size):
  """A map at another size and of other channels."""
  patch = kernel.shape[:2]
  if patch == (1, 1):  # fewer channels first: a resize costs by the channel
    x = _pooled(x, size)
    return resize_bilinear(fast_conv(x, kernel, (1, 1), 'VALID'), size)
  if forms.converted():
    return fast_conv(_filled(x, patch, size), kernel, patch, 'VALID')
  x = _laid(x, patch, size)
  out = x.reshape(-1, x.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
  return out.reshape(x.shape[0], *size, -1)


def _laid(x, patch, size):
  """The numbers of a map that each pixel of another size sees."""
  if patch == (1, 1):
    return resize_bilinear(_pooled(x, size), size)
  x = _filled(x, patch, size)
  x = x.reshape(x.shape[0], size[0], patch[0], size[1], -1)
  return x.swapaxes(2, 3).reshape(x.shape[0], *size, -1)


def _filled(x, patch, size):
  """A map whose last row and column are repeated until patches cover it."""
  short = [n * f - m for n, f, m in zip(size, patch, x.shape[1:3], strict=True)]
  if not any(short):
    return x
  return jnp.pad(x, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), 'edge')


def _pooled(x, size):
  factors = _factors(x.shape[1:3], size)
  return mean_pool(x, factors) if max(factors) > 1 else x


def _brought_macs(shape, size, features) -> int:
  patch = _patch(shape, size)
  rows, cols = (min(n, m) for n, m in zip(shape[:2], size[:2], strict=True))
  return conv_macs((*patch, shape[-1], features), (rows, cols, features))


def _inside(params, hidden):
  hidden = jax.nn.relu(hidden)
  if 'mean' not in params:
    return jax.nn.relu(fast_conv(hidden, params['middle'], (1, 1), _SAME))
  each = fast_conv(hidden, params['middle'], (1, 1), 'VALID')
  mean = hidden.mean(1, keepdims=True)
  return jax.nn.relu(each + fast_conv(mean, params['mean'], (1, 1), 'VALID'))
