"""`deltax index --coarse milvus` and the searches of it, on real files."""

import json
import socket

import pytest
from made_films import RATE, fake_system, film

from deltax import commands
from deltax.data.video.files import write_video
from deltax.retrieval.search import milvus_collection
from deltax.systems import folder as retrieval_system

pytest.importorskip('pymilvus')


@pytest.fixture(autouse=True)
def use_fake_system(monkeypatch):
  monkeypatch.setattr(retrieval_system, 'open_system', fake_system)
  monkeypatch.setattr(milvus_collection, 'PAUSES', (0.05, 0.1))
  monkeypatch.setattr(milvus_collection, 'CONNECT', 1)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  folder = tmp_path_factory.mktemp('videos')
  for seed in range(3):
    write_video(folder / f'{seed}.mp4', film(seed, 8), RATE)
  return folder


def run(*arguments):
  commands.main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
  with pytest.raises(SystemExit) as left:
    run(*arguments)
  assert left.value.code == 1
  told = capsys.readouterr().err
  assert 'Traceback' not in told and told.count('\n') == 1
  return told


def best(capsys, *arguments):
  capsys.readouterr()
  run('search', *arguments, '--json')
  told = capsys.readouterr()
  assert not told.err
  return json.loads(told.out)['matches'][0]['name']


def test_an_index_is_searched_by_milvus_as_videos_come_and_go(
  videos, tmp_path, capfd
):
  index = tmp_path / 'my.index'
  run('index', videos, '--out', index, '--coarse', 'milvus')
  assert best(capfd, index, videos / '1.mp4') == '1.mp4'
  write_video(tmp_path / 'new.mp4', film(7, 8), RATE)
  run('add', index, tmp_path / 'new.mp4')
  assert best(capfd, index, tmp_path / 'new.mp4') == 'new.mp4'
  run('remove', index, '1.mp4')
  assert best(capfd, index, videos / '1.mp4', '--least', 0) != '1.mp4'
  run('info', index)
  assert 'searched by: milvus\n' in capfd.readouterr().out


def test_a_server_that_is_away_is_one_sentence_and_the_index_stays(
  videos, tmp_path, capsys
):
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    address = f'http://127.0.0.1:{found.getsockname()[1]}'
  index = tmp_path / 'my.index'
  words = '--out', index, '--coarse', 'milvus', '--milvus', address
  run('index', videos, *words)
  before = (index / 'manifest.json').read_bytes()
  told = refused(capsys, 'search', index, videos / '1.mp4')
  assert address in told and 'a Milvus server was expected' in told
  assert (index / 'manifest.json').read_bytes() == before
  run('info', index)
  assert f'searched by: milvus, {address}\n' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('coarse', 'address', 'expected'),
  [
    ('exact', 'http://host:19530', "expected it with 'milvus'"),
    ('milvus', 'host:19530', 'expected one like http://host:19530'),
    ('milvus', 'http://me:s3cret@host', 'set DELTAX_MILVUS_TOKEN='),
  ],
)
def test_an_address_that_cannot_be_is_refused_before_anything_is_made(
  videos, tmp_path, capsys, coarse, address, expected
):
  words = '--out', tmp_path / 'i', '--coarse', coarse, '--milvus', address
  told = refused(capsys, 'index', videos, *words)
  assert expected in told and 's3cret' not in told
  assert not (tmp_path / 'i').exists()
