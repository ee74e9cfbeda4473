"""The network that compares two videos by the similarities of their frames."""

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers import fast_conv, max_pool
from deltax.types import Array

STRIDE = 4  # frames of a row or column of the output
PADDINGS = ('zero', 'replicate')


class Comparator(nn.Module):
  """Finds the patterns of temporal alignment in a matrix of similarities.

  Three 3x3 convolutions, the first two followed by 2x2 max pooling, and one of
  1x1. An output at i sees rows 4 i - 7 to 4 i + 10 of the input.

  What a mask does depends on the padding:

  * 'zero', as the students are published: masked places are zero at the input
    and after each 3x3 convolution, and an output counts if any of its 4 x 4
    inputs does. More masked frames change nothing; but the result is that of
    the unpadded videos only where their lengths are multiples of 4 (else up to
    three last frames, which pooling drops there, count here).
  * 'replicate': the last rows and columns that count are repeated around each
    convolution, and the last 1 to 3 frames are dropped, so that the result is
    that of the unpadded videos.

  Attributes:
    padding: what surrounds the matrix, 'zero' or 'replicate'.
    mask_output: whether the outputs that do not count are zero; otherwise they
      are what the last convolution gives for zeros, its bias, at least.

  Source: ViSiL, section 3.4; DnS, section 3.2.
  """

  padding: str = 'zero'
  mask_output: bool = False

  @nn.compact
  def __call__(
    self, frames: Array, mask: Array | None = None
  ) -> tuple[Array, Array | None]:
    """Compares pairs of videos.

    Args:
      frames: `[B, T, S]` float similarities, T and S at least 4.
      mask: `[B, T, S]`, 1 where both frames are real and 0 elsewhere: the first
        rows and columns of a pair. All are real when absent.

    Returns:
      `[B, T // 4, S // 4]` similarities before their limits, [-1, 1], are
      applied; and the mask of that shape, None without one.

    Raises:
      ValueError: T or S is less than 4, or the padding is unknown.
    """
    if self.padding not in PADDINGS:
      raise ValueError(
        f'no padding {self.padding!r}; known: {", ".join(PADDINGS)}'
      )
    if min(frames.shape[1:]) < STRIDE:
      raise ValueError(
        f'frame similarities of shape {frames.shape}: expected at least '
        f'{STRIDE} frames on both sides; repeat the frames of a short video'
      )
    zero = self.padding == 'zero'
    widen = _surround_with_zeros if zero else _repeat_borders
    x = frames[..., None]
    if mask is not None:
      mask = mask[..., None]
      x = x * mask
    for name, features, pooled in _LAYERS:
      x = _conv(features, 3, name)(widen(x, mask))
      if mask is not None and zero:
        x = x * mask
      x = nn.relu(x)
      if pooled:
        x = max_pool(x, 2, 2, 'VALID')
        if mask is not None:
          # Any input that counts; or all four, as if none were beyond.
          mask = max_pool(mask, 2, 2, 'VALID') if zero else mask[:, 1::2, 1::2]
    x = _conv(1, 1, 'fconv')(x)
    if mask is None:
      return x[..., 0], None
    if self.mask_output:
      x = x * mask
    return x[..., 0], mask[..., 0]


_LAYERS = (('conv1', 32, True), ('conv2', 64, True), ('conv3', 128, False))


def _conv(features: int, kernel: int, name: str) -> nn.Conv:
  return nn.Conv(
    features,
    (kernel, kernel),
    padding='VALID',
    kernel_init=nn.initializers.xavier_uniform(),
    conv_general_dilated=fast_conv,
    name=name,
  )


def _surround_with_zeros(x: Array, mask: Array | None) -> Array:
  del mask
  return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _repeat_borders(x: Array, mask: Array | None) -> Array:
  """One more row and column around what counts, equal to the border's."""
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), 'edge')
  if mask is None:
    return x
  for axis in (1, 2):
    length = mask.max((3 - axis, 3)).sum(1).astype(jnp.int32)
    places = jnp.arange(x.shape[axis])[None]
    # Place 0 is the added one, so the last that counts stands at `length`.
    places = jnp.minimum(places, jnp.maximum(length, 1)[:, None])
    places = jnp.expand_dims(places, (3 - axis, 3))
    x = jnp.take_along_axis(x, places, axis)
  return x
