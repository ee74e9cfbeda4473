"""`deltax index`, `add`, `remove`, `info` and `search`, on real video files."""

import io
import json
import os
import pathlib
import shutil
import sys

import fsspec
import numpy as np
import odd_videos
import pytest
from made_films import RATE, fake_system, film
from PIL import Image

from deltax import commands, compilation
from deltax.commands.videos import search
from deltax.data.video.files import write_video
from deltax.errors import STOPPED
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.results import Match, Where
from deltax.systems import ReadVideo, indexing
from deltax.systems import folder as retrieval_system

ALL = '--least', 0  # of the search: whatever the score


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """A folder of videos, a query that is a part of one, and broken files."""
  folder = tmp_path_factory.mktemp('videos')
  (folder / 'db/trip').mkdir(parents=True)
  films = {name: film(seed, 12) for seed, name in enumerate('abc')}
  films['trip/host'] = np.concatenate([film(8, 10), film(9, 8), film(10, 6)])
  for name, frames in films.items():
    write_video(folder / f'db/{name}.mp4', frames, RATE)
  (folder / 'db/empty.mp4').touch()
  (folder / 'db/broken.mkv').write_bytes(b'no video at all' * 100)
  write_video(folder / 'query.mp4', film(9, 8), RATE)
  return folder


@pytest.fixture(autouse=True)
def use_fake_system(monkeypatch):
  monkeypatch.setattr(retrieval_system, 'open_system', fake_system)


def run(*arguments):
  commands.main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
  with pytest.raises(SystemExit) as left:
    run(*arguments)
  assert left.value.code != 0
  told = capsys.readouterr().err
  assert 'Traceback' not in told and told.count('\n') == 1
  return told


@pytest.fixture(scope='module')
def built(videos, tmp_path_factory):
  """An index of the folder, and what making it printed."""
  folder = tmp_path_factory.mktemp('index') / 'my.index'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(retrieval_system, 'open_system', fake_system)
    patch.setattr(sys, 'stdout', told := io.StringIO())
    run('index', videos / 'db', '--out', folder)
  return folder, told.getvalue()


def test_every_readable_video_is_in_the_index_and_the_others_are_named(built):
  folder, told = built
  index = Index(folder)
  expected = ['a.mp4', 'b.mp4', 'c.mp4', 'trip/host.mp4']
  assert sorted(index.names) == expected
  assert '4 videos, 4 of them new; 0 were there already' in told
  assert 'left out: empty.mp4: ' in told and 'left out: broken.mkv: ' in told
  assert '2 left out' in told
  row = index.row('trip/host.mp4')
  assert index.table['duration'][row] == pytest.approx(24)
  np.testing.assert_allclose(index.times(row), np.arange(24), atol=0.01)
  assert list(index.pictures(row)) == [0, 5, 10, 15, 20]
  picture = Image.open(io.BytesIO(index.pictures(row)[10]))
  assert picture.format == 'JPEG' and picture.size == (96, 96)


def test_search_finds_the_part_of_a_video_and_where(built, videos, capsys):
  run('search', built[0], videos / 'query.mp4', '-k', 3, '--json', *ALL)
  found = json.loads(capsys.readouterr().out)
  assert found['videos'] == 4 and found['pairs'] == 4
  assert len(found['matches']) == 3
  best = found['matches'][0]
  assert best['name'] == 'trip/host.mp4' and best['reranked']
  assert os.path.samefile(best['path'], videos / 'db/trip/host.mp4')
  assert best['score'] > 0.95 > found['matches'][1]['score']
  where = best['where'][0]
  assert where['query'] == pytest.approx([0, 8], abs=1.01)
  assert where['target'] == pytest.approx([10, 18], abs=1.01)


def test_search_prints_a_table(built, videos, capsys):
  run('search', built[0], videos / 'query.mp4', '-k', 2, *ALL)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].split() == ['score', 'coarse', 'video', 'where']
  assert lines[1].split()[0] == '1' and 'trip/host.mp4' in lines[1]
  assert ' at 0:' in lines[1]
  assert len(lines) == 5 and '4 of them frame by frame' in lines[-1]
  run('search', built[0], videos / 'query.mp4', '--budget', 0, *ALL)
  lines = capsys.readouterr().out.splitlines()
  assert all('(by the coarse score alone)' in line for line in lines[1:5])
  run('search', built[0], videos / 'query.mp4', '--budget', 2, *ALL)
  lines = capsys.readouterr().out.splitlines()
  scores = [float(line.split()[1]) for line in lines[1:5]]
  assert scores == sorted(scores, reverse=True)
  assert sum('(by the coarse score alone)' in line for line in lines) == 2


def test_indexes_here_and_at_an_address_are_searched_as_one(
  built, videos, tmp_path, capsys, monkeypatch
):
  monkeypatch.setenv('DELTAX_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(compilation, 'set_up', lambda: None)
  memory = fsspec.filesystem('memory')
  for path in filter(pathlib.Path.is_file, built[0].rglob('*')):
    place = f'/films/my.index/{path.relative_to(built[0])}'
    memory.pipe_file(place, path.read_bytes())
  try:
    run('index', videos / 'query.mp4', '--out', tmp_path / 'here')
    capsys.readouterr()
    places = tmp_path / 'here', 'memory://films/my.index'
    run('search', *places, videos / 'query.mp4', '--json', *ALL)
    found = json.loads(capsys.readouterr().out)
    assert found['videos'] == 5 and len(found['matches']) == 5
    names = [match['name'] for match in found['matches'][:2]]
    assert sorted(names) == ['query.mp4', 'trip/host.mp4']
    memory.rm('/films/my.index/segments/000001/fine.bin')
    shutil.rmtree(tmp_path / 'cache')
    told = refused(capsys, 'search', *places, videos / 'query.mp4', *ALL)
    assert 'memory://films/my.index/segments/000001/fine.bin is not' in told
  finally:
    memory.store.clear()


def test_what_scores_too_low_is_not_given_and_nothing_found_is_an_error(
  built, videos, capsys
):
  run('search', built[0], videos / 'query.mp4', '--json')
  found = json.loads(capsys.readouterr().out)
  assert [match['name'] for match in found['matches']] == ['trip/host.mp4']
  for options in ((), ('--json',)):
    with pytest.raises(SystemExit) as ended:
      run('search', built[0], videos / 'query.mp4', '--least', 1.5, *options)
    assert ended.value.code == 1
  table, _, found = capsys.readouterr().out.partition('{')
  assert 'nothing was found with a score of at least 1.5: the best' in table
  found = json.loads('{' + found)
  assert found['matches'] == [] and 0.95 < found['best'] <= 1


def test_search_writes_a_page_with_pictures(built, videos, tmp_path, capsys):
  page = tmp_path / 'found.html'
  run('search', built[0], videos / 'query.mp4', '--html', page, *ALL)
  text = page.read_text()
  assert text.count('<section class="match">') == 4
  assert 'trip/host.mp4' in text and 'data:image/jpeg;base64,' in text
  assert 'by the coarse score alone' not in text
  words = '--html', page, '--budget', 1, *ALL
  run('search', built[0], videos / 'query.mp4', *words)
  text = page.read_text()
  assert text.count('by the coarse score alone') == 3


def test_a_second_run_adds_nothing_and_a_copy_of_a_file_is_told(
  built, videos, tmp_path, capsys
):
  run('index', videos / 'db', '--out', built[0])
  assert '4 videos, 0 of them new; 4 were there' in capsys.readouterr().out
  other = tmp_path / 'a.mp4'
  other.write_bytes((videos / 'db/b.mp4').read_bytes())
  run('add', built[0], other)
  assert f'not once more: {other} is b.mp4' in capsys.readouterr().out
  assert len(Index(built[0])) == 4


def test_add_remove_and_info_follow_each_other(videos, tmp_path, capsys):
  folder = tmp_path / 'i'
  run('index', videos / 'db/a.mp4', '--out', folder, '--coarse', 'exact')
  run('add', folder, videos / 'db/b.mp4', videos / 'db/c.mp4')
  run('add', folder, videos / 'db/trip', '--background')
  capsys.readouterr()
  run('info', folder, '--json')
  about = json.loads(capsys.readouterr().out)
  assert (about['videos'], about['background'], about['removed']) == (3, 1, 0)
  assert about['hours'] == pytest.approx(3 * 12 / 3600)
  files = [path for path in (folder / 'segments').rglob('*') if path.is_file()]
  assert sum(about['bytes'].values()) == sum(p.stat().st_size for p in files)
  assert about['bytes']['fine'] == (3 * 12 + 24) * 9 * 48 * 4
  need = about['projected']['1000000']
  assert need['disk'] == pytest.approx(sum(about['bytes'].values()) * 10**6 / 4)
  assert need['machines'] == 1
  run('remove', folder, 'b.mp4')
  assert '1 removed, 3 left' in capsys.readouterr().out
  run('info', folder, '--names')
  told = capsys.readouterr().out
  assert told.endswith('a.mp4\nc.mp4\nhost.mp4\n') and '2 videos' in told
  assert 'b.mp4' not in told and 'a billion videos' in told
  run('search', folder, videos / 'db/b.mp4', '--normalise', '--least', -1)
  told = capsys.readouterr().out
  assert 'host.mp4' not in told and 'b.mp4' not in told
  run('remove', folder, '--compact')
  assert '0 removed, 3 left' in capsys.readouterr().out


def test_info_counts_the_machines_that_memory_or_disks_need(built, capsys):
  def machines(*options):
    run('info', built[0], '--json', *options)
    return json.loads(capsys.readouterr().out)['projected']['1000000000']

  need = machines('--disk-gb', 10**9)
  assert need['machines'] == -(-need['memory'] // 64e9) > 1
  need = machines('--disk-gb', 10, '--memory-gb', 10**9)
  assert need['machines'] == -(-need['disk'] // 10e9) > 1
  run('info', built[0], '--check')
  told = capsys.readouterr().out
  assert 'all are right' in told and 'it grows with' in told
  assert 'of 64 GB of memory and 4000 GB of disk' in told


def test_info_checks_every_byte_when_asked(built, tmp_path, capsys):
  folder = tmp_path / 'i'
  shutil.copytree(built[0], folder)
  path = folder / 'segments/000001/fine.bin'
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  run('info', folder)
  assert 'fine.bin' in refused(capsys, 'info', folder, '--check')


def test_an_empty_index_tells_its_size(videos, tmp_path, capsys):
  run('index', videos / 'db/a.mp4', '--out', tmp_path / 'i')
  run('remove', tmp_path / 'i', 'a.mp4')
  run('info', tmp_path / 'i')
  assert '0 videos, 0.00 hours' in capsys.readouterr().out


@pytest.mark.parametrize('begun', [False, True])
def test_where_nothing_can_be_indexed_no_index_is_made(
  videos, tmp_path, capsys, begun
):
  broken = tmp_path / 'broken'
  broken.mkdir()
  for number in range(5):
    (broken / f'{number}.mp4').write_bytes(b'no video' * 100)
  (tmp_path / 'none').mkdir()
  out = tmp_path / 'out'
  if begun:
    out.mkdir()  # an empty folder may become an index
  before = sorted(tmp_path.rglob('*'))
  for place, expected in (
    (videos / 'db/empty.mp4', 'no video could be added: empty.mp4: '),
    (broken, '2.mp4: '),
    (tmp_path / 'none', 'no videos in '),
  ):
    told = refused(capsys, 'index', place, '--out', out)
    assert expected in told
  assert 'and 2 more' in refused(capsys, 'index', broken, '--out', out)
  assert sorted(tmp_path.rglob('*')) == before


def test_where_nothing_can_be_added_the_index_stays_as_it_was(
  videos, tmp_path, capsys
):
  out = tmp_path / 'i'
  run('index', videos / 'db/a.mp4', '--out', out)

  def files():
    paths = [path for path in out.rglob('*') if path.is_file()]
    return {path: path.read_bytes() for path in paths}

  before = files()
  for words in (['add', out], ['index', '--out', out]):
    told = refused(capsys, *words, videos / 'db/empty.mp4')
    assert 'could be added: empty.mp4: ' in told and 'file is empty' in told
    assert files() == before
  # What is there already is no failure, whatever else is broken.
  run('add', out, videos / 'db/a.mp4', videos / 'db/empty.mp4')
  told = capsys.readouterr().out
  assert '0 of them new; 1 were there already' in told
  assert 'left out: empty.mp4: ' in told and files() == before


def test_another_model_is_refused_naming_both(built, videos, capsys):
  for words in (['search'], ['add']):
    told = refused(
      capsys, *words, built[0], videos / 'query.mp4', '--model', 'other'
    )
    assert 'the model f00d' in told and 'beef' in told
  told = refused(
    capsys, 'index', videos / 'db', '--out', built[0], '--model', 'other'
  )
  assert 'the model f00d' in told and 'beef' in told


def test_files_that_have_gone_or_changed_are_told_and_refreshed(
  videos, tmp_path, capsys
):
  films, out, page = tmp_path / 'films', tmp_path / 'i', tmp_path / 'a.html'
  shutil.copytree(videos / 'db', films)
  run('index', films, '--out', out)
  (films / 'a.mp4').rename(films / 'trip/renamed.mp4')
  (films / 'b.mp4').unlink()
  write_video(films / 'c.mp4', film(20, 6), RATE)
  (films / 'trip').rename(films / 'tour')
  capsys.readouterr()
  run('search', out, videos / 'query.mp4', '--html', page, *ALL)
  told = capsys.readouterr().out
  assert all(f'{n} (missing)' in told for n in ('a.mp4', 'b.mp4', 'host.mp4'))
  assert 'c.mp4 (changed)' in told
  assert 'b.mp4 (missing)' in page.read_text()
  run('search', out, videos / 'query.mp4', '--json', *ALL)
  found = json.loads(capsys.readouterr().out)['matches']
  assert {match['name']: match['state'] for match in found} == {
    **{n: 'missing' for n in ('a.mp4', 'b.mp4', 'trip/host.mp4')},
    'c.mp4': 'changed',
  }
  # The folder of one is gone, as with a disk that is not there.
  run('refresh', out)
  told = capsys.readouterr().out
  assert '2 videos; 0 moved, 2 removed' in told
  assert 'removed: a.mp4\nremoved: b.mp4\n' in told
  assert 'missing: trip/host.mp4: its folder is gone; --force' in told
  assert 'changed: c.mp4: ' in told
  (films / 'tour/host.mp4').rename(films / 'host2.mp4')
  run('refresh', out)
  told = capsys.readouterr().out
  assert 'moved: trip/host.mp4 is host2.mp4\n' in told
  assert sorted(Index(out).names) == ['c.mp4', 'host2.mp4']
  run('add', out, films)
  told = capsys.readouterr().out
  assert '3 videos, 2 of them new; 1 were there already' in told
  assert 'encoded again: c.mp4: its file has changed' in told
  shutil.rmtree(films)
  run('refresh', out)
  assert '3 videos; 0 moved, 0 removed' in capsys.readouterr().out
  run('refresh', out, '--force')
  assert '0 videos; 0 moved, 3 removed' in capsys.readouterr().out


def test_damage_and_sizes_that_change_are_told_of_videos_and_queries(
  videos, tmp_path, capsys
):
  films, parts = tmp_path / 'films', []
  films.mkdir()
  odd_videos.damaged(videos / 'db/a.mp4', films / 'hurt.mp4')
  for number, size in enumerate([(32, 48), (48, 48)]):
    part = tmp_path / f'{number}.ts'
    frames = np.full((8, *size, 3), 90 * number, np.uint8)
    parts.append(odd_videos.write(part, frames, 4, form='mpegts'))
  odd_videos.joined(films / 'changing.ts', *parts)
  run('index', films, '--out', tmp_path / 'i')
  lines = capsys.readouterr().out.splitlines()
  assert 'changing.ts: its size changes 1 time' in lines
  (hurt,) = (line for line in lines if line.startswith('hurt.mp4: '))
  assert hurt.endswith(' damaged frames')
  run('search', tmp_path / 'i', films / 'hurt.mp4', '--least', 0)
  assert f'{films}/{hurt}' in capsys.readouterr().out
  run('search', tmp_path / 'i', films / 'changing.ts', '--json', '--least', 0)
  query = json.loads(capsys.readouterr().out)['query']
  assert (query['damaged'], query['resized']) == (0, 1)


def test_what_is_passed_by_in_a_folder_is_told(videos, tmp_path, capsys):
  films = tmp_path / 'films'
  shutil.copytree(videos / 'db', films)
  (films / 'notes.txt').write_text('no video')
  (films / '.hidden').touch()
  shutil.copy(films / 'a.mp4', films / 'copy')
  run('index', films, '--out', films / 'my.index')
  told = capsys.readouterr().out
  assert f'not once more: {films.resolve() / "copy"} is a.mp4' in told
  hidden, notes = films / '.hidden', films / 'notes.txt'
  assert f'passed by: 1 hidden ({hidden}); 1 text ({notes})' in told
  run('add', films / 'my.index', films)
  told = capsys.readouterr().out
  assert f'; 1 indexes ({films}/my.index); 1 text ({notes})' in told


def test_what_is_missing_or_wrong_is_said_in_a_line(
  built, videos, tmp_path, capsys
):
  for words, expected in (
    (('search', tmp_path, videos / 'query.mp4'), 'is no index'),
    (('search', built[0], tmp_path / 'no.mp4'), 'no.mp4: no such file'),
    (('search', built[0], videos / 'db/empty.mp4'), 'empty.mp4: the file is'),
    (
      ('search', built[0], videos / 'query.mp4', '-k', 0),
      '-k is at least 1, got 0',
    ),
    (('search', built[0], videos / 'query.mp4', '--budget', -1), '--budget is'),
    (('search', built[0], videos / 'query.mp4', '--normalise'), 'background'),
    (('remove', built[0], 'zzz'), "has no video 'zzz'"),
    (('remove', built[0]), 'nothing to do'),
    (('add', built[0], tmp_path / 'no'), 'no such file or folder'),
    (('info', tmp_path / 'no'), 'is no index'),
    (('info', built[0], '--disk-gb', 0), '--disk-gb is more than 0, got 0'),
  ):
    assert expected in refused(capsys, *words)
  assert len(Index(built[0])) == 4


def test_what_is_done_stays_when_adding_is_interrupted(
  videos, tmp_path, monkeypatch
):
  real, seen = indexing.read_parts, []

  def read(system, path):
    seen.append(path)
    if len(seen) == 3:
      raise KeyboardInterrupt
    return real(system, path)

  monkeypatch.setattr(indexing, 'read_parts', read)
  words = ['index', videos / 'db', '--out', tmp_path / 'i']
  with pytest.raises(SystemExit) as left:
    run(*words)
  assert left.value.code == STOPPED
  assert [*Index(tmp_path / 'i').names] == ['a.mp4', 'b.mp4'][: len(seen) - 1]
  run(*words)
  assert len(Index(tmp_path / 'i')) == 4


def moving(where):
  """A match with a picture each second, and a query of 10 seconds."""
  query = ReadVideo(
    regions=np.zeros((10, 1, 1)),
    pictures=[b'q%d' % n for n in range(10)],
    times=np.arange(10.0),
    duration=10.0,
    damaged=0,
  )
  match = Match('m', 'm', 1.0, 1.0, bool(where), 40.0, where, 0)
  return query, match, {float(t): b't%d' % t for t in range(0, 40, 2)}


def test_pictures_side_by_side_show_the_same_moment():
  where = Where((2.0, 6.0), (20.0, 28.0), 0.9)
  pairs = search.side_by_side(*moving((where,)))
  assert [pair.target[0] for pair in pairs] == [20, 22, 24, 26]
  assert [pair.query for pair in pairs] == [
    (n, b'q%d' % n) for n in (2.0, 3.0, 4.0, 5.0)
  ]
  assert {pair.segment for pair in pairs} == {0}


def test_pictures_of_a_part_in_reverse_run_backward():
  where = Where((2.0, 6.0), (20.0, 28.0), 0.9, backward=True)
  pairs = search.side_by_side(*moving((where,)))
  assert [pair.target[0] for pair in pairs] == [20, 22, 24, 26]
  assert [pair.query[0] for pair in pairs] == [6, 5, 4, 3]


def test_pictures_without_a_segment_run_side_by_side():
  pairs = search.side_by_side(*moving(()))
  assert len(pairs) == search.SHOWN
  assert {pair.segment for pair in pairs} == {None}
  seconds = [(pair.query[0], pair.target[0]) for pair in pairs]
  assert seconds[0] == (0, 0)
  assert all(abs(q - t / 4) <= 0.5 for q, t in seconds)


def test_precise_ends_are_those_of_frames(videos, built, capsys):
  folder, _ = built
  asked = 'search', folder, videos / 'query.mp4', *ALL, '-k', 1, '--json'
  run(*asked)
  plain = json.loads(capsys.readouterr().out)['matches'][0]['where'][0]
  run(*asked, '--precise')
  (match,) = json.loads(capsys.readouterr().out)['matches']
  where = match['where'][0]
  for name, ends in (('query', (0, 8)), ('target', (10, 18))):
    np.testing.assert_allclose(plain[name], ends, atol=1)
    np.testing.assert_allclose(where[name], ends, atol=1 / RATE)
