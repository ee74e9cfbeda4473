"""`deltax duplicates` and `mark`, on real video files."""

import json
import shutil

import numpy as np
import pytest
from made_films import RATE, fake_system, film

from deltax import commands
from deltax.data.video.files import write_video
from deltax.systems import folder as retrieval_system


@pytest.fixture(scope='module')
def films(tmp_path_factory):
  """A film, again in fewer bits, a clip of it, the same bytes, and others."""
  folder = tmp_path_factory.mktemp('films')
  write_video(folder / 'a.mp4', film(0, 12), RATE)
  write_video(folder / 'a again.mp4', film(0, 12), RATE, crf=35)
  write_video(folder / 'clip.mp4', film(0, 12)[4 * RATE : 9 * RATE], RATE)
  write_video(folder / 'other.mp4', film(9, 12), RATE)
  shutil.copy(folder / 'a.mp4', folder / 'bytes.mp4')
  return folder


@pytest.fixture(autouse=True)
def use_fake_system(monkeypatch):
  monkeypatch.setattr(retrieval_system, 'open_system', fake_system)


@pytest.fixture(scope='module')
def index(films, tmp_path_factory):
  folder = tmp_path_factory.mktemp('kept') / 'index'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(retrieval_system, 'open_system', fake_system)
    run('duplicates', films, '--index', folder)
  return folder


def run(*arguments):
  commands.main([str(argument) for argument in arguments])


def found(capsys, *arguments):
  run('duplicates', *arguments, '--json')
  return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
  with pytest.raises(SystemExit) as left:
    run(*arguments)
  told = capsys.readouterr().err
  assert left.value.code == 1 and told.count('\n') == 1
  return told


def groups(told):
  return [{video['name'] for video in group} for group in told['groups']]


def pairs(told, relation):
  return {
    (pair['first'], pair['second']): pair
    for pair in told['pairs']
    if pair['relation'] == relation
  }


def test_copies_stand_together_and_what_is_contained_is_told(films, capsys):
  told = found(capsys, films)
  (group,) = told['groups']
  videos = {video['name']: video for video in group}
  assert set(videos) == {'a again.mp4', 'a.mp4'}
  assert set(pairs(told, 'same')) == {('a again.mp4', 'a.mp4')}
  contained = pairs(told, 'contained')
  assert set(contained) == {('clip.mp4', name) for name in videos}
  (segment,) = contained['clip.mp4', 'a.mp4']['segments']
  assert segment['query'] == pytest.approx([0, 5], abs=0.51)
  assert segment['target'] == pytest.approx([4, 9], abs=0.51)
  (path,) = videos['a.mp4']['same_bytes']
  assert path == str(films / 'bytes.mp4')
  best = videos['a.mp4']
  assert best['praise'] == ['largest', 'best']  # they are equally long
  assert (best['width'], best['height']) == (64, 64)
  assert best['bytes'] == (films / 'a.mp4').stat().st_size
  assert best['bits_per_second'] > videos['a again.mp4']['bits_per_second'] > 0
  assert not any('other.mp4' in pair for pair in pairs(told, 'part'))


def test_the_list_and_the_page_name_every_copy(index, films, tmp_path, capsys):
  page = tmp_path / 'page.html'
  run('duplicates', index, '--html', page)
  told = capsys.readouterr().out
  assert told.startswith('group 1\n') and 'other.mp4' not in told
  assert f'the same bytes: {films / "bytes.mp4"}' in told
  assert 'clip.mp4 in a.mp4: 0:00.0-0:05' in told
  assert '4 videos; 6 of their pairs' in told
  html = page.read_text()
  for name in ('a.mp4', 'a again.mp4', 'clip.mp4'):
    assert f'<em>{name}</em>' in html
  assert 'other.mp4' not in html and html.count('<details open>') == 3
  assert 'http' not in html.replace('http://www.w3.org', '')


def test_what_is_marked_as_different_stays_out_wherever_it_is(
  index, films, tmp_path, capsys
):
  kept, place = tmp_path / 'index', tmp_path / 'films'
  shutil.copytree(index, kept)
  shutil.copytree(films, place)
  run('mark', kept, 'a.mp4', 'a again.mp4', '--different')
  assert 'are no copies\n' in capsys.readouterr().out
  run('mark', kept, 'a again.mp4', 'a.mp4', '--different')
  assert 'as was noted already' in capsys.readouterr().out
  told = found(capsys, kept)
  assert groups(told) == [{'a.mp4'}]  # with a file of the same bytes
  assert not pairs(told, 'same') and len(pairs(told, 'contained')) == 2
  assert '1 pairs were marked' in ' '.join(told['notes'])
  # Its file gets another name: it is known by what is in it.
  (films / 'a again.mp4').rename(films / 'renamed.mp4')
  try:
    run('add', kept, films)
    capsys.readouterr()
    assert groups(found(capsys, kept)) == [{'a.mp4'}]
    run('mark', kept, 'renamed.mp4', 'a.mp4', '--forget')
    capsys.readouterr()
    assert groups(found(capsys, kept)) == [{'a.mp4', 'renamed.mp4'}]
  finally:
    (films / 'renamed.mp4').rename(films / 'a again.mp4')


def test_what_many_videos_open_with_makes_no_copies(tmp_path, capsys):
  opening = film(50, 4)
  for number in range(5):
    frames = np.concatenate([opening, film(60 + number, 8)])
    write_video(tmp_path / f'{number}.mp4', frames, RATE)
  told = found(capsys, tmp_path, '--least', 0.01)
  assert not told['groups'] and not told['pairs']
  assert '10 pairs are left out' in ' '.join(told['notes'])


def test_bad_requests_are_told_in_a_sentence(index, films, capsys, tmp_path):
  assert 'expected it alone' in refused(capsys, 'duplicates', index, films)
  assert '--budget' in refused(capsys, 'duplicates', films, '--budget', -1)
  assert 'no video' in refused(
    capsys, 'mark', index, 'a.mp4', 'none.mp4', '--different'
  )
  assert 'one video' in refused(
    capsys, 'mark', index, 'a.mp4', 'a.mp4', '--different'
  )
  (tmp_path / 'index').mkdir()
  shutil.copytree(index, tmp_path / 'index', dirs_exist_ok=True)
  (tmp_path / 'index/marks.json').write_text('{')
  assert 'marks.json' in refused(capsys, 'duplicates', tmp_path / 'index')
  run('duplicates', films / 'other.mp4', films / 'clip.mp4')
  assert 'no copies were found' in capsys.readouterr().out
