"""The student that makes one vector of a video."""

import flax.linen as nn
import jax.numpy as jnp

from deltax.retrieval.networks.attention import Attention
from deltax.retrieval.networks.netvlad import NetVLAD
from deltax.retrieval.networks.similarity import unit
from deltax.retrieval.networks.transformer import Encoder
from deltax.types import Array


class CoarseStudent(nn.Module):
  """One vector a video: regions weighed and summed, frames related, pooled.

  Two videos are as alike as the dot product of their vectors.

  Attributes:
    attention: whether regions are weighed before they are summed.
    transformer: whether frames see one another.
    netvlad: whether NetVLAD pools the frames; otherwise their mean does, of
      the regions' size.
    clusters: of NetVLAD.
    size: of the vector, with NetVLAD.
    heads: of the Transformer.
    hidden: units of its feed-forward part.
    dropout: of the Transformer.

  Source: DnS, section 3.2.3.
  """

  attention: bool = True
  transformer: bool = True
  netvlad: bool = True
  clusters: int = 64
  size: int = 1024
  heads: int = 8
  hidden: int = 2048
  dropout: float = 0.1

  @nn.compact
  def __call__(
    self, regions: Array, mask: Array | None = None, train: bool = False
  ) -> Array:
    """One vector a video.

    Args:
      regions: `[B, T, R, D]` unit vectors.
      mask: `[B, T]`, exactly 1 for a real frame and 0 for one that pads; all
        are real when absent. Frames that pad change nothing.
      train: whether dropout is on; needs the 'dropout' generator.

    Returns:
      `[B, E]` vectors of length 1, E being `size` or, without NetVLAD, D. Of a
      video without a real frame, finite and of no use.
    """
    if self.attention:
      regions = Attention(name='weights')(regions)
    x = unit(regions.sum(-2))
    if self.transformer:
      encoder = Encoder(self.heads, self.hidden, self.dropout, name='encoder')
      x = encoder(x, mask, train)
    if self.netvlad:
      return unit(NetVLAD(self.clusters, self.size, name='pool')(x, mask))
    if mask is None:
      return unit(x.mean(1))
    total = (x * mask[..., None]).sum(1)
    return unit(total / jnp.maximum(mask.sum(1), 1)[:, None])
