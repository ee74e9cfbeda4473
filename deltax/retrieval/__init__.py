"""Distill-and-select: networks that find copies of videos, fast and slow.

To search: an `Index` of videos that a `System` encoded, opened by a `Searcher`.
`deltax.systems` makes both from video files. To build a search of one's own:
`create` a network, `encode` videos, `make_compare` one query with many of them
and `find_segments` that match.
"""

from deltax.retrieval.compare.bits import pack, unpack
from deltax.retrieval.compare.many import make_compare
from deltax.retrieval.compare.segments import Segment, find_segments
from deltax.retrieval.fitting import (
  Whitening,
  fit_whitening,
  whiten,
  whitening,
)
from deltax.retrieval.index.folder import Index
from deltax.retrieval.networks import NETWORKS, create
from deltax.retrieval.networks.coarse import CoarseStudent
from deltax.retrieval.networks.comparator import STRIDE, Comparator
from deltax.retrieval.networks.fine import Comparison, VideoSimilarity
from deltax.retrieval.networks.itq import fit_itq
from deltax.retrieval.networks.regions import pad_short, region_pool
from deltax.retrieval.networks.selector import Selector
from deltax.retrieval.networks.similarity import (
  chamfer,
  frame_similarity,
  symmetric_chamfer,
  unit,
)
from deltax.retrieval.search.searcher import Budget, Searcher
from deltax.retrieval.system import Network, System, encode

__all__ = [
  'NETWORKS',
  'STRIDE',
  'Budget',
  'CoarseStudent',
  'Comparator',
  'Comparison',
  'Index',
  'Network',
  'Searcher',
  'Segment',
  'Selector',
  'System',
  'VideoSimilarity',
  'Whitening',
  'chamfer',
  'create',
  'encode',
  'find_segments',
  'fit_itq',
  'fit_whitening',
  'frame_similarity',
  'make_compare',
  'pack',
  'pad_short',
  'region_pool',
  'symmetric_chamfer',
  'unit',
  'unpack',
  'whiten',
  'whitening',
]
