"""Weights of the regions of a frame."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax.types import Array, Key

_XAVIER = nn.initializers.xavier_uniform()


def _unit_normal(key: Key, shape: tuple[int, int], dtype=jnp.float32) -> Array:
  drawn = jax.random.normal(key, shape, dtype)
  return drawn / jnp.linalg.norm(drawn)


class Attention(nn.Module):
  """Weights in (0, 1) from a hidden layer and a learned context.

  Source: DnS, section 3.2.1: the sigmoid of u . tanh(A r + b).
  """

  @nn.compact
  def __call__(self, regions: Array) -> Array:
    """Weighs regions.

    Args:
      regions: `[..., D]`.

    Returns:
      `[..., D]` regions times their weights: no longer of length 1, and zero
      where they were.
    """
    hidden = nn.Dense(regions.shape[-1], kernel_init=_XAVIER, name='transform')(
      regions
    )
    weight = nn.Dense(
      1, use_bias=False, kernel_init=_XAVIER, name='context_vector'
    )(jnp.tanh(hidden))
    return regions * nn.sigmoid(weight)


class DotAttention(nn.Module):
  """Weights (u . r + 1) / 2, in [0, 1] while u is of length 1.

  It starts at that length, and nothing holds it there: as published.

  Source: ViSiL, section 3.1.
  """

  @nn.compact
  def __call__(self, regions: Array) -> Array:
    """Weighs regions `[..., D]`, as `Attention` does."""
    cosine = nn.Dense(
      1, use_bias=False, kernel_init=_unit_normal, name='context_vector'
    )(regions)
    return regions * (cosine / 2 + 0.5)
