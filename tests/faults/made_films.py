"""Films of noise, and a search system that knows their pixels.

A real extractor would take seconds to load, and knows no noise.
"""

import os

import numpy as np
from PIL import Image

from deltax import retrieval
from deltax.retrieval.system import Network, System

RATE = 4


def extract(frames):
  """Regions of a 3 x 3 grid: their pixels, coarsely."""
  small = frames[:, :222, :222].astype(np.float32)
  cells = small.reshape(len(frames), 3, 74, 3, 74, 3)[:, :, :72, :, :72]
  cells = cells.reshape(len(frames), 3, 4, 18, 3, 4, 18, 3).mean((3, 6))
  x = cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), 9, 48) - 127
  return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def fake_system(model=None):
  options = dict(attention=False, transformer=False, netvlad=False)
  return System(
    extract=extract,
    coarse=Network(retrieval.create('coarse', **options), {}),
    fine=Network(retrieval.create('fine_plain', comparator=False), {}),
    selector=None,
    description={'name': 'fake'},
    fingerprint='beef' if isinstance(model, os.PathLike) else 'f00d',
  )


def film(seed, seconds):
  """Blurred noise, another picture every second."""
  rng = np.random.default_rng(seed)
  noise = rng.integers(0, 256, (seconds, 8, 8, 3), np.uint8)
  frames = [np.array(Image.fromarray(x).resize((64, 64))) for x in noise]
  return np.repeat(np.stack(frames), RATE, 0)
