"""What is settled of a run before its first step."""

import types

import pytest

from deltax import experiment, files
from deltax.experiment import starts

SPEC = {'candidates': [['low_rank', 4]]}


def config_of(target):
  return {
    'fit': {'clips': 4, 'target': target, 'by': 'macs'},
    'task': {'name': 'segmentation', 'delta': {'spec': {}, 'intervals': [3]}},
  }


def test_without_a_target_nothing_is_chosen(tmp_path):
  config = config_of(0.0)
  assert experiment.chosen(config, tmp_path) is config
  assert experiment.chosen({'task': {}}, tmp_path) == {'task': {}}


def test_a_run_keeps_to_its_choice(tmp_path, monkeypatch):
  chosen = []

  def choose(config, task, targets):
    chosen.append(targets)
    return [SPEC]

  made = types.SimpleNamespace(task=None)
  monkeypatch.setattr(starts, 'build', lambda config: made)
  monkeypatch.setattr(starts, 'choose', choose)
  config = experiment.chosen(config_of(0.4), tmp_path)
  assert config['task']['delta'] == {'spec': SPEC, 'intervals': [3]}
  assert config_of(0.4)['task']['delta']['spec'] == {}
  files.write_json(tmp_path / 'config.json', config)
  again = experiment.chosen(config_of(0.4), tmp_path)
  assert again['task']['delta']['spec'] == SPEC
  assert chosen == [[0.4]]


def test_a_target_is_of_delta_networks():
  task = types.SimpleNamespace(choose=None)
  with pytest.raises(ValueError, match=r'fit\.target is of delta networks'):
    experiment.choose(config_of(0.4), task, [0.4])


def test_several_processes_do_not_choose_by_time(monkeypatch):
  task = types.SimpleNamespace(choose=print)
  config = config_of(0.4)
  config['fit']['by'] = 'time'
  monkeypatch.setattr(starts.jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match='by time in one process'):
    experiment.choose(config, task, [0.4])
