"""Flags that a config cannot take are told in one sentence."""

import re
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from deltax.errors import parse_flags

CONFIG = '--config=configs/demo_delta.py:smoke'


@pytest.fixture
def parse(monkeypatch):
  """`parse(*arguments)` gives the config, as train.py does."""

  def parse(*arguments):
    known = flags.FlagValues()
    config_flags.DEFINE_config_file('config', flag_values=known)
    flags.DEFINE_string('workdir', None, '', flag_values=known)
    given = ['train.py', *arguments]
    monkeypatch.setattr(sys, 'argv', given)
    parse_flags(given, known)
    return known.config

  return parse


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_overrides_are_taken(parse):
  config = parse(CONFIG, '--config.optimizer.learning_rate=0.125')
  assert config.optimizer.learning_rate == 0.125


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      [CONFIG, '--config.nope=1'],
      "config cannot take --config.nope=1 .*'nope'",
    ),
    (
      [CONFIG, '--config.title.x=3'],
      r'config cannot take --config\.title\.x=3',
    ),
    ([CONFIG, '--config.task.loss.class_weights[99]=3'], r'cannot take .*\[99'),
    ([CONFIG, '--config.training.steps=abc'], r"steps=abc: invalid .* 'abc'"),
    ([CONFIG, '--config.task=1'], 'is not a dict'),
    (
      [CONFIG, f'--config.training.steps={"1" * 9999}'],
      'config.training.steps',
    ),
    ([CONFIG, '--config.a\nb=1'], r'cannot take .*\\n'),
    ([CONFIG, '--noconfig'], '.'),
    ([CONFIG, '--nothing=1'], "Unknown command line flag 'nothing'"),
    ([f'{CONFIG}x'], "no variant 'smokex'; known"),
    (['--config=configs/none.py'], r'--config=configs/none\.py is no config'),
    (['--config=configs'], '--config=configs is no config that can be read'),
    (['--config=README.md'], r'cannot take .*SyntaxError'),
  ],
)
def test_a_wrong_flag_is_one_sentence(parse, arguments, message, capsys):
  with pytest.raises(SystemExit) as ended:
    parse(*arguments)
  assert ended.value.code == 1
  told = capsys.readouterr().err
  assert told.startswith('train.py: ') and told.count('\n') == 1
  assert len(told) < 1000 and re.search(message, told)


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_a_fault_of_a_config_keeps_its_traceback(parse, tmp_path):
  path = tmp_path / 'config.py'
  path.write_text('def get_config():\n  return {}["absent"]\n')
  with pytest.raises(KeyError, match='absent'):
    parse(f'--config={path}')
