"""The page of a search: one file, everything in it, nothing taken for HTML."""

import base64
import html.parser
import re

import pytest

from deltax.report.retrieval.search_contents import (
  ShownMatch,
  ShownQuery,
  ShownSegment,
  SideBySide,
)
from deltax.report.retrieval.search_page import WIDTH, clock, write_search_page

QUERY = ShownQuery('a <query>.mp4', 20.0, {0.0: b'first', 10.0: b'second'})


def match(**changes):
  shown = ShownMatch(
    name='a <match>.mkv',
    path='/videos/"quoted"/a <match>.mkv',
    score=0.81234,
    coarse=0.6,
    reranked=True,
    duration=40.0,
    segments=[
      ShownSegment((5.0, 10.0), (30.0, 35.5), score=0.75, backward=False),
      ShownSegment((12.0, 16.0), (0.0, 4.0), score=0.5, backward=True),
    ],
    pairs=[SideBySide((6.0, b'qq'), (31.0, b'tt'), segment=1)],
  )
  return shown._replace(**changes)


def written(tmp_path, matches, **options):
  path = tmp_path / 'sub' / 'page.html'
  write_search_page(path, query=QUERY, matches=matches, **options)
  assert [p.name for p in path.parent.iterdir()] == ['page.html']
  return path.read_text('utf-8')


class Checked(html.parser.HTMLParser):
  """Tags that are closed, and all text."""

  ALONE = ('meta', 'img', 'br', 'path')

  def __init__(self, page):
    super().__init__()
    self.open, self.text, self.tags = [], [], []
    self.feed(page)
    assert not self.open

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    if tag not in self.ALONE:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def test_names_are_text_and_pictures_are_inside(tmp_path):
  page = Checked(written(tmp_path, [match()], notes=['3 < 4']))
  text = ' '.join(page.text)
  for told in ('a <match>.mkv', 'a <query>.mp4', '"quoted"', '3 < 4', '0.812'):
    assert told in text
  images = [about['src'] for tag, about in page.tags if tag == 'img']
  start = 'data:image/jpeg;base64,'
  assert all(image.startswith(start) for image in images)
  found = [base64.b64decode(image[len(start) :]) for image in images]
  assert found == [b'first', b'second', b'qq', b'tt']
  links = {'src', 'href'} & {k for tag, about in page.tags for k in about}
  assert links == {'src'}


def test_segments_are_drawn_to_scale_in_both_lines(tmp_path):
  page = written(tmp_path, [match()])
  (first, second) = re.findall(
    r'd="M([\d.]+) 16H([\d.]+)L([\d.]+) 58H([\d.]+)Z"', page
  )
  shares = [[float(x) / WIDTH for x in found] for found in (first, second)]
  # Start and end in the query, then end and start in the match; the second
  # runs in reverse there.
  assert shares[0] == pytest.approx(
    [5 / 20, 10 / 20, 35.5 / 40, 30 / 40], abs=1e-3
  )
  assert shares[1] == pytest.approx([12 / 20, 16 / 20, 0, 4 / 40], abs=1e-3)
  told = 'of the query is 0:30.0 to 0:35.5, likeness 0.75'
  assert f'0:05.0 to 0:10.0 {told}' in page
  assert 'is 0:00.0 to 0:04.0 in reverse, likeness 0.50' in page


def test_the_mark_below_a_picture_has_the_colour_of_its_segment(tmp_path):
  page = written(tmp_path, [match()])
  fills = re.findall(r'<g fill="([^"]+)">', page)
  marks = re.findall(r'class="mark" style="background:([^"]+)"', page)
  assert marks == [fills[1]] and fills[0] != fills[1]


def test_a_match_without_segments_says_why(tmp_path):
  pair = SideBySide((0.0, b'q'), (0.0, b't'), segment=None)
  plain = match(reranked=False, segments=[], pairs=[pair])
  page = written(tmp_path, [plain, match(pairs=[])])
  assert 'by the coarse score alone' in page
  assert page.count('compared frame by frame') == 1
  assert page.count('<section class="match">') == 2
  Checked(page)


def test_scores_outside_of_0_and_1_do_not_break_the_meter(tmp_path):
  page = written(tmp_path, [match(score=1.4), match(score=-0.3)])
  assert re.findall(r'<div style="width:([\d.]+)%">', page) == ['100.0', '0.0']


def test_nothing_found_is_said(tmp_path):
  page = Checked(written(tmp_path, []))
  assert 'Nothing was found.' in ' '.join(page.text)


def test_a_moment_is_never_60_seconds():
  assert clock(59.97) == '1:00.0' and clock(3599.99) == '1:00:00.0'
