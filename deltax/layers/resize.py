"""Bilinear resizing by two gathers and a blend an axis."""

import jax.numpy as jnp
import numpy as np

from deltax.types import Array


def resize_bilinear(x: Array, size: tuple[int, int]) -> Array:
  """Resizes images bilinearly, with half-pixel centres and no smoothing.

  Equal to PyTorch's `interpolate(mode='bilinear', align_corners=False)`;
  outside the image the border is repeated.

  Args:
    x: `[B, H, W, C]` float images.
    size: (rows, columns) of the result.

  Returns:
    `[B, rows, columns, C]`.

  Example:
    >>> x = jnp.array([[[[0.0], [4.0]]]])
    >>> [float(v) for v in resize_bilinear(x, (1, 4)).ravel()]
    [0.0, 1.0, 3.0, 4.0]
  """
  for axis, target in zip((1, 2), size, strict=True):
    if x.shape[axis] != target:
      x = _resize_axis(x, axis, target)
  return x


def _resize_axis(x, axis, target):
  source = x.shape[axis]
  position = (np.arange(target) + 0.5) * (source / target) - 0.5
  position = np.clip(position, 0, source - 1)
  low = np.floor(position).astype(np.int32)
  high = np.minimum(low + 1, source - 1)
  shape = [1] * x.ndim
  shape[axis] = target
  weight = jnp.asarray((position - low).reshape(shape), x.dtype)
  return (
    jnp.take(x, low, axis) * (1 - weight) + jnp.take(x, high, axis) * weight
  )
