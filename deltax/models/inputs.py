"""What the networks are shown: pixels as they were trained on."""

import jax.numpy as jnp

from deltax.types import Array

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(frames: Array) -> Array:
  """uint8 RGB, 0 to 255, to float32 of about zero mean and unit variance."""
  mean, std = (jnp.asarray(x, jnp.float32) * 255 for x in (MEAN, STD))
  axes = tuple(range(frames.ndim - 1))
  mean, std = jnp.expand_dims(mean, axes), jnp.expand_dims(std, axes)
  return (frames.astype(jnp.float32) - mean) / std
