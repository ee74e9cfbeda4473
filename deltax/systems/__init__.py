"""Retrieval systems: made, saved and opened, and what they do with many videos.

from deltax import systems

systems.index_files('my.index', ['films/'])
systems.open_searcher('my.index').search_file('query.mp4', least=0.5)
"""

from deltax.systems.calibrating import calibrate
from deltax.systems.extractors import (
  EXTRACTORS,
  Extractor,
  make_delta_extractor,
  make_extractor,
  read_whitening,
)
from deltax.systems.folder import (
  SHIPPED,
  UNTRAINED,
  Part,
  make_system,
  open_system,
  save_system,
)
from deltax.systems.indexing import (
  Added,
  add_videos,
  index_features,
  index_files,
  open_index,
)
from deltax.systems.known import refresh
from deltax.systems.reading import ReadVideo, read_query, read_video
from deltax.systems.runs import read_part
from deltax.systems.scoring import Scores, score_all, score_pairs
from deltax.systems.searching import FileSearcher, open_searcher

__all__ = [
  'EXTRACTORS',
  'SHIPPED',
  'UNTRAINED',
  'Added',
  'Extractor',
  'FileSearcher',
  'Part',
  'ReadVideo',
  'Scores',
  'add_videos',
  'calibrate',
  'index_features',
  'index_files',
  'make_delta_extractor',
  'make_extractor',
  'make_system',
  'open_index',
  'open_searcher',
  'open_system',
  'read_part',
  'read_query',
  'read_video',
  'read_whitening',
  'refresh',
  'save_system',
  'score_all',
  'score_pairs',
]
