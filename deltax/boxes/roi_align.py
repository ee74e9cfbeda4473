"""RoIAlign: the features of boxes, on a grid of fixed size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.types import Array


def roi_align(
  features: Array,
  boxes: Array,
  *,
  stride: int,
  bins: int = 7,
  samples: int = 2,
) -> Array:
  """Average features in the bins of boxes, sampled bilinearly.

  Feature (i, j) is centred at pixel ((j + 0.5) * stride, (i + 0.5) * stride)
  ("aligned"). A sample more than one feature outside the map counts as zero; up
  to there the map's border is repeated. Gradients flow to the features only.

  Source: He et al., "Mask R-CNN", ICCV 2017, section 3; details as in mmcv.

  Args:
    features: `[B, h, w, C]`.
    boxes: `[B, R, 4]` (x0, y0, x1, y1) in pixels of the frame.
    stride: pixels a feature.
    bins: rows and columns of the result.
    samples: points a bin and axis.

  Returns:
    `[B, R, bins, bins, C]`.

  Example:
    >>> features = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> box = jnp.array([[[0.0, 0, 16, 16]]])
    >>> roi_align(features, box, stride=8, bins=1).tolist()
    [[[[[1.5]]]]]
  """
  boxes = lax.stop_gradient(boxes) / stride - 0.5
  return _align(features, boxes, bins, samples)


# Forward, a sum of gathers is fused into one loop. Its own gradient would be as
# many scatters, slow everywhere and in no fixed order on GPU; two matrix
# products an output row are the same.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _align(features, boxes, bins, samples):
  def frame(features, y, x, down, across):
    total = jnp.zeros((), features.dtype)
    for i, j in np.ndindex(y.shape[-1], x.shape[-1]):
      weights = down[:, :, None, i] * across[:, None, :, j]
      seen = features[y[:, :, None, i], x[:, None, :, j]]
      total = total + seen * weights[..., None]
    return total

  (y, down), (x, across) = _axes(features, boxes, bins, samples)
  return jax.vmap(frame)(features, y, x, down, across)


def _forward(features, boxes, bins, samples):
  return _align(features, boxes, bins, samples), (features, boxes)


def _backward(bins, samples, saved, grads):
  features, boxes = saved

  (y, down), (x, across) = _axes(features, boxes, bins, samples)
  down = _spread(y, down, features.shape[1])
  across = _spread(x, across, features.shape[2])
  start = jnp.zeros(features.shape[1:], grads.dtype)
  frame = functools.partial(_frame_grad, start)
  return jax.vmap(frame)(grads, down, across), jnp.zeros_like(boxes)


def _spread(places, shares, size):
  """Shares of all places of a line: `[B, R, bins, size]`."""
  return (jax.nn.one_hot(places, size) * shares[..., None]).sum(-2)


def _frame_grad(start, grads, down, across):
  """Gradient of one frame's features, summed up bin row by bin row.

  Args:
    start: `[h, w, C]` zeros.
    grads: `[R, bins, bins, C]`, of the result.
    down: `[R, bins, h]`, the share of each row of features in a row of bins.
    across: `[R, bins, w]`, the same of columns.
  """

  def line(total, at):
    down, grads = at
    columns = jnp.einsum('rqw,rqc->rwc', across, grads)
    return total + jnp.einsum('rh,rwc->hwc', down, columns), None

  lines = down.swapaxes(0, 1), grads.swapaxes(0, 1)
  return lax.scan(line, start, lines)[0]


_align.defvjp(_forward, _backward)


def _axes(features, boxes, bins, samples):
  """`_taps` of rows and of columns."""
  rows, cols = features.shape[1:3]
  x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)
  return (
    _taps(y0, y1, rows, bins, samples),
    _taps(x0, x1, cols, bins, samples),
  )


def _taps(start, end, size, bins, samples):
  """Places that the bins of a line see, and their shares of the bin.

  Both are `[B, R, bins, 2 * samples]`: two places a sample.
  """
  steps = (jnp.arange(bins * samples) + 0.5) / (bins * samples)
  start, end = start[..., None], end[..., None]
  points = start + (end - start) * jnp.expand_dims(steps, (0, 1))
  inside = (points >= -1) & (points <= size)
  points = jnp.clip(points, 0, size - 1)
  low = jnp.floor(points).astype(jnp.int32)
  places = jnp.stack([low, jnp.minimum(low + 1, size - 1)], -1)
  high = points - low
  shares = jnp.stack([1 - high, high], -1)
  shares = jnp.where(inside[..., None], shares, 0) / samples
  shape = (*start.shape[:-1], bins, 2 * samples)
  return places.reshape(shape), shares.reshape(shape)
