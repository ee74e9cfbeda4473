"""`deltax compare`: one page and one table of several runs."""

import json
import math

import pytest

from deltax import commands
from deltax.commands.network import compare


def write(folder, **changes):
  row = {'score': 0.6, 'teacher_score': 0.65, 'gmacs': 0.5, 'ms': 7.0}
  results = {
    'title': 'a run',
    'data': 'street',
    'metric': {'name': 'mIoU', 'text': 'mean IoU'},
    'classes': ['sky'],
    'size': [64, 128],
    'device': '2 cores',
    'teacher': {'name': 'net', 'score': 0.7, 'gmacs': 1.0, 'ms': 10.0},
    'delta': [{'interval': 3, **row}],
    'ms': {'teacher': 10.0, 'key': 11.0, 'later': 5.0},
    'gmacs': {'key': 1.0, 'later': 0.25},
    'floor_gap': math.nan,
    **changes,
  }
  folder.mkdir(parents=True)
  (folder / 'results.json').write_text(json.dumps(results))
  return folder


def test_folders_and_files_are_put_on_one_page(tmp_path, capsys):
  first = write(tmp_path / 'runs' / 'first')
  second = write(tmp_path / 'runs' / 'second', delta=[])
  out = tmp_path / 'pareto.html'
  given = [str(first), str(second / 'results.json'), '--out', str(out)]
  commands.main(['compare', *given])
  assert '<svg' in out.read_text()
  printed = capsys.readouterr().out
  (row, later) = [x for x in printed.splitlines() if x.startswith('first')]
  assert row.split() == [
    'first',
    '3',
    '60.0',
    '5.0',
    '0.50',
    '7.0',
    'GMACs,',
    'ms',
  ]
  assert later.split() == ['first', '0.25', '5.0', '2.00', '2.00']
  assert f'The page: {out}' in printed


def test_what_cannot_be_read_or_compared_is_one_sentence(tmp_path, capsys):
  good = write(tmp_path / 'good')
  other = write(tmp_path / 'other', data='camvid')
  cut = tmp_path / 'cut.json'
  cut.write_text('{"title": ')
  for wrong, message in (
    (tmp_path / 'none', 'no results at'),
    (cut, 'holds no results, or is damaged'),
    (other, 'good has data street, other camvid'),
    (good, 'is given twice'),
  ):
    out = tmp_path / 'page.html'
    with pytest.raises(SystemExit) as caught:
      commands.main(['compare', str(good), str(wrong), '--out', str(out)])
    assert caught.value.code == 1 and not out.exists()
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_names_are_what_folders_do_not_have_in_common(tmp_path):
  paths = [tmp_path / 'a/delta/results.json', tmp_path / 'b/delta/results.json']
  assert compare.names_of(paths) == ['a/delta', 'b/delta']
  assert compare.names_of([tmp_path / 'first.json']) == ['first']
  with pytest.raises(ValueError, match='is given twice'):
    compare.names_of([paths[0], paths[0]])
