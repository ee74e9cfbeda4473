"""Runs side by side: their fronts, and the page that shows them."""

import math
import re

import numpy as np
import pytest

from deltax.report.compare import page as pareto_page
from deltax.report.compare import pareto
from deltax.report.compare.pareto import Point, compare, front

METRIC = {'name': 'mIoU', 'text': 'mean IoU'}


def run(scores, *, share=0.25, later=20.0, teacher=40.0, **changes):
  """Results at intervals 2, 3, ... of a teacher of 4 GMACs and score 0.7."""
  rows = [
    {
      'interval': n,
      'score': score,
      'teacher_score': 0.68,
      'gmacs': 4.0 * (1 + (n - 1) * share) / n,
      'ms': (44.0 + (n - 1) * later) / n,
    }
    for n, score in enumerate(scores, 2)
  ]
  return {
    'title': 'a run',
    'data': 'street',
    'metric': METRIC,
    'classes': ['sky', 'road'],
    'size': [64, 128],
    'device': '2 cores',
    'teacher': {'name': 'net', 'score': 0.7, 'gmacs': 4.0, 'ms': teacher},
    'delta': rows,
    'ms': {'teacher': teacher, 'key': 44.0, 'later': later},
    'gmacs': {'key': 4.0, 'later': 4.0 * share},
    **changes,
  }


def test_a_front_holds_exactly_what_no_other_point_beats():
  draw = np.random.default_rng(0)
  for _ in range(50):
    cells = draw.integers(1, 7, (12, 3)).astype(float)
    found = [
      Point(str(i), 3, score, 0.0, gmacs, ms)
      for i, (score, gmacs, ms) in enumerate(cells)
    ]
    for cost in pareto.COSTS:

      def beats(a, b, cost=cost):
        cheaper = getattr(b, cost) - getattr(a, cost)
        better = a.score - b.score
        return cheaper >= 0 and better >= 0 and cheaper + better > 0

      best = {b for b in found if not any(beats(a, b) for a in found)}
      kept = front(found, cost)
      assert set(kept) == best and len(kept) == len(best)
      costs = [getattr(point, cost) for point in kept]
      assert costs == sorted(costs)


def test_what_was_not_measured_is_on_no_front():
  known = Point('a', 3, 0.5, 0.0, 1.0, 1.0)
  unknown = Point('b', 3, math.nan, 0.0, 0.5, 0.5)
  untimed = Point('c', 3, 0.6, 0.0, 2.0, math.nan)
  assert front([unknown, known, untimed], 'ms') == [known]
  assert front([unknown, known, untimed], 'gmacs') == [known, untimed]


def test_a_teacher_of_several_runs_is_one_point():
  runs = {'a': run([0.6]), 'b': run([0.61], teacher=42.0), 'c': run([])}
  compared = compare(runs)
  teacher, *others = compared.points
  assert teacher == Point('teacher net', 1, 0.7, 0.0, 4.0, 40.0)
  assert [(p.run, p.interval) for p in others] == [('a', 2), ('b', 2)]
  assert others[0].lost == pytest.approx(8.0)
  assert list(compared.later) == ['a', 'b']


def test_a_later_frame_is_told_beside_its_floor_and_its_prediction():
  timed = run(
    [0.6], ms={'teacher': 40, 'key': 44, 'later': 20, 'predicted': 18}
  )
  own = compare({'a': timed}).later['a']
  assert own['share'] == 0.25 and own['speed'] == 2.0
  assert own['gap'] == pytest.approx(20 / (40 * 0.25))
  assert own['off'] == pytest.approx(0.9)
  heads, ((name, *cells),) = pareto.later_rows(compare({'a': run([0.6])}))
  assert name == 'a' and len(cells) == len(heads) - 1
  assert not any('predicted' in head for head in heads)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'metric': {'name': 'AP50'}}, 'has the metric mIoU, b AP50'),
    ({'data': 'camvid'}, 'has data street, b camvid'),
    ({'classes': ['sky', 'car']}, 'has classes sky, road, b sky, car'),
    ({'size': [32, 64]}, 'has frames of 64 x 128, b 32 x 64'),
  ],
)
def test_runs_that_cannot_be_compared_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    compare({'a': run([0.6]), 'b': run([0.6], **changes)})


def test_what_is_no_result_of_a_run_on_video_is_named():
  for wrong in ([], {'title': 'x', 'students': []}, 3):
    with pytest.raises(ValueError, match='b holds no results of a run on vid'):
      compare({'a': run([0.6]), 'b': wrong})
  with pytest.raises(ValueError, match='no results to compare'):
    compare({})


def test_every_point_is_drawn_once_on_each_plot_and_tells_its_figures(tmp_path):
  compared = compare({'low <rank>': run([0.6, 0.58]), 'skip': run([0.63, 0.5])})
  path = tmp_path / 'folder' / 'page.html'
  pareto_page.write_comparison(path, compared, 'all <runs>')
  page = path.read_text()
  assert '<runs>' not in page and '<rank>' not in page
  titles = re.findall('<title>(.*?)</title>', page)
  assert titles[0] == 'all &lt;runs&gt;'
  assert sorted(titles[1:6]) == sorted(titles[6:])
  assert len(set(titles[1:6])) == len(compared.points) == 5
  told = 'skip, interval 2: mIoU 63.0, 2.50 GMACs, 32.0 ms a frame'
  assert told in titles
  ids = re.findall(r'\bid="([^"]+)"', page)
  assert len(ids) == len(set(ids))
  assert 'different devices' not in page


def test_without_times_only_the_other_plot_is_drawn(tmp_path):
  untimed = run([0.6], ms={'teacher': None, 'key': None, 'later': None})
  untimed['teacher']['ms'] = untimed['delta'][0]['ms'] = None
  path = tmp_path / 'page.html'
  pareto_page.write_comparison(path, compare({'a': untimed}), 'x')
  page = path.read_text()
  assert page.count('<svg') == 1 and 'nan' not in page.lower()


def test_times_of_two_devices_are_marked_as_such(tmp_path):
  other = run([0.6], device='a phone')
  path = tmp_path / 'page.html'
  compared = compare({'a': run([0.6]), 'b': other})
  pareto_page.write_comparison(path, compared, 'x')
  assert 'timed on different devices' in path.read_text()


def test_no_scores_make_no_page(tmp_path):
  blank = run([None])
  blank['teacher']['score'] = None
  with pytest.raises(ValueError, match='no run has both a score and a cost'):
    pareto_page.write_comparison(
      tmp_path / 'page.html', compare({'a': blank}), 'x'
    )
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'title': 3}, 'b: results is damaged: title is 3, expected a text'),
    ({'size': [64]}, 'b: a size or an interval in it cannot be'),
    ({'size': '64'}, 'b: results is damaged: size is .64., expected a list'),
    ({'gmacs': []}, r"b: results\['gmacs'\] is no object"),
    ({'delta': {'a': 1}}, r"b: results\['delta'\] is no list of rows"),
    ({'delta': [3]}, r"b: a row of results\['delta'\] is no object"),
    ({'ms': {'teacher': 'x', 'key': 1, 'later': 1}}, r"teacher is 'x', expec"),
    ({'classes': [['sky']]}, r'classes\[0\] is a list, expected a text'),
    ({'streams': 4}, r"results\['streams'\] is no object"),
  ],
)
def test_results_of_another_type_are_refused_by_place(changes, message):
  with pytest.raises(ValueError, match=message):
    compare({'a': run([0.6]), 'b': run([0.6], **changes)})
  rows = run([0.6])['delta']
  with pytest.raises(ValueError, match='a size or an interval in it cannot be'):
    compare({'b': run([0.6], delta=[{**rows[0], 'interval': 0}])})


def test_a_teacher_that_was_timed_beside_other_work_is_told():
  even = compare({'one': run([0.6], teacher=40.0), 'two': run([0.6])})
  assert even.uneven == '' and 'cannot be compared' not in pareto.text(even)
  uneven = compare({'idle': run([0.6]), 'busy': run([0.5], teacher=80.0)})
  assert uneven.uneven.startswith(
    'The teacher net took 80.0 ms in busy and 40.0 ms in idle: '
  )
  assert pareto.text(uneven).endswith(uneven.uneven)


def test_the_page_tells_it_at_its_head(tmp_path):
  path = tmp_path / 'page.html'
  uneven = compare({'idle': run([0.6]), 'busy': run([0.5], teacher=80.0)})
  pareto_page.write_comparison(path, uneven, 'runs')
  head = path.read_text().partition('</header>')[0]
  assert uneven.uneven in head
