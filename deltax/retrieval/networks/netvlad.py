"""Many frames as one vector, by their differences from learned centroids."""

import flax.linen as nn
import jax.numpy as jnp

from deltax.retrieval.networks.similarity import unit
from deltax.types import Array


class NetVLAD(nn.Module):
  """Soft assignment to clusters, sums of differences, and a projection.

  Attributes:
    clusters: number of centroids.
    size: of the result.

  Source: Arandjelovic et al., "NetVLAD", CVPR 2016; DnS, section 3.2.3.
  """

  clusters: int = 64
  size: int = 1024

  @nn.compact
  def __call__(self, x: Array, mask: Array | None = None) -> Array:
    """Pools frames.

    Args:
      x: `[B, T, D]` frames.
      mask: `[B, T]`, 1 for a frame that counts; all when absent.

    Returns:
      `[B, size]`, normalised over its features as layer norm does.
    """
    depth = x.shape[-1]
    spread = nn.initializers.normal
    centroids = self.param(
      'centroids', spread(depth**-0.5), (depth, self.clusters)
    )
    # A frame belongs at first to the centroid that it points to.
    assignment = self.param('assignment', lambda key: jnp.array(centroids))
    shares = nn.softmax(x @ assignment)
    if mask is not None:
      shares = shares * mask[..., None]
    sums = jnp.einsum('btk,btd->bkd', shares, x)
    sums = sums - shares.sum(1)[..., None] * centroids.T[None]
    flat = unit(unit(sums).reshape(len(x), -1))
    flat = nn.Dense(
      self.size,
      use_bias=False,
      kernel_init=spread((depth * self.clusters) ** -0.5),
      name='reduction',
    )(flat)
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name='norm')(
      flat
    )
