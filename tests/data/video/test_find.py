"""Which files are taken for videos, by what name, and what is passed by."""

import os
import shutil
import unicodedata
import wave

import cv2
import numpy as np
import odd_videos
import pytest
from PIL import Image

from deltax.data.video import find as find_module
from deltax.data.video.files import read_video, write_video
from deltax.data.video.find import describe_skipped, find, find_videos
from deltax.data.video.sniff import sniff


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp('film') / 'film.mp4'
  write_video(path, np.full((4, 32, 32, 3), 99, np.uint8), 4)
  return path


def test_a_video_is_one_by_its_content_whatever_it_is_called(film, tmp_path):
  names = [
    'a.3g2',
    'b.ogm',
    'c.mpe',
    'd.m2v',
    'e.qt',
    'nodot',
    'f.jpg',
    'g.txt',
  ]
  for name in names:
    shutil.copy(film, tmp_path / name)
  odd_videos.write(
    tmp_path / 'bare.h264', np.zeros((3, 32, 32, 3), np.uint8), form='h264'
  )
  found = find([tmp_path])
  assert sorted(found.videos) == sorted([*names, 'bare.h264'])
  assert not found.skipped
  for path in found.videos.values():
    assert len(read_video(path).frames) == 1


def test_what_is_passed_by_is_counted_by_reason(film, tmp_path):
  shutil.copy(film, tmp_path / 'film.mp4')
  (tmp_path / '.hidden').mkdir()
  shutil.copy(film, tmp_path / '.hidden/film.mp4')
  shutil.copy(film, tmp_path / '._film.mp4')
  (tmp_path / 'notes.txt').write_text('Grüße\n' * 200, encoding='utf-8')
  (tmp_path / 'subtitles.srt').write_text('1\n00:00 --> 00:01\nhello')
  for name in ('one.jpg', 'two.png', 'three.webp', 'four.bmp'):
    cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
  Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / 'five.ico')
  shutil.make_archive(str(tmp_path / 'archive'), 'zip', tmp_path / '.hidden')
  with wave.open(str(tmp_path / 'sound.wav'), 'wb') as sound:
    sound.setparams((1, 2, 8000, 0, 'NONE', ''))
    sound.writeframes(bytes(16000))
  (tmp_path / 'noise').write_bytes(np.random.default_rng(0).bytes(9999))
  (tmp_path / 'nothing').touch()
  (tmp_path / 'dead').symlink_to(tmp_path / 'gone')
  os.mkfifo(tmp_path / 'pipe')
  found = find([tmp_path])
  assert list(found.videos) == ['film.mp4']
  counts = {reason: len(paths) for reason, paths in found.skipped.items()}
  assert counts == {
    'hidden': 2,
    'text': 2,
    'pictures': 5,
    'archives or documents': 1,
    'sound': 1,
    'not videos': 1,
    'empty': 1,
    'links to nothing': 1,
    'neither files nor folders': 1,
  }
  told = describe_skipped(found.skipped)
  assert f'2 text ({tmp_path}/notes.txt, ...)' in told
  (tmp_path / 'film.mp4').unlink()
  with pytest.raises(ValueError, match=r'no videos in .* there are .*2 hidden'):
    find([tmp_path])


def test_a_folder_that_cannot_be_read_is_told(film, tmp_path, monkeypatch):
  """Tests may run as root, who may read all."""
  shutil.copy(film, tmp_path / 'film.mp4')
  (tmp_path / 'private').mkdir()
  (tmp_path / 'secret').write_bytes(film.read_bytes())
  iterdir = find_module.pathlib.Path.iterdir

  def refuse(path):
    if path.name == 'private':
      raise PermissionError(13, 'Permission denied', str(path))
    return iterdir(path)

  def deny(path):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(find_module.pathlib.Path, 'iterdir', refuse)
  monkeypatch.setattr(find_module, 'sniff', deny)
  found = find([tmp_path])
  assert list(found.videos) == ['film.mp4']
  unreadable = found.skipped['unreadable']
  assert [path.name for path in unreadable] == ['private', 'secret']


def test_disks_without_numbers_of_files_lose_none(film, tmp_path, monkeypatch):
  for name in ('a.mp4', 'b/a.mp4'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shutil.copy(film, tmp_path / name)
  (tmp_path / 'b/up').symlink_to(tmp_path)
  stat = find_module.pathlib.Path.stat

  def numberless(path, **how):
    about = list(stat(path, **how))
    about[1] = 0
    return os.stat_result(about)

  monkeypatch.setattr(find_module.pathlib.Path, 'stat', numberless)
  assert list(find([tmp_path]).videos) == ['a.mp4', 'b/a.mp4']


def test_links_are_followed_once_and_never_in_circles(film, tmp_path):
  inside, outside = tmp_path / 'films', tmp_path / 'elsewhere'
  for path in (inside / 'z', outside):
    path.mkdir(parents=True)
  for number, name in enumerate(('films/z/a.mp4', 'elsewhere/b.mp4')):
    odd_videos.write(
      tmp_path / name, np.full((3, 32, 32, 3), 50 * number, np.uint8)
    )
  (inside / 'also_z').symlink_to(inside / 'z')
  (inside / 'z/up').symlink_to(inside)
  (inside / 'linked').symlink_to(outside)
  (outside / 'back').symlink_to(inside)
  (inside / 'a_link.mp4').symlink_to(inside / 'z/a.mp4')
  found = find([inside, outside, inside / 'z'])
  assert list(found.videos) == ['linked/b.mp4', 'z/a.mp4']
  again = found.skipped['other names of one file']
  assert inside / 'a_link.mp4' in again


def test_files_of_one_name_get_as_much_of_their_paths_as_it_takes(tmp_path):
  for number, name in enumerate(
    ('x/card1/a.mp4', 'y/card1/a.mp4', 'x/card2/a.mp4', 'x/card2/b.mp4')
  ):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'%d' % number)
  cards = [tmp_path / name for name in ('x/card1', 'y/card1', 'x/card2')]
  assert list(find_videos(cards)) == [
    'x/card1/a.mp4',
    'y/card1/a.mp4',
    'card2/a.mp4',
    'b.mp4',
  ]
  assert list(find_videos(cards[1:])) == [
    'card1/a.mp4',
    'card2/a.mp4',
    'b.mp4',
  ]


def test_a_name_is_one_however_its_accents_are_written(tmp_path):
  names = [unicodedata.normalize(form, 'é.mp4') for form in ('NFC', 'NFD')]
  (tmp_path / names[1]).write_bytes(b'1')
  assert list(find_videos([tmp_path])) == [names[0]]
  (tmp_path / names[0]).write_bytes(b'2')
  found = find_videos([tmp_path])  # two files all the same
  assert sorted(found.values()) == sorted(tmp_path / name for name in names)


def test_a_colon_makes_no_address_of_a_file(film, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ('Alien: Covenant.mp4', '2024-05-01T12:30', 'http:'):
    shutil.copy(film, tmp_path / name)
    assert sniff(name) is None
  assert len(find(['.']).videos) == 3
  write_video('12:30.mp4', np.zeros((2, 32, 32, 3), np.uint8), 2)
  assert len(read_video('12:30.mp4').frames) == 1
