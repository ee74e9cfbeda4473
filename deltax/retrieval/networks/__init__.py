"""The networks of distill-and-select, by name, and what they learn from."""

import functools
from typing import Any

import flax.linen as nn

from deltax.retrieval.networks.coarse import CoarseStudent
from deltax.retrieval.networks.fine import VideoSimilarity
from deltax.retrieval.networks.selector import Selector

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
  """Makes a network by its name.

  Args:
    name: one of `NETWORKS`.
    **options: attributes of the module, such as `size` of 'coarse'.

  Returns:
    A linen module: 'coarse' is a `CoarseStudent`, 'selector' a `Selector`, and
    any other a `VideoSimilarity`.

  Raises:
    ValueError: if no network has that name, or it has not such an option.

  Example:
    >>> create('fine_binary').index
    'binary'
  """
  if name not in NETWORKS:
    raise ValueError(f'no network {name!r}; known: {", ".join(NETWORKS)}')
  known = dict.fromkeys(NETWORKS[name]().__dataclass_fields__)
  known = [field for field in known if field not in ('parent', 'name')]
  unknown = [str(option) for option in options if option not in known]
  if unknown:
    raise ValueError(
      f'the network {name!r} has no option {", ".join(unknown)}; known: '
      f'{", ".join(known)}'
    )
  return NETWORKS[name](**options)
