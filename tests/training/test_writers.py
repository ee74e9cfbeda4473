"""What a run writes down, and what a restarted one keeps of it."""

import json
import subprocess
import sys

import pytest

from deltax.progress import wants_bar
from deltax.training import Writer, read_metrics


def write(workdir, steps, start=0, **options):
  with Writer(workdir, start=start, steps=10, **options) as writer:
    for step in steps:
      writer.advance()
      writer.train(step, {'loss': 1 / step, 'task': 0.5})


def steps_of(workdir):
  return [row['step'] for row in read_metrics(workdir)]


def test_each_line_is_one_object_with_step_and_split(tmp_path):
  write(tmp_path, [1, 2])
  with Writer(tmp_path, start=2, steps=10) as writer:
    writer.evaluation(2, {'miou': 0.25, 'absent': float('nan')})
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert rows == read_metrics(tmp_path)
  assert rows[0]['steps_per_second'] > 0
  assert {'step': 1, 'split': 'train', 'loss': 1.0}.items() <= rows[0].items()
  assert rows[2] == {
    'step': 2,
    'split': 'evaluation',
    'miou': 0.25,
    'absent': None,
  }


def test_lines_after_the_restored_step_are_dropped(tmp_path):
  write(tmp_path, [2, 4, 6])
  write(tmp_path, [5, 6], start=4)
  assert steps_of(tmp_path) == [2, 4, 5, 6]


def test_a_last_line_that_was_cut_is_forgotten(tmp_path):
  write(tmp_path, [2, 4])
  path = tmp_path / 'metrics.jsonl'
  path.write_text(path.read_text() + '{"step": 6, "spl')
  assert steps_of(tmp_path) == [2, 4]
  write(tmp_path, [6], start=4)
  assert steps_of(tmp_path) == [2, 4, 6]


def test_a_broken_line_elsewhere_is_an_error_with_its_number(tmp_path):
  write(tmp_path, [2, 4])
  path = tmp_path / 'metrics.jsonl'
  path.write_text('nonsense\n' + path.read_text())
  with pytest.raises(ValueError, match=r"jsonl, line 1: .* got 'nonsense'"):
    read_metrics(tmp_path)


def test_other_processes_write_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr('jax.process_index', lambda: 1)
  write(tmp_path, [1])
  with Writer(tmp_path, start=1, steps=10) as writer:
    writer.evaluation(1, {'miou': 0.5})
  assert not list(tmp_path.iterdir())


def test_scalars_reach_tensorboard_without_tensorflow(tmp_path):
  # In a fresh process: nothing may have imported clu or TensorFlow before.
  script = (
    'import sys\n'
    'from deltax.training import Writer\n'
    f'with Writer({str(tmp_path)!r}, start=0, steps=1) as writer:\n'
    "  writer.train(1, {'loss': 0.5})\n"
    "assert 'tensorflow' not in sys.modules\n"
  )
  subprocess.run([sys.executable, '-c', script], check=True)
  (events,) = tmp_path.glob('events.out.tfevents.*')
  assert b'train/loss' in events.read_bytes()


def test_a_bar_shows_the_loss_and_the_time_left(tmp_path, capsys):
  write(tmp_path, [1, 2, 3, 4, 5], progress=True)
  shown = capsys.readouterr().err
  assert '5/10' in shown and 'loss 0.2' in shown and '<00:' in shown


def test_without_a_bar_the_log_tells_the_same(tmp_path, caplog):
  with caplog.at_level('INFO', logger='absl'):
    write(tmp_path, [5], progress=False)
  (line,) = [m for m in caplog.messages if m.startswith('step ')]
  assert line.startswith('step 5 of 10: loss 0.2, task 0.5; ')
  assert line.endswith(' left')


def test_the_environment_decides_about_bars_unless_told(monkeypatch):
  monkeypatch.delenv('DELTAX_PROGRESS', raising=False)
  monkeypatch.setattr('sys.stderr.isatty', lambda: True, raising=False)
  assert wants_bar()
  monkeypatch.setenv('DELTAX_PROGRESS', '0')
  assert not wants_bar() and wants_bar(True)
  monkeypatch.setenv('DELTAX_PROGRESS', '1')
  assert wants_bar() and not wants_bar(False)
