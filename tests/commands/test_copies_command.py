"""`deltax copies`: what it asks for, what it tells, what it refuses."""

import numpy as np
import pytest

from deltax import commands
from deltax.data.copies import make as copies
from deltax.data.features.annotations import read_copies
from deltax.data.street import film as street_film
from deltax.data.video import packaged
from deltax.data.video.files import write_video

SPLITS = ('train', 'test')


@pytest.fixture
def small(monkeypatch):
  """Small noise instead of rendered streets, no clips, two copies each."""

  def film(path, seed, seconds, stretch, size):
    rng = np.random.default_rng([seed, int(stretch[0])])
    frames = rng.integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    write_video(path, frames, 6.0)

  monkeypatch.setattr(street_film, 'film', film)
  monkeypatch.setattr(packaged, 'find_clips', list)
  make = copies.make_copies

  def make_copies(folder, **options):
    return make(folder, **{**options, 'copies': 2, 'short_side': 32})

  monkeypatch.setattr(
    'deltax.commands.training.copies.make_copies', make_copies
  )


def run(*arguments):
  commands.main(['copies', *map(str, arguments)])


def refused(capsys, *arguments):
  with pytest.raises(SystemExit) as left:
    run(*arguments)
  assert left.value.code != 0
  return capsys.readouterr().err


def test_the_data_set_is_made_and_told(small, tmp_path, capsys):
  folder = tmp_path / 'set'
  run(folder, '--street', 4)
  told = capsys.readouterr().out.splitlines()
  found = {split: read_copies(folder / f'{split}.json') for split in SPLITS}
  for line, (split, read) in zip(told, found.items(), strict=False):
    words = line.split()
    assert words[0] == split
    assert int(words[1]) == len(read.relevant)
    assert int(words[3]) == len(read.database)
  names = {path.stem for path in (folder / 'videos').iterdir()}
  assert names == found['train'].database | found['test'].database
  assert told[2].startswith(f'{folder}: {len(names)} videos, ')
  # two streets a split, two sources each, two copies of each
  assert all(len(read.relevant) == 4 for read in found.values())


def test_a_second_run_makes_nothing_and_tells_the_same(
  small, tmp_path, capsys, monkeypatch
):
  run(tmp_path / 'set', '--street', 4)
  told = capsys.readouterr().out
  monkeypatch.setattr(copies, 'write_video', None)
  run(tmp_path / 'set', '--street', 4)
  assert capsys.readouterr().out == told


def test_the_seed_changes_the_splits_or_the_edits(small, tmp_path, capsys):
  for seed in (0, 1):
    run(tmp_path / f'{seed}', '--street', 4, '--seed', seed)
  edits = [
    (tmp_path / f'{seed}/annotations.json').read_text() for seed in (0, 1)
  ]
  assert edits[0] != edits[1]


def test_clips_of_a_folder_take_the_place_of_packaged_ones(
  small, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(packaged, 'find_clips', None)  # nobody asks for them
  frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
  for name in 'abcde':
    write_video(tmp_path / f'clips/{name}.mp4', frames, 6.0)
  run(tmp_path / 'set', '--street', 10, '--clips', tmp_path / 'clips')
  share = '--street', 10, '--test', 0.2, '--clips', tmp_path / 'clips'
  run(tmp_path / 'other', *share)
  for name, tested in (('set', 2 + 2 * 4), ('other', 1 + 2 * 2)):
    read = read_copies(tmp_path / name / 'test.json')
    assert len(read.relevant) == tested
    assert read.relevant.keys() & set('abcde')
  told = refused(capsys, tmp_path / 'set', *share)
  assert 'choose another folder' in told
  told = refused(capsys, tmp_path / 'x', '--clips', tmp_path / 'none')
  assert 'none is no folder' in told


def test_what_cannot_be_made_is_said_in_a_line(
  small, tmp_path, capsys, monkeypatch
):
  run(tmp_path / 'set', '--street', 4)
  capsys.readouterr()
  for words, expected in (
    ((tmp_path / 'few', '--street', 3), 'at least 4 worlds'),
    ((tmp_path / 'set', '--street', 5), 'choose another folder or remove it'),
  ):
    assert expected in refused(capsys, *words)
  twice = [packaged.PackagedClip('film', f'{ending}.mp4') for ending in 'ab']
  monkeypatch.setattr(packaged, 'find_clips', lambda: twice)
  monkeypatch.setattr(copies, '_readable', list)
  told = refused(capsys, tmp_path / 'twice', '--street', 4)
  assert "named 'film': of a.mp4 and of b.mp4; rename one" in told
  assert not (tmp_path / 'few').exists()
