"""`deltax profile`: a table to read, and a file to search with."""

import re

import jax
import pytest

from deltax import commands
from deltax.delta.search import latency
from deltax.delta.students.blocks import Residual

SMALL = ('profile', 'ddrnet23_tiny', '--size', '32x64')


@pytest.fixture
def platforms():
  """What a command asks of jax does not outlive its test."""
  before = jax.config.jax_platforms
  yield
  jax.config.update('jax_platforms', before)


def test_a_network_is_measured_printed_and_written(tmp_path, capsys):
  out, residual = tmp_path / 'latency.json', Residual(2).name
  commands.main(
    [
      *SMALL,
      *('--candidates', 'low_rank:4:min', 'skip'),
      *('--blocks', 'BasicBlock', '--block-candidates', 'residual:2'),
      *('--num-classes', '5', '--out', str(out)),
    ]
  )
  found = latency.read(out)
  assert found.network == 'ddrnet23_tiny'
  assert found.shape == (1, 32, 64, 3)
  assert list(found.candidates['layer1_0']) == [residual]
  assert list(found.candidates['conv1_3']) == ['low_rank_4_min', 'skip']
  title, header, *rows, last = capsys.readouterr().out.splitlines()
  assert 'ddrnet23_tiny, frames of 1x32x64x3, float32, on ' in title
  assert header.split() == ['teacher', residual, 'low_rank_4_min', 'skip']
  assert last == f'written to {out}'
  *layers, together, rest, frame = rows
  assert [row.split()[0] for row in layers] == list(found.candidates)
  (row,) = [row for row in layers if row.startswith('conv1_3 ')]
  own, teacher = found.candidates['conv1_3'], found.teacher['conv1_3']
  assert '3x3: 16x32x8 -> 8x16x8' in row
  cells = re.split(r'  +', row)[2:]
  macs = teacher.macs / own['low_rank_4_min'].macs
  assert cells[:2] == [f'{teacher.ms:.3f}', '-']
  assert cells[2].startswith(f'{own["low_rank_4_min"].ms:.3f} ')
  assert cells[2].endswith(f'/{macs:.1f}x')
  assert cells[3].endswith('/-')
  whole = sum(entry.ms for entry in found.teacher.values())
  assert re.split(r'  +', together)[1] == f'{whole:.3f}'
  assert re.split(r'  +', rest)[2] == f'{found.rest:.3f}'
  assert re.split(r'  +', frame)[1] == f'{found.frame:.3f}'
  # Blocks have no skip: what it would save is in the layers alone.
  skipped = sum(
    own['skip'].ms if 'skip' in own else found.teacher[path].ms
    for path, own in found.candidates.items()
  )
  cell = re.split(r'  +', frame)[-1]
  assert cell.startswith(f'{found.rest + skipped:.3f} ')


def test_a_span_is_one_row(tmp_path, capsys):
  out = tmp_path / 'latency.json'
  commands.main(
    [
      *SMALL,
      *('--candidates', 'skip', '--spans', 'conv1_0-conv1_3'),
      *('--block-candidates', 'residual:2:2', 'skip', '--out', str(out)),
    ]
  )
  found = latency.read(out)
  paths = list(found.candidates)
  assert list(found.candidates['conv1_0-conv1_3']) == ['residual_2_2', 'skip']
  shown = [row.split()[0] for row in capsys.readouterr().out.splitlines()[2:-4]]
  assert shown == [p for p in paths if p not in ('conv1_0', 'conv1_3')]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      ('profile', 'resnet9', '--size', '32x64'),
      "no network 'resnet9'; expected 'package.module:name' or",
    ),
    (
      ('profile', 'resnet50', '--size', '32'),
      'rows x columns such as 512x1024',
    ),
    ((*SMALL, '--candidates', 'thin:4'), "no candidate 'thin'; known: full,"),
    ((*SMALL, '--blocks', 'Cell'), 'no block is a Cell; the network has'),
    ((*SMALL, '--spans', 'conv1_0'), "'conv1_0' is no span; expected two"),
    ((*SMALL, '--layers', 'odd'), "no rule 'odd'; known: all_but"),
    ((*SMALL, '--device', 'tpu'), 'jax computes on cpu here, not on tpu'),
  ],
)
def test_what_cannot_be_measured_is_refused(
  arguments, message, capsys, platforms
):
  with pytest.raises(SystemExit):
    commands.main(arguments)
  error = capsys.readouterr().err
  assert message in error
  assert len(error.strip().splitlines()) == 1
