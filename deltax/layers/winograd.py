"""3x3 convolutions by Winograd's minimal filtering, F(2x2, 3x3).

A tile of 2x2 outputs takes 16 products for each pair of channels in place of
36. The transforms cost memory traffic, which pays on CPU only where channels
are many and pixels few; the kernel is transformed once, beforehand.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
2016.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.types import Array

_FEWEST_CHANNELS = 128
# A tile's transform moves 16 numbers a channel and saves 20 products of each by
# every channel of the other side: the wider, the less it matters that caches do
# not hold all tiles.
_MOST_TILES = 1280
_OF_KERNEL = np.array(
  [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32
)


def has_tiles(
  kernel: tuple[int, ...],
  strides: tuple[int, int],
  dilation: tuple[int, int],
  groups: int,
) -> bool:
  """Whether a convolution is one that may pay: dense, 3x3, wide, stride 1."""
  return (
    tuple(kernel[:2]) == (3, 3)
    and set(strides) | set(dilation) == {1}
    and groups == 1
    and min(kernel[2:]) >= _FEWEST_CHANNELS
  )


def pays(shape: tuple[int, ...]) -> bool:
  """Whether it is faster on inputs of a shape, `[B, H, W, C]`."""
  batch, rows, cols, _ = shape
  return batch * -(-rows // 2) * -(-cols // 2) <= _MOST_TILES


def transform_kernel(kernel: Array) -> Array:
  """A `[3, 3, C, N]` kernel as `[16, C, N]`, one matrix a place in a tile."""
  both = jnp.einsum('ai,bj,ijcn->abcn', _OF_KERNEL, _OF_KERNEL, kernel)
  return both.reshape(16, *kernel.shape[2:])


def winograd_conv(x: Array, transformed: Array) -> Array:
  """A 3x3 convolution with one zero around the image.

  Args:
    x: `[B, H, W, C]`; a last odd row or column is filled up with zeros.
    transformed: `[16, C, N]`, as `transform_kernel` gives it.

  Returns:
    `[B, H, W, N]`, up to rounding what the convolution gives.

  Example:
    >>> x, kernel = jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
    >>> winograd_conv(x, transform_kernel(kernel))[0, ..., 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
  """
  batch, rows, cols, channels = x.shape
  down, across = -(-rows // 2), -(-cols // 2)
  pads = (0, 0), (1, 1 + rows % 2), (1, 1 + cols % 2), (0, 0)
  # Tiles of 4x4 that overlap by two: all 16 sums of a tile's pixels are slices
  # of the whole image, so no tile is ever cut out.
  bands = _transformed(jnp.pad(x, pads), 1)
  tiles = jnp.stack([tile for band in bands for tile in _transformed(band, 2)])
  pixels = tiles.reshape(16, batch * down * across, channels)
  # What adds the products up again is done once, not for every reader.
  products = lax.optimization_barrier(
    jnp.einsum('apc,acn->apn', lax.optimization_barrier(pixels), transformed)
  )
  products = products.reshape(4, 4, batch, down, across, -1)
  # A tile gives 2x2 outputs, which are woven into rows and columns again.
  out = jnp.stack(
    [jnp.stack(_summed(row), 3) for row in _summed(products)], 2
  ).reshape(batch, 2 * down, 2 * across, -1)
  return out[:, :rows, :cols]


def _transformed(x, axis):
  """The four sums of neighbours that a tile has along an axis."""
  count = (x.shape[axis] - 2) // 2
  a, b, c, d = (
    lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis)
    for start in range(4)
  )
  return a - c, b + c, c - b, b - d


def _summed(products):
  """The two outputs of a tile from its four products along an axis."""
  a, b, c, d = products
  return a + b + c, b - c - d
