"""The page to drop a video on, in a browser."""

import re

import chromium
import numpy as np
import pytest
from made_films import RATE, film
from served import ABOUT, Gate, served, serving_on

from deltax.commands.serving.answers import Answers
from deltax.commands.serving.jobs import Answer, Jobs, Limits
from deltax.commands.serving.page import POLICY, make_page
from deltax.data.video.files import write_video

in_a_browser = pytest.mark.skipif(
  chromium.program() is None, reason='there is no Chromium'
)
# What the table of a match shows, by selectors.
ROW = '#found tbody tr:nth-child({}) {}'
FOUND = {
  'query': {'duration': 12.0, 'damaged': 0, 'resized': 0},
  'videos': 1000,
  'best': 0.97,
  'false_alarms': 1.0,
  'matches': [],
}


@pytest.fixture(scope='module')
def browser():
  with chromium.opened() as page:
    yield page


@pytest.fixture
def page(browser):
  browser.log.clear()
  browser.asked.clear()
  yield browser
  browser.open('about:blank')  # leaves the server alone, which is to end


def match(name='a.mp4', score=0.9, where=(), reranked=True):
  parts = [
    dict(zip(('query', 'target', 'score', 'backward'), part, strict=True))
    for part in where
  ]
  return {
    'name': name,
    'score': score,
    'coarse': 0.5,
    'reranked': reranked,
    'duration': 29.0,
    'where': parts,
  }


def finding(*matches, **about):
  found = {**FOUND, 'matches': list(matches), **about}
  return lambda path, asked, told: Answer(found, {})


def wait_for_table(page):
  page.wait('!document.getElementById("found").hidden')


def test_the_page_needs_nothing_from_elsewhere():
  page = make_page({**ABOUT, 'name': '<i>films</i>'}, 10**6)
  assert '<i>' not in page and '&lt;i&gt;films' in page
  assert not re.search(r'https?://(?!www\.w3\.org/2000/svg)', page)
  assert not re.search(r'<(?:script|img|iframe)[^>]* src|@import|url\(', page)
  assert "script-src 'sha256-" in POLICY and 'unsafe-eval' not in POLICY


@in_a_browser
def test_a_video_that_is_dropped_is_found_with_pictures_and_where(
  page, films, tmp_path
):
  limits, answers = Limits(), Answers(films / 'index', None, 100, 99)
  with (
    Jobs(answers, tmp_path, limits) as jobs,
    serving_on(jobs, limits, answers.about) as client,
  ):
    page.open(client.address)
    assert page.text('h1') == 'index: 4 videos, 1.0 minutes'
    page.drop(films / 'query.mp4')
    wait_for_table(page)
    assert page.text('#found .lead') == (
      'One video: host.mp4, with a score of 1.00.'
    )
    cells = page.text(ROW.format(1, '.where'))
    assert re.fullmatch(
      r'0:00\.0-0:0[78]\.\d of yours is 0:(09|10)\.\d-0:1[78]\.\d', cells
    )
    page.wait(
      '[...document.images].length == 2 && '
      '[...document.images].every((x) => x.naturalWidth > 50)'
    )
    assert not page.shown('#work') and not page.shown('#error')
    assert page.evaluate('document.activeElement.id') == 'found'
    assert not page.log
    assert all(x.startswith(client.address) for x in page.asked)


@in_a_browser
def test_a_file_is_chosen_by_keyboard_and_its_progress_is_told(
  page, films, tmp_path
):
  gate = Gate()
  with served(gate, tmp_path) as (client, jobs):
    page.open(client.address)
    page.press('Tab', 9)
    assert page.evaluate('document.activeElement.id') == 'query'
    page.choose('#query', films / 'query.mp4')
    page.wait('document.querySelector("#share").value === 1')
    assert page.text('#stage') == 'Reading the video'
    assert page.evaluate('document.querySelector("#stage").role') == 'status'
    page.press('Tab', 9)
    assert page.evaluate('document.activeElement.id') == 'cancel'
    page.press('Enter', 13)
    page.wait('document.getElementById("work").hidden')
    page.wait(
      'fetch("healthz").then((x) => x.json()).then((x) => !x.unfinished)'
    )
    assert jobs.unfinished() == 0 and gate.begun == 1


@in_a_browser
def test_names_are_text_whatever_is_in_them(page, films, tmp_path):
  name = '<img src=x onerror="document.title=1"><b>a</b>.mp4'
  part = ((0.0, 6.0), (3700.0, 3723.5), 0.9, True)
  search = finding(
    match(name, where=[part, part]), match(reranked=False), match()
  )
  with served(search, tmp_path) as (client, _):
    page.open(client.address)
    page.drop(films / 'query.mp4')
    wait_for_table(page)
    assert page.text(ROW.format(1, 'th')) == name
    assert page.evaluate('document.title') == 'Search films'
    told = page.text(ROW.format(1, '.where li:nth-child(2)'))
    assert told == '0:00.0-0:06.0 of yours is 1:01:40.0-1:02:03.5, backward'
    assert page.text(ROW.format(2, '.where')) == 'by the coarse score alone'
    assert page.text(ROW.format(3, '.where')) == 'no part stands out'
    assert page.text(ROW.format(3, '.score')) == '0.900'


@in_a_browser
def test_where_nothing_is_found_the_nearest_can_be_listed(
  page, films, tmp_path
):
  asked = []

  def search(path, wanted, told):
    asked.append(wanted.least)
    near = [match(score=0.2)] if wanted.least == 0 else []
    return Answer({**FOUND, 'matches': near, 'best': 0.2}, {})

  with served(search, tmp_path) as (client, _):
    page.open(client.address)
    page.drop(films / 'query.mp4')
    wait_for_table(page)
    assert page.text('#found .lead').startswith('Nothing was found')
    assert 'The best score is 0.200.' in page.text('#found')
    page.evaluate('document.querySelector("#found button").click()')
    page.wait('document.querySelector("#found tbody")')
    assert asked == [0.5, 0]


@in_a_browser
def test_what_is_wrong_is_told_in_a_sentence_and_the_next_video_is_searched(
  page, films, tmp_path
):
  note, large = tmp_path / 'note.txt', tmp_path / 'large.mp4'
  note.write_text('no video')
  large.write_bytes(bytes(100_001))
  cut = tmp_path / 'cut.mkv'
  write_video(cut, np.concatenate([film(8, 10), film(9, 8)]), RATE)
  cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
  folder = tmp_path / 'new'
  folder.mkdir()
  answers = Answers(films / 'index', None, 100, 99)
  with served(answers, folder, upload=10**5) as (client, _):
    page.open(client.address)
    for path, told in (
      (note, 'The upload is no video: text.'),
      (large, 'large.mp4 is too large: 0.1 MB, where 0.1 MB are taken.'),
      (cut, 'The video: the file is cut off: it ends after'),
    ):
      page.choose('#query', path)
      page.wait('!document.getElementById("error").hidden')
      assert page.text('#error').startswith(told)
      assert not page.shown('#work')
      assert page.evaluate('document.querySelector("#error").role') == 'alert'
    page.choose('#query', films / 'query.mp4')
    wait_for_table(page)
    assert not page.shown('#error')


@in_a_browser
def test_a_server_without_a_place_is_asked_again(page, films, tmp_path):
  gate = Gate()
  with served(gate, tmp_path, places=1) as (client, _):
    video = (films / 'query.mp4').read_bytes()
    first = client('POST', '/searches', video)[1]['id']
    page.open(client.address)
    page.choose('#query', films / 'query.mp4')
    page.wait('document.getElementById("stage").innerText.includes("no place")')
    client('DELETE', f'/searches/{first}')
    page.wait(
      'document.getElementById("stage").innerText == "Reading the video"'
    )
    assert gate.begun == 2


@in_a_browser
def test_it_is_told_that_the_server_is_gone(page, films, tmp_path):
  with served(Gate(), tmp_path) as (client, _):
    page.open(client.address)
  page.choose('#query', films / 'query.mp4')
  page.wait('!document.getElementById("error").hidden')
  assert page.text('#error') == 'The server does not answer. Is it running?'


@in_a_browser
@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('width', [360, 1200])
def test_it_can_be_read_in_the_light_and_in_the_dark_and_on_a_phone(
  page, films, tmp_path, dark, width
):
  part = ((0.0, 6.0), (3.0, 9.0), 0.9, False)
  search = finding(match('long name ' * 9, where=[part]), match())
  with served(search, tmp_path) as (client, _):
    page.open(client.address)
    page.drop(films / 'query.mp4')
    wait_for_table(page)
    page.picture(tmp_path / 'seen.png', width=width, dark=dark)
    assert page.evaluate('document.body.scrollWidth') <= width
    ink, paper = page.evaluate(
      '["color", "backgroundColor"].map((x) => '
      'getComputedStyle(document.body)[x].match(/[0-9]+/g).map(Number))'
    )
    assert (np.mean(ink) > np.mean(paper)) == dark
    assert abs(np.mean(ink) - np.mean(paper)) > 150
