"""`deltax score` and `deltax bundle`, on runs that were hardly trained."""

import numpy as np
import pytest

from deltax import commands
from deltax.data.features.made import make_features
from deltax.data.features.similarities import (
  Similarities,
  read_similarities,
  write_similarities,
)
from deltax.data.features.store import FeatureStore
from deltax.systems import extractors, runs, scoring
from deltax.systems import folder as retrieval_system
from deltax.systems.folder import UNTRAINED, Part

FINE, COARSE = UNTRAINED['fine'], UNTRAINED['coarse']
PARTS = {
  'fine': FINE,
  'coarse': COARSE,
  'selector': Part('selector', dict(hidden=4), {'params': {'x': np.ones(3)}}),
}


@pytest.fixture(autouse=True)
def trained(monkeypatch):
  """A run is the last part of its path."""
  monkeypatch.setattr(runs, 'read_part', lambda folder: PARTS[folder.name])


@pytest.fixture
def files(tmp_path):
  features = make_features(sources=2, copies=1, regions=2, size=8).features
  with FeatureStore(tmp_path / 'features', fingerprint='none') as store:
    for name, regions in features.items():
      store.add(name, regions)
  pairs = Similarities(
    {
      'source-0': ({'source-0-copy-0': 1.0, 'gone': 1.0}, {'source-1': -1.0}),
      'source-1': ({'gone': 1.0}, {}),
    }
  )
  write_similarities(tmp_path / 'pairs.json', pairs)
  return features, pairs


def score(folder, run):
  out = folder / 'more' / 'out.json'
  commands.main(
    ['score', str(folder / run), '--features', str(folder / 'features')]
    + ['--pairs', str(folder / 'pairs.json'), '--out', str(out)]
  )
  return read_similarities(out)


def test_pairs_are_scored_and_those_left_out_are_counted(
  tmp_path, files, capsys
):
  features, pairs = files
  for run in ('fine', 'coarse'):
    found = score(tmp_path, run)
    assert found == scoring.score_pairs(PARTS[run], features, pairs)
    assert list(found.pairs) == ['source-0']
    told = capsys.readouterr().out
    assert f'2 pairs scored by {PARTS[run].name}' in told
    assert '2 pairs have no features and were left out' in told


def test_a_selector_is_refused_and_nothing_is_written(tmp_path, files, capsys):
  with pytest.raises(SystemExit):
    score(tmp_path, 'selector')
  assert 'a selector scores no pairs' in capsys.readouterr().err
  assert not (tmp_path / 'more').exists()


@pytest.fixture
def extractor(monkeypatch):
  """Stands in for all extractors, and says what was asked for."""
  asked = []

  def make(name, **options):
    asked.append((name, options))
    return extractors.Extractor(
      None, {'name': 'resnet50', 'whitened': None}, {'variables': {}}, 'abc'
    )

  monkeypatch.setattr(extractors, 'make_extractor', make)
  return asked


def test_a_bundle_is_a_system_of_its_runs(tmp_path, extractor, capsys):
  commands.main(
    ['bundle', str(tmp_path / 'system'), '--coarse', 'runs/coarse']
    + ['--fine', 'runs/fine', '--selector', 'runs/selector']
    + ['--extractor', 'resnet50', '--weights', 'r.pth']
  )
  (name, options), *_ = extractor
  assert (name, str(options['weights'])) == ('resnet50', 'r.pth')
  system = retrieval_system.open_system(tmp_path / 'system')
  assert f': system {system.fingerprint}' in capsys.readouterr().out
  for role, part in PARTS.items():
    assert system.description[role]['name'] == part.name
  found = system.selector.variables['params']['x']
  np.testing.assert_array_equal(found, np.ones(3))


def test_a_bundle_may_lack_a_selector(tmp_path, extractor):
  out = tmp_path / 'system'
  commands.main(['bundle', str(out), '--coarse', 'coarse', '--fine', 'fine'])
  assert retrieval_system.open_system(out).selector is None


@pytest.mark.parametrize(
  ('role', 'runs_of'),
  [
    ('coarse', dict(coarse='fine', fine='fine')),
    ('fine', dict(coarse='coarse', fine='coarse')),
    ('selector', dict(coarse='coarse', fine='fine', selector='fine')),
  ],
)
def test_a_run_in_another_role_is_refused(
  tmp_path, extractor, capsys, role, runs_of
):
  typed = [x for name, run in runs_of.items() for x in (f'--{name}', run)]
  with pytest.raises(SystemExit):
    commands.main(['bundle', str(tmp_path / 'system'), *typed])
  run = runs_of[role]
  message = f'--{role} {run} is a run of {PARTS[run].name!r}'
  assert message in capsys.readouterr().err
  assert not (tmp_path / 'system').exists()


def test_a_bundle_overwrites_nothing(tmp_path, extractor, capsys):
  with pytest.raises(SystemExit):
    commands.main(
      ['bundle', str(tmp_path), '--coarse', 'coarse', '--fine', 'fine']
    )
  assert 'is there already' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())
