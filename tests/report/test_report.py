"""The page is whole, stands alone, and shows the figures it was given."""

import html.parser
import json
import math
import re
import sys

import numpy as np
import pytest

from deltax import report
from deltax.delta import spec
from deltax.report.contents import (
  Boxes,
  BoxShot,
  Curves,
  GateHistory,
  LabelShot,
  LayerChoice,
  Page,
)
from deltax.report.style import LIGHT
from deltax.report.tables import OWN_COLOURS, candidate_colours

VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}
CLASSES = ['sky', 'road', 'car <b>&']
PALETTE = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]


def results(**changes):
  """As `results.json` holds them."""

  def scores(score, car=0.3):
    return {
      'score': score,
      'by_class': [0.9, 0.8, car],
      'others': {'consistency': 0.931},
    }

  def delta(interval, score, share):
    return {
      'interval': interval,
      **scores(score),
      'teacher_score': 0.66,
      'gmacs': 3.2 * share,
      'share': share,
      'ms': 40 * share,
      'per_distance': [0.66 - 0.01 * t for t in range(interval)],
      'teacher_per_distance': [0.66] * interval,
    }

  base = {
    'title': 'A street & <more>',
    'data': 'street',
    'metric': {
      'name': 'mIoU',
      'text': 'mean IoU',
      'of_class': 'IoU',
      'about': 'Intersection <over> union',
      'absent': 'neither labels nor predictions',
    },
    'classes': CLASSES,
    'palette': PALETTE,
    'teacher': {
      'name': 'ddrnet23_slim',
      'params': 5_690_000,
      'gmacs': 3.2,
      'ms': 38.1,
      **scores(0.66),
    },
    'delta': [delta(3, 0.6512, 0.48), delta(10, 0.5931, 0.31)],
    'ms': {'teacher': 38.1, 'key': 40.3, 'later': 22.4},
    'gmacs': {'key': 3.2, 'later': 0.71},
    'device': '2 cores',
    'size': [128, 256],
    'notes': ['measured <carefully>'],
  }
  return {**base, **changes}


def layers():
  candidates = {'low_rank_4_out': 200_000, 'full': 1_000_000}
  return [
    LayerChoice(
      path=f'layer{i}/conv<{i}>',
      candidates=candidates,
      teacher=1_000_000,
      chosen=chosen,
      probability={'full': 0.25, 'low_rank_4_out': 0.75},
    )
    for i, chosen in enumerate(['full', 'low_rank_4_out', 'low_rank_4_out'])
  ]


def history():
  steps = [0, 10, 30]
  gates = {layer.path: [0.27, 0.4, 0.9] for layer in layers()}
  curves = {
    'task': [1 / (1 + t) for t in range(60)],
    'miou <val>': [0.5 if t % 20 == 0 else None for t in range(60)],
    'never': [None] * 60,
  }
  return {
    'gates': GateHistory(steps, gates),
    'curves': Curves(list(range(60)), curves),
  }


def film():
  label = np.array([[0, 1, 255], [2, 2, 255]], np.uint8)
  shot = LabelShot(
    frame=np.full((2, 3, 3), 127, np.uint8),
    label=label,
    teacher=np.minimum(label, 2),
    delta=np.zeros_like(label),
    caption='world 7 & <frame 12>',
  )
  return [shot, shot]


class Reader(html.parser.HTMLParser):
  """Collects tags, attributes and text, and checks that tags are closed."""

  def __init__(self, page):
    super().__init__()
    self.open, self.tags, self.text, self.attributes = [], [], [], []
    self.feed(page)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.handle_startendtag(tag, attrs)
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += [(name, value or '') for name, value in attrs]

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag, f'</{tag}> closes another tag'

  def handle_data(self, data):
    self.text.append(data)


def read(given):
  return report.results_from_json(given)


def page_of(folder, **parts):
  path = folder / 'report.html'
  given = read(parts.pop('results', None) or results())
  report.write(path, Page(given, **parts))
  return path.read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('report')
  return page_of(folder, layers=layers(), film=film(), **history())


def test_every_tag_of_the_page_is_closed(whole):
  reader = Reader(whole)
  assert reader.open == []
  assert {'table', 'svg', 'img', 'details'} <= set(reader.tags)


def test_the_page_needs_no_other_file(whole):
  reader = Reader(whole)
  assert not {'script', 'link', 'iframe', 'object'} & set(reader.tags)
  for name, value in reader.attributes:
    if name in ('src', 'href', 'xlink:href'):
      assert value.startswith(('data:image/png;base64,', '#')), value
  assert '@import' not in whole and 'http' not in whole
  assert set(re.findall(r'url\((.)', whole)) <= {'#'}


def test_ids_are_unique_and_references_reach_them(whole):
  reader = Reader(whole)
  ids = [value for name, value in reader.attributes if name == 'id']
  assert len(ids) == len(set(ids))
  used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', whole))
  assert used and {a or b for a, b in used} <= set(ids)


def test_the_page_shows_the_figures_given(whole):
  text = ' '.join(Reader(whole).text)
  for figure in ('65.1', '59.3', '1.54', '0.48', '38.1', '93.1', '5.69'):
    assert figure in text, figure
  for path in ('layer0/conv<0>', 'layer2/conv<2>'):
    assert path in text
  assert 'full (1 of 3 layers)' in text
  assert 'low_rank_4_out (2 of 3 layers)' in text
  assert 'measured <carefully>' in text


def test_a_bar_tells_its_layer_when_hovered_over(whole):
  title = (
    'layer1/conv&lt;1&gt;: low_rank_4_out, 0.20 of 1.00 million \\(0.20\\)'
  )
  assert len(re.findall(f'<title>{title}</title>', whole)) == 3


def test_a_later_frame_is_shown_beside_its_floor(tmp_path):
  timed = results(ms={'teacher': 40.0, 'key': 44.0, 'later': 16.0})
  timed['gmacs'] = {'key': 3.2, 'later': 0.8}
  page = page_of(tmp_path, results=timed)
  assert 'A later frame takes 1.60 times its floor' in page
  cells = re.search(r'later frame, floor</th>(.*?)</tr>', page)[1]
  assert '10.0' in cells and '0.25' in cells
  assert 'redicted' not in page
  timed['ms']['predicted'] = 20.0
  page = page_of(tmp_path, results=timed)
  assert 'is 25 per cent above the measured one' in page
  assert '>later frame, predicted<' in page


def test_frame_times_of_parallel_streams_have_a_table(tmp_path):
  times = {'p50': 30.0, 'p95': 90.25, 'p99': 95.0, 'mean': 42.0}
  spread = {'p50': 44.0, 'p95': 48.0, 'p99': 51.5, 'mean': 45.0}
  streams = {'count': 4, 'interval': 5, 'at once': times, 'staggered': spread}
  page = page_of(tmp_path, results={**results(), 'streams': streams})
  assert 'all of 4 parallel streams have their next frame' in page
  row = re.search(r'staggered</t[hd]>(.*?)</tr>', page)[1]
  assert re.findall(r'[\d.]+', row) == ['44.0', '48.0', '51.5', '45.0']


def test_without_times_no_floor_is_claimed(tmp_path):
  untimed = results(ms={'teacher': None, 'key': None, 'later': math.nan})
  page = page_of(tmp_path, results=untimed)
  assert 'times its floor' not in page and 'nan' not in page.lower()


def test_a_choice_that_costs_nothing_is_still_to_be_seen(tmp_path):
  """Blocks and layers have other candidates; one in three chose to skip."""
  layer = layers()[0]._replace(path='conv1_0-conv1_3')
  candidates = {**layer.candidates, 'skip': 0, 'teacher': 1_000_000}
  free = layer._replace(
    path='layer1_0',
    candidates=candidates,
    chosen='skip',
    probability=dict.fromkeys(candidates, 0.25),
  )
  page = page_of(tmp_path, layers=[layer, free, layer])
  assert 'skip (1 of 3 layers)' in page and 'conv1_0-conv1_3' in page
  assert page.count('<title>layer1_0: skip, 0.00 of 1.00 million') == 3


def chosen_of(names, chosen):
  layer = layers()[0]._replace(candidates=dict.fromkeys(names, 1.0))
  return [layer._replace(chosen=name) for name in chosen]


def test_every_candidate_there_is_has_a_colour_and_no_other_name_has():
  made = [
    make()
    for table in (spec.CANDIDATES, spec.BLOCK_CANDIDATES)
    for make in table.values()
  ]
  names = sorted({candidate.name for candidate in made})
  found = candidate_colours(chosen_of(names, names))
  assert set(found) == set(names)
  assert set(found.values()) <= set(LIGHT)
  # A colour of its own is given to candidates that exist, by their names.
  assert set(OWN_COLOURS) <= set(names)


def test_candidates_that_are_chosen_never_share_a_colour():
  names = ['teacher', *(f'narrow_{i}' for i in range(9)), 'skip', 'full']
  chosen = ['narrow_8', 'narrow_7', 'skip', 'narrow_3', 'teacher', 'narrow_0']
  found = candidate_colours(chosen_of(names, chosen))
  assert set(found) == set(names) and found['full'] == 'candidate0'
  assert len({found[name] for name in [*chosen, 'full']}) == 7


def test_names_are_escaped(whole):
  assert '<b>' not in whole and 'car &lt;b&gt;&amp;' in whole
  for raw in ('<more>', '<frame', '<val>', '<carefully>', 'conv<', '<over>'):
    assert raw not in whole


def test_plots_follow_the_scheme_of_the_reader(whole):
  plots = ''.join(re.findall(r'<svg.*?</svg>', whole, re.DOTALL))
  assert 'var(--teacher)' in plots and 'var(--ink)' in plots
  assert '#1c2127' not in plots


def test_a_class_that_never_occurs_is_a_dash(tmp_path):
  for missing in (math.nan, None):
    changed = results()
    for row in (changed['teacher'], *changed['delta']):
      row['by_class'] = [0.9, 0.8, missing]
    page = page_of(tmp_path, results=changed)
    assert 'nan' not in page.lower() and 'None' not in page
    row = re.search(r'car &lt;b&gt;&amp;</th>(.*?)</tr>', page)[1]
    assert row.count('&ndash;') == 5


def test_scores_that_were_not_measured_are_dashes():
  changed = results(ms={'teacher': None, 'key': None, 'later': math.nan})
  changed['teacher'].update(
    ms=None, score=math.nan, others={'consistency': None}
  )
  changed['delta'][0].update(share=math.nan, teacher_score=None)
  changed = read(changed)
  text = report.table(changed)
  assert text.splitlines()[1].split()[-2:] == ['-', '-']
  assert report.headline(changed) == (
    'With a key frame every 3 frames, nothing was measured.'
  )


def test_missing_parts_are_left_out(tmp_path):
  page = page_of(tmp_path)
  assert 'Gates over training' not in page and 'Film' not in page
  assert 'Teacher and delta' in page and 'How it was measured' in page
  assert Reader(page).open == []


def test_results_are_the_same_after_their_way_through_a_file():
  given = read(results())
  again = json.loads(json.dumps(report.to_json(given)))
  assert again == report.to_json(given) == results()
  assert read(again) == given
  times = {'p50': 1.0, 'p95': 2.0, 'p99': 3.0, 'mean': 1.5}
  streams = {'count': 4, 'interval': 5, 'at once': times, 'staggered': times}
  written = {**results(), 'streams': streams, 'floor_gap': 1.5}
  assert report.to_json(read(written)) == written
  assert read(written).streams.at_once.p95 == 2.0


def test_a_page_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
  page_of(tmp_path)
  before = (tmp_path / 'report.html').read_bytes()

  def full_disk(*_):
    raise OSError('no space left')

  monkeypatch.setattr('os.replace', full_disk)
  with pytest.raises(OSError, match='no space'):
    page_of(tmp_path, results=results(title='another'))
  assert (tmp_path / 'report.html').read_bytes() == before
  assert [path.name for path in tmp_path.iterdir()] == ['report.html']


def test_the_page_says_which_figure_it_lacks(tmp_path):
  lacking = results()
  del lacking['gmacs']
  with pytest.raises(ValueError, match=r"results lacks \['gmacs'\]"):
    page_of(tmp_path, results=lacking)
  short = results()
  short['delta'][1]['per_distance'].pop()
  with pytest.raises(ValueError, match='per_distance at interval 10 has 9'):
    page_of(tmp_path, results=short)
  unlike = results()
  unlike['delta'][0]['others'] = {}
  with pytest.raises(ValueError, match=r"interval 3 are \[\], .*\['consist"):
    page_of(tmp_path, results=unlike)
  gates = GateHistory([0, 1], {'conv1': [0.5]})
  with pytest.raises(ValueError, match='gate conv1 has 1 values for 2 steps'):
    page_of(tmp_path, gates=gates)
  curves = Curves([0, 1], {'task': [0.5]})
  with pytest.raises(ValueError, match='curve task has 1 values for 2 steps'):
    page_of(tmp_path, curves=curves)
  lean = results(metric={'name': 'mIoU', 'text': 'mean IoU'})
  with pytest.raises(ValueError, match=r"metric lacks \['of_class', 'about'"):
    page_of(tmp_path, results=lean)
  short = results()
  del short['ms']['later']
  with pytest.raises(ValueError, match=r"results\['ms'\] lacks \['later'\]"):
    page_of(tmp_path, results=short)


def test_a_normalised_frame_is_refused(tmp_path):
  shot = film()[0]
  shot = shot._replace(frame=shot.frame / np.float32(255))
  with pytest.raises(ValueError, match=r'float32 \(2, 3, 3\), expected uint8'):
    page_of(tmp_path, film=[shot])


def boxes(count=2, **others):
  corners = np.array([[1, 1, 12, 9], [3, 2, 15, 15.0]], np.float32)
  return Boxes(corners[:count], np.array([2, 0])[:count], **others)


def film_of_boxes():
  found = boxes(scores=np.array([0.87, 0.41], np.float32))
  shot = BoxShot(
    frame=np.full((16, 20, 3), 127, np.uint8),
    truth=boxes(),
    teacher=found,
    delta=found,
    caption='world 7 & <frame 12>',
  )
  return [shot, shot, shot]


def detection(**changes):
  metric = {
    'name': 'AP50',
    'text': 'AP50',
    'of_class': 'AP50',
    'about': 'Average precision at IoU 0.5',
    'absent': 'no ground truth',
  }
  found = results(metric=metric, **changes)
  for row in (found['teacher'], *found['delta']):
    row['others'] = {'AP': 0.312}
  return found


def test_a_run_on_boxes_has_a_page_in_its_own_terms(tmp_path):
  page = page_of(
    tmp_path, results=detection(), layers=layers(), film=film_of_boxes()
  )
  text = ' '.join(Reader(page).text)
  assert 'IoU' not in text.replace('at IoU 0.5', '')
  assert 'loses 0.9 points of AP50' in text and 'AP, %' in text
  assert 'AP50 in per cent, by the number of frames' in text
  assert 'occurs in no ground truth' in text and '31.2' in text
  assert page.count('<img') == 9  # three frames: truth, teacher, delta
  assert 'a score of 0.3 or more' in text
  assert 'ground truth: world 7 &amp; &lt;frame 12&gt;' in page


def test_other_scores_may_be_left_out(tmp_path):
  plain = detection()
  for row in (plain['teacher'], *plain['delta']):
    del row['others']
  assert 'AP, %' not in page_of(tmp_path, results=plain)
  lines = report.table(read(plain)).splitlines()
  assert lines[0].split() == ['AP50', 'lost', 'GMACs', 'share', 'ms']


def test_a_film_says_what_its_boxes_lack(tmp_path):
  shot = film_of_boxes()[0]._replace(delta=boxes())
  with pytest.raises(ValueError, match=r'delta of frame .* lacks scores'):
    page_of(tmp_path, film=[shot])


def test_a_choice_outside_the_candidates_is_named(tmp_path):
  layer = layers()[0]._replace(chosen='low_rank_2_out')
  with pytest.raises(
    ValueError, match=r"low_rank_2_out.*\['full', 'low_rank_4"
  ):
    page_of(tmp_path, layers=[layer])


def test_without_gates_or_curves_there_is_nothing_to_plot(tmp_path):
  gates, curves = GateHistory([], {}), Curves([], {})
  page = page_of(tmp_path, gates=gates, curves=curves)
  assert page == page_of(tmp_path)


def test_one_step_of_training_is_already_a_report(tmp_path):
  gates = GateHistory([0], {'conv1': [0.3]})
  curves = Curves([0], {'task': [1.5], 'budget': [0.0]})
  assert '<h2>Training</h2>' in page_of(tmp_path, gates=gates, curves=curves)


def test_without_matplotlib_the_error_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  with pytest.raises(ImportError, match=r"pip install 'deltax-jax\[report\]'"):
    page_of(tmp_path)
  assert not (tmp_path / 'report.html').exists()


def test_the_text_table_has_a_row_for_every_interval():
  lines = report.table(read(results())).splitlines()
  assert len(lines) == 4 and len(set(map(len, lines))) == 1
  assert lines[1].split()[-5:] == ['66.0', '3.20', '1.00', '38.1', '93.1']
  assert lines[2].startswith('delta, interval 3 ')
  assert lines[2].split()[3:] == ['65.1', '0.9', '1.54', '0.48', '19.2', '93.1']
  assert lines[3].startswith('delta, interval 10')
  assert lines[3].isascii()


def test_the_headline_says_what_was_won():
  assert report.headline(read(results())) == (
    "With a key frame every 3 frames, delta needs 0.48 of the teacher's "
    'multiply-accumulates and loses 0.9 points of mean IoU; a later frame runs '
    '1.7 times as fast as the teacher.'
  )


def test_the_headline_is_honest_about_a_loss():
  lost = results(ms={'teacher': 20.0, 'key': 40.0, 'later': 30.0})
  lost['delta'][0].update(share=1.1, score=0.665)
  assert report.headline(read(lost)) == (
    "With a key frame every 3 frames, delta needs 1.10 of the teacher's "
    'multiply-accumulates (more, not fewer) and gains 0.5 points of mean IoU; '
    'a later frame takes 1.5 times as long as the teacher.'
  )


def test_the_details_hold_every_class_distance_and_time():
  lines = report.details(read(results())).splitlines()
  assert any(line.split() == ['sky', '90.0', '90.0', '90.0'] for line in lines)
  delta = next(line for line in lines if line.startswith('interval 3, delta'))
  assert delta.split()[-3:] == ['66.0', '65.0', '64.0']
  assert any(line.split() == ['later', '22.4', '0.710'] for line in lines)
  assert len({len(line) for line in lines[: len(CLASSES) + 1]}) == 1


def test_a_run_of_the_teacher_alone_has_a_page_too(tmp_path):
  alone = results(
    delta=[],
    ms={'teacher': 38.1, 'key': None, 'later': None},
    gmacs={'key': None, 'later': None},
  )
  alone = read(alone)
  report.write(tmp_path / 'page.html', Page(alone))
  assert 'Mean IoU of 66.0' in (tmp_path / 'page.html').read_text()
  assert len(report.table(alone).splitlines()) == 2
  assert 'later' not in report.details(alone)
