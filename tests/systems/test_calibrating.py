"""Systems whose scores mean something, and queries seen from elsewhere."""

import cv2
import numpy as np
import pytest

from deltax import retrieval, systems
from deltax.data.features.annotations import Copies
from deltax.data.images import views
from deltax.data.video.files import write_video
from deltax.retrieval.system import Network, System
from deltax.systems import reading


def extract(frames):
  """Regions of a 3 x 3 grid: their pixels, coarsely."""
  small = np.stack([cv2.resize(x, (12, 12)) for x in frames])
  cells = small.reshape(len(frames), 3, 4, 3, 4, 3).astype(np.float32) - 127
  x = cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), 9, 48)
  return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def make_system():
  options = dict(attention=False, transformer=False, netvlad=False)
  return System(
    extract=extract,
    coarse=Network(retrieval.create('coarse', **options), {}),
    fine=Network(retrieval.create('fine_plain', comparator=False), {}),
    selector=None,
    description={},
    fingerprint='fake',
  )


def film(seed, seconds=6):
  """Smooth pictures, another every second."""
  rng = np.random.default_rng(seed)
  noise = rng.integers(0, 256, (seconds, 6, 6, 3), np.uint8)
  return np.stack([cv2.resize(x, (64, 64)) for x in noise])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Eight films and a dull copy of each."""
  folder = tmp_path_factory.mktemp('videos')
  for seed in range(8):
    frames = film(seed)
    write_video(folder / f'v{seed}.mp4', frames, 1.0)
    write_video(folder / f'v{seed}-copy.mp4', frames // 2 + 64, 1.0)
  return folder


ANNOTATION = Copies(
  {f'v{n}': frozenset([f'v{n}-copy']) for n in range(8)},
  frozenset(f'v{n}{end}' for n in range(8) for end in ('', '-copy')),
)


def test_a_calibrated_system_tells_copies_from_others(folder):
  system = make_system()
  scale = systems.calibrate(system, folder, ANNOTATION, false_alarms=2.0)
  assert scale.false_alarms == 2 and scale.fine[0] > 0
  system = system._replace(calibration=scale)
  regions = {
    path.stem: systems.read_video(system, path).regions
    for path in sorted(folder.iterdir())
  }
  made = folder.parent / 'made.index'
  index = systems.index_features(made, regions, system)
  searcher = retrieval.Searcher(index, system)
  for name, copies in ANNOTATION.relevant.items():
    query = systems.read_query(system, folder / f'{name}.mp4')
    found = searcher.search(query.regions, views=query.views, least=0.5)
    assert {match.name for match in found.matches} == {name, *copies}
    assert found.matches[0].score == pytest.approx(1, abs=1e-5)
    assert found.false_alarms == 2
  noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
  found = searcher.search(extract(noise), least=0.5)
  assert not found.matches and found.best < 0.5


def test_an_annotation_without_videos_is_an_error(folder):
  with pytest.raises(ValueError, match='no videos to search in'):
    systems.calibrate(make_system(), folder, Copies({'v0': frozenset()}))
  with pytest.raises(ValueError, match='copies, and others'):
    nothing = Copies({'v0': frozenset()}, frozenset(['v0', 'v1']))
    systems.calibrate(make_system(), folder, nothing)


def test_views_are_the_middle_enlarged_and_the_whole_made_smaller():
  rng = np.random.default_rng(0)
  frames = cv2.resize(rng.integers(0, 256, (5, 8, 3), np.uint8), (80, 50))[None]
  nearer, farther = views(frames)
  assert nearer.shape == farther.shape == frames.shape
  middle = cv2.resize(frames[0, 7:42, 12:68], (80, 50))
  assert abs(nearer[0].astype(int) - middle).max() <= 1
  assert not farther[0, :5].any() and not farther[0, :, :8].any()
  small = cv2.resize(farther[0, 5:45, 8:72], (80, 50))
  assert abs(small.astype(int) - frames[0]).mean() < 4


def test_a_part_of_the_picture_is_found_by_a_view(folder, tmp_path):
  system, frames = make_system(), film(3)
  part = np.stack([cv2.resize(x[10:54, 10:54], (64, 64)) for x in frames])
  regions = {f'v{n}': extract(film(n)) for n in range(8) if n != 3}
  index = systems.index_features(
    tmp_path / 'i', {**regions, 'part': extract(part)}, system
  )
  searcher, scores = retrieval.Searcher(index, system), []
  for seen in ((), [extract(x) for x in views(frames)]):
    for budget in (0, 100):
      found = searcher.search(
        extract(frames), views=seen, budget=retrieval.Budget(budget)
      )
      scores.append({match.name: match for match in found.matches}['part'])
  coarse, fine, coarse_seen, fine_seen = scores
  assert coarse_seen.coarse > coarse.coarse + 0.1
  assert fine_seen.score > fine.score + 0.02


def test_a_long_query_has_no_other_views(folder, monkeypatch):
  system = make_system()
  assert len(systems.read_query(system, folder / 'v0.mp4').views) == 2
  monkeypatch.setattr(reading, 'VIEWED', 5)
  query = systems.read_query(system, folder / 'v0.mp4')
  assert query.views == () and len(query.regions) == 6
