"""Who decides which pairs are worth the expensive comparison."""

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers import BatchNorm
from deltax.layers.noise import Dropout
from deltax.retrieval.networks.attention import Attention
from deltax.retrieval.networks.comparator import Comparator
from deltax.types import Array

_XAVIER = nn.initializers.xavier_uniform()


class Selector(nn.Module):
  """Predicts that the coarse score of a pair is far from the fine one.

  Its inputs are three numbers: how alike the frames of each video are to each
  other, computed once a video, and the coarse score.

  Attributes:
    hidden: units of both hidden layers.
    dropout: share of them that training drops.
    axis_name: mapped axis over which batch statistics are pooled.

  Source: DnS, section 3.4.
  """

  hidden: int = 100
  dropout: float = 0.5
  axis_name: str | None = None

  def setup(self):
    self.attention = Attention()
    self.head = Comparator()
    self.mlp = _Decision(self.hidden, self.dropout, self.axis_name)

  def self_similarity(self, regions: Array, mask: Array | None = None) -> Array:
    """How alike the frames of a video are to each other.

    Args:
      regions: `[B, T, R, D]` unit vectors, T at least 4.
      mask: `[B, T]`, exactly 1 for a real frame and 0 for one that pads; all
        are real when absent. More frames that pad change nothing.

    Returns:
      `[B]`, of any sign and size.
    """
    # The mean over all pairs of regions is the product of the means.
    frames = self.attention(regions).mean(-2)
    alike = jnp.einsum('btd,bsd->bts', frames, frames)
    if mask is None:
      return self.head(alike)[0].mean((1, 2))
    raw, both = self.head(alike, mask[:, :, None] * mask[:, None, :])
    total = (raw * both).sum((1, 2))
    return total / jnp.maximum(both.sum((1, 2)), 1)

  def decide(
    self, query: Array, target: Array, coarse: Array, train: bool = False
  ) -> Array:
    """Whether the fine score of a pair is needed.

    Args:
      query: `[N]`, the self-similarity of the query.
      target: `[N]`, of the target.
      coarse: `[N]`, the dot product of their coarse vectors, in [-1, 1].
      train: whether dropout is on, which needs the 'dropout' generator, and the
        batch's own statistics are used.

    Returns:
      `[N]` logits; the sigmoid is the probability that it is.
    """
    return self.mlp(jnp.stack([query, target, coarse], -1), train)

  def __call__(
    self,
    query: Array,
    target: Array,
    query_mask: Array | None,
    target_mask: Array | None,
    coarse: Array,
    train: bool = False,
  ) -> Array:
    """`decide` on the regions of pairs, `[B, T, R, D]` and `[B, S, P, D]`."""
    return self.decide(
      self.self_similarity(query, query_mask),
      self.self_similarity(target, target_mask),
      coarse,
      train,
    )


class _Decision(nn.Module):
  hidden: int
  dropout: float
  axis_name: str | None

  @nn.compact
  def __call__(self, x, train):
    for layer in '12':
      x = nn.Dense(
        self.hidden,
        use_bias=False,
        kernel_init=_XAVIER,
        name='linear' + layer,
      )(x)
      x = BatchNorm(axis_name=self.axis_name, name='norm' + layer)(x, not train)
      x = Dropout(self.dropout)(nn.relu(x), train)
    return nn.Dense(1, kernel_init=_XAVIER, name='output')(x)[..., 0]
