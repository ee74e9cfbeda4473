"""Batch normalisation with the running statistics that PyTorch keeps."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from deltax.types import Array


class BatchNorm(nn.BatchNorm):
  """`nn.BatchNorm` whose running variance is unbiased, as PyTorch's is.

  With batch statistics, the output is normalised by the biased variance, and
  the running variance moves towards the unbiased one (times n / (n - 1) for n
  values a channel). `axis_name` pools the statistics over the devices of that
  mapped axis.

  Attributes:
    momentum: share of the old running statistics that an update keeps.
    epsilon: added to the variance.
  """

  momentum: float = 0.9

  @nn.compact
  def __call__(
    self, x: Array, use_running_average: bool | None = None
  ) -> Array:
    """Normalises `[..., C]` over all axes but the last.

    Args:
      x: activations.
      use_running_average: whether the stored statistics are used; given here
        or as the attribute, not as both.

    Returns:
      The normalised activations, in the shape of `x`.
    """
    running = nn.merge_param(
      'use_running_average', self.use_running_average, use_running_average
    )
    channels = x.shape[-1:]
    zeros, ones = nn.initializers.zeros_init(), nn.initializers.ones_init()
    scale = self.param('scale', ones, channels)
    bias = self.param('bias', zeros, channels)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    var = self.variable('batch_stats', 'var', jnp.ones, channels)
    if running:
      return self._normalise(x, mean.value, var.value, scale, bias)

    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    pooled = self.axis_name is not None and not self.is_initializing()

    def average(values):
      values = values.mean(axes)
      return lax.pmean(values, self.axis_name) if pooled else values

    if pooled:
      count *= lax.axis_size(self.axis_name)
    batch_mean = average(x)
    batch_var = average(jnp.square(x - jnp.expand_dims(batch_mean, axes)))
    if not self.is_initializing():
      keep = self.momentum
      unbiased = batch_var * (count / max(count - 1, 1))
      mean.value = keep * mean.value + (1 - keep) * batch_mean
      var.value = keep * var.value + (1 - keep) * unbiased
    return self._normalise(x, batch_mean, batch_var, scale, bias)

  def _normalise(self, x, mean, var, scale, bias):
    scale = scale * lax.rsqrt(var + self.epsilon)
    shift = bias - mean * scale
    axes = tuple(range(x.ndim - 1))
    return x * jnp.expand_dims(scale, axes) + jnp.expand_dims(shift, axes)
