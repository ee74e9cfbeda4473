"""Requests, good and bad, to a real server with searches made up here."""

import concurrent.futures
import json
import os
import socket

import pytest
from made_films import RATE, film
from served import Gate, served, wait_until

from deltax.commands.serving.jobs import Answer
from deltax.data.video.files import write_video
from deltax.data.video.stream import VideoError


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  """The bytes of a small video."""
  path = tmp_path_factory.mktemp('video') / 'film.mp4'
  write_video(path, film(0, 2), RATE)
  return path.read_bytes()


@pytest.fixture
def gate():
  return Gate()


@pytest.fixture
def server(gate, tmp_path):
  """A client of a server with 4 places for videos of at most a megabyte."""
  with served(gate, tmp_path, places=4, upload=10**6, seconds=1.0) as (ask, _):
    yield ask


def test_a_search_is_taken_on_and_tells_how_far_it_is_and_what_it_found(
  server, gate, video, tmp_path
):
  status, first, headers = server('POST', '/searches', video)
  assert status == 202 and headers['Location'] == f'/searches/{first["id"]}'
  status, second, _ = server('POST', '/searches?k=3&least=0.25', video)
  assert status == 202
  wait_until(lambda: gate.begun)
  told = server('GET', f'/searches/{first["id"]}')[1]
  assert told['state'] == 'running' and told['progress']['stage'] == 'reading'
  assert 0 <= told['progress']['share'] <= 1
  told = server('GET', f'/searches/{second["id"]}')[1]
  assert told == {'id': second['id'], 'state': 'waiting', 'ahead': 1}
  gate.open.set()
  assert server.wait(first['id'])['result'] == {
    'bytes': len(video),
    'k': 20,
    'least': 0.5,
  }
  assert server.wait(second['id'])['result']['k'] == 3
  assert not list(tmp_path.iterdir())


def test_whoever_waits_has_the_answer_at_once_or_an_id(server, gate, video):
  status, told, _ = server('POST', '/searches?wait=0.2', video)
  assert status == 202 and told['state'] == 'running'
  gate.open.set()
  status, told, _ = server('POST', '/searches?wait=60', video)
  assert status == 200 and told['result']['bytes'] == len(video)


@pytest.mark.parametrize(
  ('content', 'told'),
  [
    (b'', 'empty'),
    (b'no video at all, just words', 'text'),
    (os.urandom(4096), 'not videos'),
    (b'\x89PNG\r\n\x1a\n' + bytes(100), 'pictures'),
    (b'PK\3\4' + bytes(100), 'archives or documents'),
  ],
)
def test_what_is_no_video_is_refused_with_the_reason(
  server, gate, content, told, tmp_path
):
  status, answer, _ = server('POST', '/searches', content)
  assert (status, answer) == (
    422,
    {'error': f'the upload is no video: {told}'},
  )
  assert not gate.begun and not list(tmp_path.iterdir())


def test_a_list_of_other_files_reads_none_of_them(
  server, gate, video, tmp_path_factory
):
  secret = tmp_path_factory.mktemp('secret') / 'secret.mp4'
  secret.write_bytes(video)
  lists = (
    f'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n',
    f"ffconcat version 1.0\nfile '{secret}'\n",
    f'<?xml version="1.0"?><MPD><BaseURL>{secret}</BaseURL></MPD>',
  )
  for text in lists:
    status, told, _ = server('POST', '/searches', text.encode())
    assert status == 422 and str(secret) not in told['error']
  assert not gate.begun


@pytest.mark.parametrize(
  ('path', 'named'),
  [
    ('?k=0', 'k'),
    ('?k=101', 'k'),
    ('?k=many', 'k'),
    ('?least=2', 'least'),
    ('?least=nan', 'least'),
    ('?wait=-1', 'wait'),
    ('?wait=1e9', 'wait'),
  ],
)
def test_what_is_out_of_range_is_named(server, video, path, named):
  status, told, _ = server('POST', f'/searches{path}', video)
  assert status == 422 and told['error'].startswith(f'{named}: ')
  assert told['error'].endswith(repr(path.partition('=')[2]))


def test_a_form_is_told_how_to_send_the_video(server, video):
  for headers in (
    {'Content-Type': 'multipart/form-data; boundary=x'},
    {'Content-Encoding': 'gzip'},
  ):
    status, told, _ = server('POST', '/searches', video, headers)
    assert status == 415 and '--data-binary' in told['error']


def test_what_is_too_large_is_refused_before_it_is_kept(
  server, gate, tmp_path, video
):
  body = bytes(1_000_001)
  status, told, _ = server('POST', '/searches', body)
  assert status == 413 and 'at most 1 MB' in told['error']
  # In pieces, nobody knows before how many there will be.
  status, told, _ = server('POST', '/searches', iter([bytes(65536)] * 99))
  assert status == 413 and 'at most 1 MB' in told['error']
  assert not gate.begun and not list(tmp_path.iterdir())
  assert server('POST', '/searches', video)[0] == 202


@pytest.mark.parametrize(
  ('method', 'path', 'status'),
  [
    ('GET', '/searches', 405),
    ('GET', '/searches/x', 404),
    ('DELETE', '/searches/x', 404),
    ('GET', '/searches/x/pictures/0', 404),
    ('GET', '/nothing', 404),
    ('GET', '/../../etc/passwd', 404),
    ('GET', '/%2e%2e/%2e%2e/etc/passwd', 404),
    ('GET', '/searches/..%2f..%2f..%2fetc%2fpasswd', 404),
    ('GET', '/searches/%00', 404),
    ('POST', '/', 405),
    ('GET', '/docs', 404),
  ],
)
def test_what_is_not_there_is_told(server, method, path, status):
  found, told, _ = server(method, path)
  assert found == status and set(told) == {'error'}


def test_no_request_opens_a_file_but_the_one_that_it_sends(
  server, gate, video, tmp_path
):
  gate.open.set()
  name = '../../../../etc/passwd'
  for kind in ('k', 'name', 'path', 'file', 'least'):
    server('POST', f'/searches?{kind}={name}', video)
  headers = {'Content-Disposition': f'attachment; filename="{name}"'}
  status, told, _ = server('POST', '/searches', video, headers)
  assert status in (200, 202)  # it may be done by then
  server.wait(told['id'])
  for picture in ('..%2f..%2fx', '%2fetc%2fpasswd', name.replace('/', '%2f')):
    path = f'/searches/{told["id"]}/pictures/{picture}'
    assert server('GET', path)[0] == 404
  assert {path.parent for path in gate.paths} == {tmp_path}


def test_too_many_are_refused_and_none_that_was_taken_on_is_lost(
  server, gate, video, tmp_path
):
  with concurrent.futures.ThreadPoolExecutor(20) as pool:
    asked = list(
      pool.map(lambda _: server('POST', '/searches', video), range(20))
    )
  taken = [told['id'] for status, told, _ in asked if status == 202]
  refused = [(told, headers) for s, told, headers in asked if s == 503]
  assert len(taken) == 4 and len(refused) == 16
  for told, headers in refused:
    assert 'ask again' in told['error'] and int(headers['Retry-After']) > 0
  assert len(list(tmp_path.iterdir())) == 4
  assert server('GET', '/healthz')[1] == {'state': 'ok', 'unfinished': 4}
  gate.open.set()
  assert [server.wait(name)['state'] for name in taken] == ['done'] * 4
  assert server('POST', '/searches?wait=60', video)[0] == 200
  assert gate.begun == 5


class Raw(socket.socket):
  """A connection on which a request can be sent in part."""

  def __init__(self, client):
    super().__init__(socket.AF_INET, socket.SOCK_STREAM)
    self.settimeout(20)
    self.connect(('127.0.0.1', client.port))

  def post(self, length, *headers):
    lines = ('POST /searches HTTP/1.1', 'Host: x', f'Content-Length: {length}')
    self.sendall('\r\n'.join([*lines, *headers, '', '']).encode())


def test_a_client_that_goes_in_the_middle_leaves_nothing(
  server, gate, video, tmp_path
):
  for _ in range(6):  # more than there are places
    with Raw(server) as connection:
      connection.post(len(video))
      connection.sendall(video[:1000])
      wait_until(lambda: list(tmp_path.iterdir()))
    wait_until(lambda: not list(tmp_path.iterdir()))
  gate.open.set()
  assert server('POST', '/searches?wait=60', video)[0] == 200
  assert gate.begun == 1


def test_a_client_that_stops_to_send_gives_its_place_back(
  server, video, tmp_path
):
  with Raw(server) as connection:
    connection.post(len(video))
    connection.sendall(video[:1000])
    answer = connection.recv(4096)
  assert b' 408 ' in answer and b'more than 1 seconds' in answer
  assert not list(tmp_path.iterdir())


def test_a_client_that_goes_while_it_waits_has_its_search_forgotten(
  server, gate, video
):
  with Raw(server) as connection:
    lines = ('POST /searches?wait=60 HTTP/1.1', 'Host: x')
    head = '\r\n'.join([*lines, f'Content-Length: {len(video)}', '', ''])
    connection.sendall(head.encode() + video)
    wait_until(lambda: gate.begun)
  wait_until(lambda: not server('GET', '/healthz')[1]['unfinished'])


def test_whoever_asks_first_whether_to_send_need_not_where_it_is_refused(
  server,
):
  with Raw(server) as connection:
    connection.post(10**9, 'Expect: 100-continue')
    answer = connection.recv(4096)
  assert b' 413 ' in answer.split(b'\r\n')[0]


def test_a_search_that_is_forgotten_is_gone(server, gate, video, tmp_path):
  first, second = (server('POST', '/searches', video)[1] for _ in range(2))
  wait_until(lambda: gate.begun)
  for told in (second, first):
    assert server('DELETE', f'/searches/{told["id"]}')[0] == 204
    assert server('GET', f'/searches/{told["id"]}')[0] == 404
  wait_until(lambda: not list(tmp_path.iterdir()))
  assert gate.begun == 1


def test_what_fails_is_told_to_who_waits_and_to_who_asks(video, tmp_path):
  faults = [VideoError('x: the file is cut off'), KeyError('secret')]

  def search(path, asked, told):
    raise faults.pop(0)

  with served(search, tmp_path) as (ask, _):
    status, told, _ = ask('POST', '/searches?wait=60', video)
    assert status == 422 and told['state'] == 'failed'
    assert told['error'] == 'x: the file is cut off'
    status, told, _ = ask('POST', '/searches?wait=60', video)
    assert status == 500 and 'secret' not in json.dumps(told)
    assert ask('GET', f'/searches/{told["id"]}')[1] == told


def test_pictures_of_matches_are_given_by_their_names(video, tmp_path):
  def search(path, asked, told):
    return Answer({}, {'0-query': b'jpeg'})

  with served(search, tmp_path) as (ask, _):
    told = ask('POST', '/searches?wait=60', video)[1]
    path = f'/searches/{told["id"]}/pictures'
    status, content, headers = ask('GET', f'{path}/0-query')
    assert (status, content) == (200, b'jpeg')
    assert headers['Content-Type'] == 'image/jpeg'
    assert ask('GET', f'{path}/1-query')[0] == 404


def test_facts_and_the_page_are_told(server):
  status, told, _ = server('GET', '/index')
  assert status == 200 and told['videos'] == 3
  assert told['limits'] == {'bytes': 10**6, 'k': 100, 'places': 4}
  status, page, headers = server('GET', '/')
  assert status == 200 and b'films: 3 videos, 2.0 hours' in page
  assert headers['Content-Type'].startswith('text/html')
  assert "default-src 'none'" in headers['Content-Security-Policy']


def test_a_server_that_closes_takes_no_more_and_answers_who_asks(
  gate, video, tmp_path
):
  with served(gate, tmp_path) as (ask, jobs):
    name = ask('POST', '/searches', video)[1]['id']
    jobs.close()
    status, told, _ = ask('POST', '/searches', video)
    assert status == 503 and 'about to stop' in told['error']
    assert ask('GET', '/healthz')[0] == 503
    gate.open.set()
    assert ask.wait(name)['state'] == 'done'


def test_a_full_disk_is_told(full_disk, video, tmp_path):
  with served(Gate(), tmp_path) as (ask, _), full_disk() as fill:
    fill()
    status, told, _ = ask('POST', '/searches', video)
    assert not list(tmp_path.iterdir())
  assert status == 507 and 'File too large' in told['error']
