"""Features by name: of a file, or made up where none is named."""

import os
from collections.abc import Mapping

import numpy as np

from deltax.data.features.made import make_features
from deltax.data.features.similarities import Similarities
from deltax.data.features.store import open_features


def open_or_make(
  path: str | os.PathLike,
) -> tuple[Mapping[str, np.ndarray], Similarities | None]:
  """Features, and the pairs that belong to made ones.

  Args:
    path: a feature store or a published HDF5 file; '' makes a few videos and
      copies of them, for a first look.

  Returns:
    The features, and None; or made features, and every video with its copies
    (score 0.9) and all other videos (score -0.6).
  """
  if path:
    return open_features(path), None
  made = make_features()
  pairs = {}
  for anchor, source in made.source.items():
    alike = {n for n, own in made.source.items() if own == source} - {anchor}
    others = set(made.source) - alike - {anchor}
    pairs[anchor] = (
      dict.fromkeys(sorted(alike), 0.9),
      dict.fromkeys(sorted(others), -0.6),
    )
  return made.features, Similarities(pairs)
