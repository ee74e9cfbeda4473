"""Resizing: bilinear, axis by axis, and doubling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.layers import forms
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
  if forms.target() == forms.PLAIN and x.shape[1:3] != tuple(size):
    return deltax_bilinear(x, tuple(size))
  for axis, target in zip((2, 1), size[::-1], strict=True):
    whole = target % x.shape[axis] == 0
    if whole and x.shape[axis] != target:
      # Written to memory before the next axis, or each of its pixels would do
      # this one anew.
      x = lax.optimization_barrier(_times(x, axis, target // x.shape[axis]))
    elif x.shape[axis] != target:
      x = _resize_axis(x, axis, target)
  return x


@functools.partial(jax.jit, static_argnames='size')
def deltax_bilinear(x, size):
  """`resize_bilinear` as one operation, which converters know by its name."""
  for axis, target in zip((2, 1), size[::-1], strict=True):
    if x.shape[axis] != target:
      x = _resize_axis(x, axis, target)
  return x


def _times(x, axis, factor):
  """A whole number of pixels for each: shifted slices, side by side.

  Where XLA fuses a gather with what follows, CPUs run it slowly.
  """
  count, around = x.shape[axis], [(0, 0)] * x.ndim
  around[axis] = (1, 1)
  x = jnp.pad(x, around, 'edge')
  phases = []
  # Every output at the same place within its source pixel lies equally far from
  # the same two neighbours: one weight for all of them, of two whole slices.
  for place in range(factor):
    position = (place + 0.5) / factor + 0.5
    low = int(position)
    near, far = (
      lax.slice_in_dim(x, start, start + count, axis=axis)
      for start in (low, low + 1)
    )
    phases.append(near * (1 - position + low) + far * (position - low))
  shape = [*x.shape[:axis], count * factor, *x.shape[axis + 1 :]]
  return jnp.stack(phases, axis + 1).reshape(shape)


def _resize_axis(x, axis, target):
  source = x.shape[axis]
  position = (np.arange(target) + 0.5) * (source / target) - 0.5
  position = np.clip(position, 0, source - 1)
  low = np.floor(position).astype(np.int32)
  high = np.minimum(low + 1, source - 1)
  shape = [1] * x.ndim
  shape[axis] = target
  weight = jnp.asarray((position - low).reshape(shape), x.dtype)
  near, far = (
    # Places are never out of range, which the default looks after anew.
    jnp.take(x, places, axis, mode='clip')
    for places in (low, high)
  )
  return near * (1 - weight) + far * weight


def double_nearest(x: Array, size: tuple[int, int]) -> Array:
  """Repeats every pixel twice along both axes, and cuts to a size.

  The inverse of halving with sizes rounded up.

  Args:
    x: `[B, H, W, C]` images.
    size: (rows, columns) of the result, at most (2 H, 2 W).

  Returns:
    `[B, rows, columns, C]`.

  Example:
    >>> double_nearest(jnp.array([[[[1], [2]]]]), (1, 3)).ravel().tolist()
    [1, 1, 2]
  """
  batch, rows, cols, channels = x.shape
  x = jnp.broadcast_to(
    x[:, :, None, :, None], (batch, rows, 2, cols, 2, channels)
  )
  x = x.reshape(batch, 2 * rows, 2 * cols, channels)
  return x[:, : size[0], : size[1]]
