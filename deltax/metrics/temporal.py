"""Do the predicted classes stay with the things that move?"""

import jax.numpy as jnp

from deltax.types import Array


def consistency(
  predictions: Array, flow: Array, valid: Array
) -> dict[str, Array]:
  """Counts the pixels that keep their class along the motion.

  A pixel (x, y) of frame t was at (x + dx, y + dy) in frame t - 1; its class
  persists if it equals the class of the pixel nearest to that place. The score
  is `kept / moved`, after both were summed over the examples.

  Args:
    predictions: integer `[B, T, H, W]`, classes.
    flow: float `[B, T-1, H, W, 2]`, (dx, dy) in pixels from frame t to frame
      t - 1, for t = 1 to T - 1.
    valid: bool or 0/1 `[B, T-1, H, W]`, which pixels to count: those seen in
      both frames. Pixels that come from outside the picture or whose motion is
      not finite are not counted.

  Returns:
    `kept` and `moved`, int32 `[B]`: pixels that keep their class, and pixels
    counted.

  Raises:
    ValueError: the shapes do not fit each other.
  """
  batch, frames, height, width = predictions.shape
  steps = (batch, frames - 1, height, width)
  if flow.shape != (*steps, 2) or valid.shape != steps:
    raise ValueError(
      f'predictions {predictions.shape} need a flow of shape {(*steps, 2)} and '
      f'a valid of shape {steps}, got {flow.shape} and {valid.shape}'
    )
  # Ties go up everywhere: rounding to even would stripe half a pixel of motion.
  columns = jnp.arange(width).reshape(1, 1, 1, -1)
  rows = jnp.arange(height).reshape(1, 1, -1, 1)
  x = jnp.floor(flow[..., 0] + columns + 0.5)
  y = jnp.floor(flow[..., 1] + rows + 0.5)
  counted = valid.astype(bool) & (0 <= x) & (x < width)
  counted &= (0 <= y) & (y < height)
  source = jnp.where(counted, y, 0).astype(jnp.int32) * width
  source += jnp.where(counted, x, 0).astype(jnp.int32)
  before = jnp.take_along_axis(
    predictions[:, :-1].reshape(batch, frames - 1, height * width),
    source.reshape(batch, frames - 1, height * width),
    axis=-1,
  ).reshape(steps)
  kept = counted & (before == predictions[:, 1:])
  return {'kept': kept.sum((1, 2, 3)), 'moved': counted.sum((1, 2, 3))}
