"""Distill-and-select: networks that find copies of videos, fast and slow."""

import functools
from typing import Any

import flax.linen as nn

from deltax.retrieval.networks.coarse import CoarseStudent
from deltax.retrieval.networks.comparator import STRIDE, Comparator
from deltax.retrieval.networks.fine import Comparison, VideoSimilarity
from deltax.retrieval.networks.itq import fit_itq
from deltax.retrieval.networks.regions import (
  Whitening,
  fit_whitening,
  pad_short,
  region_pool,
  whiten,
  whitening,
)
from deltax.retrieval.networks.selector import Selector
from deltax.retrieval.networks.similarity import (
  chamfer,
  frame_similarity,
  symmetric_chamfer,
  unit,
)

__all__ = [
  'NETWORKS',
  'STRIDE',
  'CoarseStudent',
  'Comparator',
  'Comparison',
  'Selector',
  'VideoSimilarity',
  'Whitening',
  'chamfer',
  'create',
  'fit_itq',
  'fit_whitening',
  'frame_similarity',
  'pad_short',
  'region_pool',
  'symmetric_chamfer',
  'unit',
  'whiten',
  'whitening',
]

_visil = functools.partial(VideoSimilarity, index='dot', padding='replicate')
NETWORKS = {
  'visil': _visil,
  'visil_symmetric': functools.partial(_visil, symmetric=True),
  'fine_attention': VideoSimilarity,
  'fine_binary': functools.partial(VideoSimilarity, index='binary'),
  'fine_plain': functools.partial(VideoSimilarity, index='none'),
  's2vs': functools.partial(VideoSimilarity, mask_output=True),
  'coarse': CoarseStudent,
  'selector': Selector,
}


def create(name: str, **options: Any) -> nn.Module:
  """A network by its name.

  Args:
    name: one of `NETWORKS`.
    **options: attributes of the module.

  Returns:
    A module.

  Raises:
    ValueError: if no network has that name.

  Example:
    >>> create('fine_binary').index
    'binary'
  """
  if name not in NETWORKS:
    raise ValueError(f'no network {name!r}; known: {", ".join(NETWORKS)}')
  return NETWORKS[name](**options)
