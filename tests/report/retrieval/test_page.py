"""The page of a retrieval evaluation is whole and shows what it was given."""

import html.parser
import json
import math
import re
import sys

import numpy as np
import pytest

from deltax.data.features.annotations import Copies
from deltax.metrics.protocols import evaluate
from deltax.report import to_json
from deltax.report.retrieval import page as retrieval_page
from deltax.report.retrieval import summary
from deltax.report.retrieval.contents import retrieval_from_json as read
from deltax.retrieval.search import rerank

VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}
FINE = 'coarse & fine <A>'


def row(share, score, seconds):
  return {
    'share': share,
    'pairs': 100 * share,
    'scores': {'mAP': score, 'recall@1': 0.9},
    'seconds': seconds,
    'bytes': 2_068_484,
  }


def results(**changes):
  """As `results.json` holds them."""
  scores = {'mAP': 0.9214, 'recall@1': 0.99, 'recall@10': 0.953}
  base = {
    'title': 'Copies & <more>',
    'device': '2 cores',
    'notes': ['measured <carefully>'],
    'metric': 'mAP',
    'queries': 12,
    'videos': 1024,
    'students': [
      {'name': 'fine <A>', 'scores': scores, 'bytes': 2**21, 'seconds': 2.2},
      {
        'name': 'coarse',
        'scores': {**scores, 'mAP': 0.5738},
        'bytes': 4100,
        'seconds': 0.0004,
      },
    ],
    'trade_off': {
      FINE: [row(0, 0.5738, 0.01), row(0.2, 0.9105, 0.45), row(1, 0.9214, 2.2)]
    },
    'by_query': {
      f'clip <{place}>': {'mAP': 0.05 * place, 'recall@1': 0.5}
      for place in range(12)
    },
    'judged': 'all <pairs>',
    'missing': ['lost <query>'],
    'empty': ['lonely <query>'],
    'unscored': 1234,
    'failed': {'broken <video>.mp4': 'no <video> stream'},
  }
  return {**base, **changes}


class Reader(html.parser.HTMLParser):
  """Collects text and ids, and checks that tags are closed."""

  def __init__(self, page):
    super().__init__()
    self.open, self.text, self.attributes = [], [], []
    self.feed(page)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.attributes += [(name, value or '') for name, value in attrs]
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.attributes += [(name, value or '') for name, value in attrs]

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag, f'</{tag}> closes another tag'

  def handle_data(self, data):
    self.text.append(data)


def page_of(folder, **changes):
  path = folder / 'new' / 'page.html'
  retrieval_page.write_retrieval_page(path, read(results(**changes)))
  return path.read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  return page_of(tmp_path_factory.mktemp('report'))


def test_the_page_is_whole_and_needs_no_other_file(whole):
  reader = Reader(whole)
  assert reader.open == []
  for name, value in reader.attributes:
    if name in ('src', 'href', 'xlink:href'):
      assert value.startswith(('data:', '#')), value
  assert 'http' not in whole and '<script' not in whole
  ids = [value for name, value in reader.attributes if name == 'id']
  assert ids and len(ids) == len(set(ids))
  used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', whole))
  assert used and {a or b for a, b in used} <= set(ids)


def test_the_page_shows_the_figures_given(whole):
  text = ' '.join(Reader(whole).text)
  for shown in (
    *('92.1', '57.4', '95.3', '2.00 MB', '4.00 KB', '2.20 s', '0.40 ms'),
    *('91.0', '450 ms', '20%', '1,024 videos', '12 queries', '2 cores'),
    *('lost <query>', 'lonely <query>', '1,234', 'broken <video>.mp4'),
    *('no <video> stream', 'measured <carefully>', 'all <pairs>', FINE),
  ):
    assert shown in text, shown


def test_names_are_escaped(whole):
  raw = ('<more>', '<A>', '<query>', '<video>', '<carefully>', '<pairs>')
  assert not [name for name in raw if name in whole]
  assert '<0>' not in whole and 'clip &lt;0&gt;' in whole


def test_the_hardest_queries_come_first(whole):
  listed = re.findall(r'clip &lt;(\d+)&gt;', whole)
  assert listed == [str(place) for place in range(retrieval_page.WORST)]


def test_a_mark_tells_its_figures_when_hovered_over(whole):
  title = 'coarse &amp; fine &lt;A&gt;: 20% re-ranked, mAP 91.0, 450 ms a query'
  assert whole.count(f'<title>{title}</title>') == 2  # by share and by time


def test_plots_follow_the_scheme_of_the_reader(whole):
  plots = ''.join(re.findall(r'<svg.*?</svg>', whole, re.DOTALL))
  assert 'var(--delta)' in plots and '#0b66ad' not in plots


def test_empty_parts_are_left_out(tmp_path):
  page = page_of(
    *(tmp_path,),
    trade_off={},
    by_query={},
    notes=[],
    missing=[],
    empty=[],
    unscored=0,
    failed={},
  )
  for title in ('re-ranking costs', 'Hardest', 'How it was'):
    assert title not in page
  assert 'every video was read' in page and Reader(page).open == []


def test_what_was_not_measured_is_a_dash(tmp_path):
  students = results()['students']
  students[0].update(bytes=None, seconds=math.nan)
  students[1]['scores'] = {'mAP': None, 'recall@1': math.nan}
  by_query = {'a': {'mAP': math.nan}, 'b': {'mAP': 0.5}}
  page = page_of(tmp_path, students=students, by_query=by_query)
  assert 'nan' not in page.lower() and 'None' not in page
  assert page.count('&ndash;') == 5
  lines = summary.table(read(results(students=students))).splitlines()
  assert lines[1].split()[-2:] == ['-', '-']
  assert lines[2].split()[1:4] == ['-', '-', '-']


def test_long_lists_are_cut_and_counted(tmp_path):
  many = [f'query {place}' for place in range(70)]
  page = page_of(tmp_path, missing=many, failed=dict.fromkeys(many, 'broken'))
  assert page.count('And 20 more.') == 2
  assert 'query 49' in page and 'query 50' not in page


def test_results_are_the_same_after_their_way_through_a_file():
  given = read(results())
  again = json.loads(json.dumps(to_json(given)))
  assert again == to_json(given) == results()
  assert read(again) == given


def test_the_page_takes_what_evaluation_and_trade_off_return(tmp_path):
  rng = np.random.default_rng(0)
  annotation = Copies({'a': frozenset('bcd'), 'b': frozenset('a')})
  coarse, selector, fine = rng.random((3, 2, 5))
  made = {'queries': tuple('ab'), 'targets': tuple('abcde')}
  rows = rerank.trade_off(
    *(annotation, coarse, selector, fine),
    **made,
    seconds={'coarse': 1.0, 'selector': 1.0, 'fine': 1.0},
    bytes_per_video=4,
  )
  found = evaluate(
    annotation, dict(zip('ab', fine, strict=True)), targets='abcde'
  )
  scores = found.pop('scores')
  student = {'name': 'fine', 'scores': scores, 'bytes': 4, 'seconds': 1.0}
  page = page_of(
    tmp_path, students=[student], trade_off={'both': rows}, **found
  )
  assert f'{100 * scores["mAP"]:.1f}' in page and Reader(page).open == []


def test_the_page_says_what_it_lacks(tmp_path):
  for lacking, told in (
    ({'students': [{'name': 'fine'}]}, r"a student lacks \['scores'"),
    ({'trade_off': {'a': [{'share': 1}]}}, r"a row of .* lacks \['pairs'"),
    ({'metric': 'uAP'}, r"no 'uAP' among the scores \['mAP'"),
    ({'by_query': {'a': {'AP': 1.0}}}, r"no 'mAP' among .*\['AP'\]"),
  ):
    with pytest.raises(ValueError, match=told):
      page_of(tmp_path, **lacking)
  given = results()
  del given['failed']
  with pytest.raises(ValueError, match=r"results lacks \['failed'\]"):
    read(given)


def test_a_page_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
  page_of(tmp_path)
  path = tmp_path / 'new' / 'page.html'
  before = path.read_bytes()

  def full_disk(*_):
    raise OSError('no space left')

  monkeypatch.setattr('os.replace', full_disk)
  with pytest.raises(OSError, match='no space'):
    page_of(tmp_path, title='another')
  assert path.read_bytes() == before
  assert [file.name for file in path.parent.iterdir()] == ['page.html']


def test_without_matplotlib_the_error_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  with pytest.raises(ImportError, match=r"pip install 'deltax-jax\[report\]'"):
    page_of(tmp_path)


def test_the_headline_names_the_smallest_share_that_is_enough():
  assert summary.headline(read(results())) == (
    'Re-ranking 20% of the pairs keeps 98.8% of the mAP of re-ranking them '
    'all, 91.0 of 92.1, in 0.20 of the time (coarse & fine <A>).'
  )
  rows = [row(0, 0.93, 0.01), row(1, 0.92, math.nan)]
  assert summary.headline(read(results(trade_off={'both': rows}))) == (
    'Re-ranking 0% of the pairs keeps 101.1% of the mAP of re-ranking them '
    'all, 93.0 of 92.0 (both).'
  )
  alone = results(trade_off={})
  assert summary.headline(read(alone)) == 'mAP of 92.1 with fine <A>.'
  for student in alone['students']:
    student['scores']['mAP'] = None
  assert summary.headline(read(alone)) == 'Nothing was measured.'


def test_the_text_tables_have_a_row_for_each_student_and_share():
  lines = summary.table(read(results())).splitlines()
  assert len(lines) == 3 and len(set(map(len, lines))) == 1
  assert lines[1].split()[2:] == [
    *('92.1', '99.0', '95.3', '2.00', 'MB', '2.20', 's')
  ]
  lines = summary.trade_off(read(results())).splitlines()
  assert [line.split()[0] for line in lines[1:]] == ['0%', '20%', '100%']
  assert lines[2].split() == ['20%', '91.0', '450', 'ms']
  assert summary.trade_off(read(results(trade_off={}))) == ''


def test_trade_offs_of_different_shares_share_a_table():
  curves = {'a': [row(0, 0.5, 1.0), row(1, 0.9, 2.0)], 'b': [row(1, 0.8, 3.0)]}
  lines = summary.trade_off(read(results(trade_off=curves))).splitlines()
  assert lines[1].split() == ['0%', '50.0', '1.00', 's', '-', '-']
  assert lines[2].split() == ['100%', '90.0', '2.00', 's', '80.0', '3.00', 's']
