"""From `deltax distill` on a backbone to an index that was read with it."""

import json
import re

import jax
import numpy as np
import own_films
import pytest
import small_backbone
from flax import traverse_util
from small_backbone import NAME

from deltax import commands, experiment, models, systems
from deltax.data.video.files import read_video
from deltax.retrieval.index.folder import Index


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  """Three videos, and the weights of a backbone."""
  folder = tmp_path_factory.mktemp('home')
  own_films.films(folder / 'videos')
  with small_backbone.installed():
    net = models.create(NAME, num_classes=None)
    frame = np.zeros((1, *own_films.SIZE, 3), np.float32)
    variables = net.init(jax.random.key(0), frame)
    flat = traverse_util.flatten_dict(variables['params'], sep='.')
    np.savez(folder / 'weights.npz', **flat)
    yield folder


def distilled(home, out, *more, options=('num_classes=None',)):
  told = ['distill', NAME, *options, '--weights', str(home / 'weights.npz')]
  told += ['--videos', str(home / 'videos'), '--size', '48x64', '--fps', '5']
  told += ['--data-dir', str(home / 'data'), '--out', str(out), '--steps', '0']
  told += ['--interval', '3', '--held-out', 'long.mp4', *more]
  commands.main(told)
  return out


@pytest.fixture(scope='module')
def run(home):
  return distilled(home, home / 'run')


def frames_of(home):
  return read_video(home / 'videos' / 'long.mp4', rate=5).frames[:9]


def test_the_run_is_of_so_many_frames_a_second(run):
  config = json.loads((run / 'config.json').read_text())
  assert config['data']['options']['fps'] == 5


def test_key_frames_are_the_networks_and_others_come_near(home, run):
  with np.load(home / 'weights.npz') as file:
    params = traverse_util.unflatten_dict(dict(file), sep='.')
  frames = frames_of(home)
  exact = systems.make_extractor(NAME, weights={'params': params})(frames)
  found = experiment.read_extractor(run)(frames)
  often = experiment.read_extractor(run, 1)(frames)
  np.testing.assert_allclose(often, exact, atol=1e-5)
  off = np.linalg.norm(found - exact, axis=-1).mean(-1)
  # A chunk of four frames begins with a key frame too.
  assert off[[0, 3, 4, 7, 8]].max() < 1e-5 < off[[1, 2, 5, 6]].min()
  copied = exact[[0, 0, 0, 3, 4, 4, 4, 7, 8]]
  assert off.sum() < np.linalg.norm(copied - exact, axis=-1).mean(-1).sum()


def test_an_index_says_what_read_it(home, run, tmp_path):
  system = systems.make_system(experiment.read_extractor(run, 2))
  systems.save_system(tmp_path / 'system', system)
  videos = [home / 'videos']
  told = dict(model=tmp_path / 'system')
  assert systems.index_files(tmp_path / 'index', videos, **told).done == 3
  index = Index(tmp_path / 'index')
  assert index.manifest['description']['extractor']['interval'] == 2
  assert index.fingerprint == system.fingerprint
  other = systems.make_system(experiment.read_extractor(run, 3))
  with pytest.raises(ValueError, match=f'the model {system.fingerprint}'):
    systems.index_files(tmp_path / 'index', videos, model=other)


def test_another_preparation_is_refused(home, tmp_path):
  out = distilled(home, tmp_path / 'run', '--mean', '0.5')
  with pytest.raises(ValueError, match='an extractor prepares otherwise'):
    experiment.read_extractor(out)


@pytest.mark.parametrize(
  ('told', 'message'),
  [
    (['--extractor', 'vgg'], "no extractor 'vgg'; known: .*folder of a run"),
    (['--interval', '2'], '--interval 2 is of an extractor with students'),
    (['--extractor', '.', '--weights', 'x.pth'], 'has weights of its own'),
  ],
)
def test_what_does_not_go_together_is_told(
  tmp_path, monkeypatch, capsys, told, message
):
  monkeypatch.setattr(systems.runs, 'read_part', lambda run: None)
  asked = ['bundle', str(tmp_path / 'out'), '--coarse', 'a', '--fine', 'b']
  with pytest.raises(SystemExit):
    commands.main([*asked, *told])
  assert re.search(message, capsys.readouterr().err)
  assert not (tmp_path / 'out').exists()


def test_weights_that_no_package_has_are_told(home, tmp_path, capsys):
  with pytest.raises(SystemExit):
    distilled(home, tmp_path / 'run', '--weights', 'packaged')
  assert f"no packaged weights for '{NAME}'" in capsys.readouterr().err
