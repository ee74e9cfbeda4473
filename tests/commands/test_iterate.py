"""`deltax iterate`: every student learns from the one before."""

import pathlib

import pytest

from deltax import commands
from deltax.data.features.made import open_or_make
from deltax.data.features.similarities import (
  read_similarities,
  write_similarities,
)
from deltax.data.features.store import FeatureStore

CONFIG = pathlib.Path(__file__).parents[2] / 'configs/dns_fine_attention.py'


def test_the_second_student_learns_from_the_first(tmp_path, capsys):
  features, pairs = open_or_make('')
  with FeatureStore(tmp_path / 'features', fingerprint='made') as store:
    for name, regions in features.items():
      store.add(name, regions)
  write_similarities(tmp_path / 'teacher.json', pairs)
  arguments = [
    'iterate',
    f'{CONFIG}:smoke',
    *('--workdir', tmp_path / 'runs'),
    *('--similarities', tmp_path / 'teacher.json'),
    *('--features', tmp_path / 'features'),
  ]
  commands.main([*map(str, arguments)])
  assert 'iteration 2' in capsys.readouterr().out
  first, second = (
    read_similarities(tmp_path / f'runs/iter{i}/similarities.json')
    for i in (1, 2)
  )
  assert set(first.pairs) == set(second.pairs) == set(pairs.pairs)
  assert first != second
  used = (tmp_path / 'runs/iter2/config.json').read_text()
  assert 'iter1/similarities.json' in used


def test_what_is_no_student_is_refused(tmp_path, capsys):
  config = CONFIG.with_name('dns_selector.py')
  with pytest.raises(SystemExit):
    commands.main(
      ['iterate', f'{config}:smoke', '--workdir', str(tmp_path)]
      + ['--similarities', 'none.json']
    )
  assert 'trains no student' in capsys.readouterr().err
