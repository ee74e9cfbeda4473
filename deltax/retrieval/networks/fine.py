"""Frame-level networks: the teacher, and the students that compare frames."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax.retrieval.networks.attention import Attention, DotAttention
from deltax.retrieval.networks.comparator import Comparator
from deltax.retrieval.networks.similarity import (
  chamfer,
  frame_similarity,
  symmetric_chamfer,
  unit,
)
from deltax.types import Array

INDEXES = ('attention', 'binary', 'dot', 'none')
_STEEPNESS = (2 * 1e-6) ** -0.5  # of the step that stands for the sign


class Comparison(NamedTuple):
  """What comparing B pairs of videos gives.

  Attributes:
    score: `[B]`, in [-1, 1].
    raw: `[B, t, s]`, the comparator's output before its limits are applied,
      with a row or column for 4 frames; `frames` without a comparator.
    mask: `[B, t, s]`, 1 where `raw` counts; None if all of it does.
    frames: `[B, T, S]`, similarities of frames.
  """

  score: Array
  raw: Array
  mask: Array | None
  frames: Array


class Binarization(nn.Module):
  """Signs of D projections of a region: D bits.

  The published start of `projection` is `deltax.retrieval.fit_itq`'s result;
  here it is a random rotation.

  Source: DnS, section 3.2.2.
  """

  @nn.compact
  def __call__(self, regions: Array, train: bool = False) -> Array:
    """Codes of `[..., D]` regions.

    Args:
      regions: of any length.
      train: whether a steep error function stands in for the sign, so that
        there is a gradient.

    Returns:
      `[..., D]` of -1, 1, and 0 for a zero region; in training, in [-1, 1].
    """
    size = regions.shape[-1]
    projection = self.param(
      'projection', nn.initializers.orthogonal(), (size, size)
    )
    # Half the digits, as an accelerator may take them, would flip signs.
    values = jnp.matmul(unit(regions), projection, precision='highest')
    return jax.lax.erf(_STEEPNESS * values) if train else jnp.sign(values)


class VideoSimilarity(nn.Module):
  """Codes of videos, and the comparison of two.

  Attributes:
    index: what the code of a region is: 'attention' and 'dot', the region times
      its weight; 'binary', signs; 'none', the region itself.
    padding: of the comparator, 'zero' or 'replicate'.
    symmetric: whether similarities are means over both directions. The network
      is not symmetric even so, as its comparator is not.
    mask_output: of the comparator.
    comparator: whether there is one; without, frames are matched alone.

  Source: Kordopatis-Zilos et al., "DnS: Distill-and-Select for Efficient and
  Accurate Video Indexing and Retrieval", IJCV 2022, section 3.2; ViSiL, ICCV
  2019, for 'dot'.
  """

  index: str = 'attention'
  padding: str = 'zero'
  symmetric: bool = False
  mask_output: bool = False
  comparator: bool = True

  def setup(self):
    if self.index not in INDEXES:
      raise ValueError(f'no index {self.index!r}; known: {", ".join(INDEXES)}')
    if self.index == 'attention':
      self.attention = Attention()
    elif self.index == 'dot':
      self.attention = DotAttention()
    elif self.index == 'binary':
      self.binarization = Binarization()
    if self.comparator:
      self.head = Comparator(self.padding, self.mask_output)

  def encode(self, regions: Array, train: bool = False) -> Array:
    """The code of a video, all that a comparison needs.

    Args:
      regions: `[..., R, D]` unit vectors; zero frames pad.
      train: whether signs are softened.

    Returns:
      `[..., R, D]`; zero frames stay zero. Of 'binary', -1, 0 and 1.
    """
    if self.index in ('attention', 'dot'):
      return self.attention(regions)
    if self.index == 'binary':
      return self.binarization(regions, train)
    return regions

  def compare(
    self,
    query: Array,
    target: Array,
    query_mask: Array | None = None,
    target_mask: Array | None = None,
  ) -> Comparison:
    """Compares pairs of codes.

    Args:
      query: `[B, T, R, D]` codes, T at least 4.
      target: `[B, S, P, D]` codes, S at least 4.
      query_mask: `[B, T]`, exactly 1 for a real frame and 0 for one that pads;
        all are real when absent.
      target_mask: `[B, S]`, the same.

    Returns:
      How much of the query is found in the target, by pair.
    """
    frames = frame_similarity(query, target, symmetric=self.symmetric)
    if self.index == 'binary':
      frames = frames / query.shape[-1]
    return self.compare_frames(frames, query_mask, target_mask)

  def compare_frames(
    self,
    frames: Array,
    query_mask: Array | None = None,
    target_mask: Array | None = None,
  ) -> Comparison:
    """What follows on the similarities of frames.

    Args:
      frames: `[B, T, S]` in [-1, 1], T and S at least 4.
      query_mask: `[B, T]`, as of `compare`.
      target_mask: `[B, S]`, the same.

    Returns:
      The comparison, by pair.
    """
    mask = _pairs(frames.shape, query_mask, target_mask)
    raw, limited = frames, frames
    if self.comparator:
      raw, mask = self.head(frames, mask)
      limited = jnp.clip(raw, -1.0, 1.0)
    both = (None, None) if mask is None else (mask.max(-1), mask.max(-2))
    score = (symmetric_chamfer if self.symmetric else chamfer)(limited, *both)
    return Comparison(score, raw, mask, frames)

  def __call__(
    self,
    query: Array,
    target: Array,
    query_mask: Array | None = None,
    target_mask: Array | None = None,
    train: bool = False,
  ) -> Comparison:
    """`compare` of the codes of regions `[B, T, R, D]` and `[B, S, P, D]`."""
    return self.compare(
      self.encode(query, train),
      self.encode(target, train),
      query_mask,
      target_mask,
    )


def _pairs(shape, query_mask, target_mask):
  """`[B, T, S]`, 1 where both frames are real; None if all are."""
  if query_mask is None and target_mask is None:
    return None
  if query_mask is None:
    query_mask = jnp.ones(shape[:2])
  if target_mask is None:
    target_mask = jnp.ones((shape[0], shape[2]))
  return query_mask[:, :, None] * target_mask[:, None, :]
