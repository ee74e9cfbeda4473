"""A Transformer's encoder layer over the frames of a video."""

import math

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers.noise import Dropout
from deltax.types import Array

_XAVIER = nn.initializers.xavier_uniform()
# Uniform within the inverse root of the number of inputs.
_UNIFORM = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
_NEVER = -1e30  # the logit of a masked frame; finite, for a video of only those


class Encoder(nn.Module):
  """One layer, normalised after each part, and a last normalisation.

  It knows no positions: the order of the frames does not matter.

  Attributes:
    heads: of the attention; they divide D.
    hidden: units of the feed-forward part.
    dropout: share of the attention, the hidden units and both parts' results
      that training drops.

  Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, as used in
  DnS, section 3.2.3.
  """

  heads: int = 8
  hidden: int = 2048
  dropout: float = 0.1

  @nn.compact
  def __call__(
    self, x: Array, mask: Array | None = None, train: bool = False
  ) -> Array:
    """Lets every frame see the others.

    Args:
      x: `[B, T, D]` frames.
      mask: `[B, T]`, 1 for a frame that others may see; all when absent.
      train: whether dropout is on; needs the 'dropout' generator.

    Returns:
      `[B, T, D]`; of a masked frame, nothing of use.
    """
    size = x.shape[-1]

    def drop(values):
      return Dropout(self.dropout)(values, train)

    def norm(name):
      return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)

    def heads(values):
      return values.reshape(*values.shape[:2], self.heads, -1)

    seen = nn.Dense(3 * size, kernel_init=_XAVIER, name='in_proj')(x)
    query, key, value = map(heads, jnp.split(seen, 3, -1))
    logits = jnp.einsum('bthd,bshd->bhts', query, key)
    logits = logits / math.sqrt(size // self.heads)
    if mask is not None:
      logits = jnp.where(mask[:, None, None] > 0, logits, _NEVER)
    shares = drop(nn.softmax(logits))
    mixed = jnp.einsum('bhts,bshd->bthd', shares, value).reshape(x.shape)
    mixed = nn.Dense(size, kernel_init=_UNIFORM, name='out_proj')(mixed)
    x = norm('norm1')(x + drop(mixed))
    y = nn.Dense(self.hidden, kernel_init=_UNIFORM, name='linear1')(x)
    y = nn.Dense(size, kernel_init=_UNIFORM, name='linear2')(drop(nn.relu(y)))
    x = norm('norm2')(x + drop(y))
    return norm('norm')(x)
