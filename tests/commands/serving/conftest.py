"""Videos, and an index of them, for the tests of the server."""

import numpy as np
import pytest
from made_films import RATE, fake_system, film

from deltax import systems
from deltax.data.video.files import write_video
from deltax.systems import folder as retrieval_system


@pytest.fixture(scope='module')
def films(tmp_path_factory):
  """A folder with videos, an index of them, and a query."""
  folder = tmp_path_factory.mktemp('films')
  (folder / 'db').mkdir()
  for seed, name in enumerate('abc'):
    write_video(folder / f'db/{name}.mp4', film(seed, 12), RATE)
  host = np.concatenate([film(8, 10), film(9, 8), film(10, 6)])
  write_video(folder / 'db/host.mp4', host, RATE)
  write_video(folder / 'query.mp4', film(9, 8), RATE)
  systems.index_files(folder / 'index', [folder / 'db'], model=fake_system())
  return folder


@pytest.fixture(autouse=True)
def use_fake_system(monkeypatch):
  monkeypatch.setattr(retrieval_system, 'open_system', fake_system)
