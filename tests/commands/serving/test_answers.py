"""Answers from a real index: as those of `deltax search`, and without paths."""

import concurrent.futures
import json
import shutil
import sys
import time

import numpy as np
import pytest
from made_films import RATE, fake_system, film
from served import served

from deltax import commands, systems
from deltax.commands.serving.answers import Answers
from deltax.commands.serving.jobs import Asked
from deltax.data.video.files import write_video
from deltax.data.video.stream import VideoError


def answers_of(films, longest=99):
  return Answers(films / 'index', None, 100, longest)


def told_by_search(films, capsys, *options):
  """What `deltax search` tells, but for paths and times of computing."""
  words = films / 'index', films / 'query.mp4', '--json', *options
  commands.main(['search', *map(str, words)])
  found = json.loads(capsys.readouterr().out)
  del found['query']['path'], found['milliseconds']
  for match in found['matches']:
    del match['path'], match['state']
  return found


def comparable(found):
  """The same of an answer, and without what it says of pictures."""
  found = json.loads(json.dumps(found))
  del found['milliseconds']
  for match in found['matches']:
    del match['pictures']
  return found


def test_refused_at_first_each_has_at_last_the_answer_of_a_search(
  films, tmp_path, capsys
):
  expected = told_by_search(films, capsys, '--least', 0)
  video = (films / 'query.mp4').read_bytes()
  refused = []

  def asked(_):
    while True:
      status, told, _ = ask('POST', '/searches?least=0&wait=60', video)
      if status != 503:
        return status, told
      refused.append(told)
      time.sleep(0.05)

  with served(answers_of(films), tmp_path, places=2) as (ask, _):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
      answers = list(pool.map(asked, range(16)))
  assert refused and [status for status, _ in answers] == [200] * 16
  for _, told in answers:
    assert comparable(told['result']) == expected
    assert str(films) not in json.dumps(told)
  assert not list(tmp_path.iterdir())


def test_a_match_has_a_picture_of_either_video_at_the_same_moment(films):
  found, pictures = ask_directly(answers_of(films), films / 'query.mp4')
  first = found['matches'][0]
  assert first['name'] == 'host.mp4'
  sides = first['pictures']
  assert sides['video']['second'] - sides['query']['second'] == pytest.approx(
    10, abs=1
  )
  for side in sides.values():
    assert pictures[side['name']].startswith(b'\xff\xd8')


def ask_directly(answers, path, least=0.5):
  told = []
  answer = answers(
    path, Asked(5, least), lambda *progress: told.append(progress)
  )
  shares = [share for stage, share in told if stage == 'reading']
  assert shares == sorted(shares) and shares[-1] == 1
  assert told[-1][0] == 'comparing'
  return answer


def test_nothing_is_read_but_the_index_and_the_query(films, tmp_path):
  """Nor a link to elsewhere that has the place of a video."""
  opened, watched = [], True

  def watch(event, arguments):
    if watched and event in ('open', 'os.listdir', 'os.scandir'):
      opened.append(str(arguments[0]))

  shutil.copytree(films / 'db', tmp_path / 'db')
  index = tmp_path / 'index'
  systems.index_files(index, [tmp_path / 'db'], model=fake_system())
  (tmp_path / 'db/host.mp4').unlink()
  (tmp_path / 'db/host.mp4').symlink_to('/etc/passwd')
  query = shutil.copy(films / 'query.mp4', tmp_path / 'query')
  answers = Answers(index, None, 100, 99)
  ask_directly(answers, query)  # imports what it needs
  sys.addaudithook(watch)
  try:
    found, _ = ask_directly(answers, query, least=0)
  finally:
    watched = False
  assert len(found['matches']) == 4
  inside = (str(index), str(query), '/proc/', '/sys/')
  assert not [path for path in opened if not path.startswith(inside)], opened


def test_what_others_add_or_remove_is_seen(films, tmp_path, monkeypatch):
  folder = shutil.copytree(films / 'index', tmp_path / 'index')
  answers = Answers(folder, None, 100, 99)
  other = tmp_path / 'other.mp4'
  write_video(other, film(20, 8), RATE)
  ask_directly(answers, other)
  systems.index_files(folder, [other], model=fake_system())
  now = time.monotonic()
  monkeypatch.setattr(time, 'monotonic', lambda: now + 11)
  found, _ = ask_directly(answers, other)
  assert found['matches'][0]['name'] == 'other.mp4'
  assert answers.about()['videos'] == 5
  systems.open_index(folder)[0].remove(['other.mp4'])
  monkeypatch.setattr(time, 'monotonic', lambda: now + 22)
  assert not ask_directly(answers, other)[0]['matches']
  (folder / 'manifest.json').write_text('{')
  monkeypatch.setattr(time, 'monotonic', lambda: now + 33)
  found, _ = ask_directly(answers, films / 'query.mp4')  # as it was
  assert found['matches'][0]['name'] == 'host.mp4'


def test_a_video_that_is_too_long_is_refused(films):
  with pytest.raises(VideoError, match=r'longer than 0\.1 minutes'):
    ask_directly(answers_of(films, longest=6), films / 'query.mp4')


def test_a_video_that_is_cut_off_is_told(films, tmp_path):
  path = tmp_path / 'host.mkv'
  frames = np.concatenate([film(8, 10), film(9, 8)])
  write_video(path, frames, RATE)
  content = path.read_bytes()
  with served(answers_of(films), tmp_path) as (ask, _):
    half = content[: len(content) // 2]
    status, told, _ = ask('POST', '/searches?wait=60', half)
  assert status == 422
  assert told['error'].startswith('the video: the file is cut off'), told
