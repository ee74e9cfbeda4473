"""The benchmark of delta networks, in small, and the networks it compares."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import torch_states

from deltax import delta, models
from deltax.data.copies import edits
from deltax.data.video import files as video
from deltax.delta.survey import survey

FOLDER = pathlib.Path(__file__).parents[1] / 'benchmarks'


@pytest.fixture
def script(monkeypatch):
  """Imports a file of the benchmarks by its name, as they do one another."""
  monkeypatch.syspath_prepend(FOLDER)
  before = set(sys.modules)
  yield importlib.import_module
  for name in set(sys.modules) - before:
    path = getattr(sys.modules[name], '__file__', None) or ''
    if pathlib.Path(path).parent == FOLDER:
      del sys.modules[name]


def run(*arguments, folder, script=FOLDER / 'delta.py'):
  environment = {
    **os.environ,
    'DELTAX_DATA': str(folder / 'data'),
    'XLA_FLAGS': os.environ['QUICK_COMPILATION'],
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  return subprocess.run(
    [sys.executable, str(script), *map(str, arguments)],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )


def test_the_command_prints_and_writes_what_it_measured(tmp_path):
  done = run(
    *('--networks', 'ddrnet23_tiny', '--size', '64x64', '--no-torch'),
    *('--candidates', 'low_rank:4', '--threads', '1', '--repeats', '1'),
    *('--interval', '3', '--engines', 'onnx', '--out', 'results.json'),
    folder=tmp_path,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert 'ddrnet23_tiny, 64x64, batch 1, float32, cpu' in done.stdout
  assert 'low_rank:4, mean of 3 frames' in done.stdout
  assert 'low_rank:4: later frame faster than own teacher' in done.stdout
  assert 'PyTorch' not in done.stdout
  (found,) = json.loads((tmp_path / 'results.json').read_text())['results']
  assert [path.name for path in tmp_path.iterdir()] == ['results.json']
  names = ['teacher', *(f'low_rank:4 {p}' for p in ('key', 'later', 'clip'))]
  assert 'onnx: low_rank:4, later frame' in done.stdout
  timed = found['ms']['1']
  assert [name for name in timed if ': ' not in name] == names
  assert {f'onnx: {name}' for name in names} == timed.keys() - set(names)
  for ms in found['ms']['1'].values():
    assert ms['cpu'] > 0 and ms['wall'] > 0
  assert set(found['programs']) == set(names[:-1])

  net = models.create('ddrnet23_tiny', num_classes=19)
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  layers = survey(net, variables, frame)
  selected = delta.make_spec().select(layers)
  chosen = [layer for layer in layers.layers if layer.path in selected]
  values = [np.prod(x.inputs) + np.prod(x.outputs) for x in chosen]
  outputs = [np.prod(layer.outputs) for layer in chosen]
  known = found['students']['low_rank:4']
  assert found['teacher_macs'] == delta.count(net, variables, frame).key
  assert known['later_macs'] < found['teacher_macs']
  assert known['inputs_and_outputs_bytes'] == 4 * sum(values)
  assert known['carry_bytes'] == 4 * sum(outputs)


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ('--networks ddrnet', "no network 'ddrnet'; known: ddrnet23_slim"),
    ('--candidates full nope:3', "nope:3: no candidate 'nope'; known: full"),
    (
      '--candidates low_rank:a',
      "--candidates low_rank:a: the candidate 'low_rank' cannot have the arg",
    ),
    ('--candidates low_rank:0', 'a low-rank factor is at least 1'),
    ('--size 64', "--size is as 512x1024, got '64'"),
    ('--threads 1 4096', 'this process may use'),
    ('--threads 0', 'this process may use'),
    ('--repeats 0', '--repeats is at least 1, got 0'),
  ],
)
def test_a_wrong_option_is_one_clear_error_before_anything_is_measured(
  script, flags, message, monkeypatch, capsys
):
  command = script('delta')
  monkeypatch.setattr(command, 'backend', lambda: 'cpu')
  monkeypatch.setattr(command, 'run', lambda job: pytest.fail('measured'))
  monkeypatch.setattr(sys, 'argv', ['delta.py', *flags.split()])
  with pytest.raises(SystemExit, match='2'):
    command.main()
  assert message in capsys.readouterr().err


def test_a_gpu_is_measured_in_both_types_and_batches_without_pinning(
  script, monkeypatch, capsys
):
  command, jobs = script('delta'), []

  def run(job):
    jobs.append(job)
    ms = {'teacher': {'cpu': 1.0, 'wall': 2.0}}
    found = {'backend': 'gpu', 'ms': ms, 'programs': {}, 'students': {}}
    return {**found, 'difference': None, 'teacher_macs': 10**9}

  monkeypatch.setattr(command, 'backend', lambda: 'gpu')
  monkeypatch.setattr(command, 'run', run)
  arguments = ['delta.py', '--networks', 'ddrnet39', '--no-torch']
  monkeypatch.setattr(sys, 'argv', arguments)
  command.main()
  assert [(job.dtype, job.batch, job.threads) for job in jobs] == [
    ('float32', 1, 0),
    ('float32', 8, 0),
    ('bfloat16', 1, 0),
    ('bfloat16', 8, 0),
  ]
  assert 'ddrnet39, 512x1024, batch 8, bfloat16, gpu' in capsys.readouterr().out


@pytest.mark.skipif(
  not hasattr(os, 'sched_setaffinity'), reason='cores cannot be chosen here'
)
def test_a_process_has_the_cores_that_it_was_given(script):
  command = script('delta')
  before = os.sched_getaffinity(0)
  code = 'import os; print(len(os.sched_getaffinity(0)))'
  with command.pinned(1):
    seen = subprocess.check_output([sys.executable, '-c', code])
  assert int(seen) == 1
  assert os.sched_getaffinity(0) == before
  with command.pinned(0):
    assert os.sched_getaffinity(0) == before


def test_the_table_gives_the_ratios_of_its_rows(script):
  def ms(teacher, later):
    rows = {'PyTorch teacher': 8, 'teacher': teacher, 'low_rank:4 later': later}
    rows['low_rank:4 clip'] = 40
    return {name: {'cpu': x, 'wall': 2 * x} for name, x in rows.items()}

  student = {'later_macs': 4e9, 'carry_bytes': 3e6}
  student['inputs_and_outputs_bytes'] = 12e6
  program = {'compile_s': 1.5, 'temporary_bytes': 2e6}
  lines = list(
    script('delta_table').table(
      {
        'network': 'net',
        'size': (4, 8),
        'batch': 1,
        'dtype': 'float32',
        'backend': 'cpu',
        'interval': 10,
        'teacher_macs': 20e9,
        'students': {'low_rank:4': student},
        'programs': {'teacher': program},
        'difference': 1e-6,
        'ms': {1: ms(10, 4), 2: ms(6, 3)},
      }
    )
  )
  cells = {line[:30].strip(): line[30:].split() for line in lines[2:6]}
  assert cells == {
    'PyTorch teacher': ['8.00', '16.00', '20.00'],
    'teacher': ['10.00', '12.00', '20.00', '2.0', '1.5'],
    'low_rank:4, later frame': ['4.00', '6.00', '4.00'],
    'low_rank:4, mean of 10 frames': ['4.00', '8.00', '5.60'],
  }
  assert lines[6].endswith(
    '2.50x (1 core, CPU ms), 2.00x (2 cores, wall ms), MACs 5.00x; '
    'carry 3.0 MB, 0.25 of inputs and outputs'
  )
  assert '1.25x (1 core, CPU ms), 0.75x (2 cores' in lines[7]


def test_functions_take_turns_of_two_calls_whose_second_counts(
  script, monkeypatch
):
  measure = script('delta_measure')
  clock, calls = [0.0], []

  def function(name, *seconds):
    left = iter(seconds)

    def call():
      calls.append(name)
      clock[0] += next(left)

    return call

  monkeypatch.setattr(measure.time, 'perf_counter', lambda: 2 * clock[0])
  monkeypatch.setattr(measure.time, 'process_time', lambda: clock[0])
  found = measure.timed(
    {
      'a': function('a', 64, 64, 32, 1, 32, 4, 32, 2),
      'b': function('b', 64, 64, 16, 8, 16, 8, 16, 8),
    },
    3,
  )
  assert calls == ['a', 'a', 'b', 'b'] * 4
  assert found['a'] == {'cpu': 2000, 'wall': 4000}
  assert found['b'] == {'cpu': 8000, 'wall': 16000}


def test_a_spelled_student_is_the_first_that_a_layer_has_a_start_for(script):
  spec = script('delta_measure').spec_of(
    'Bottleneck,Head=residual:2+depthwise+low_rank:16:min',
    'all_but_first_and_last',
  )
  net = models.create('ddrnet23_tiny', num_classes=19)
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  selected = spec.select(survey(net, variables, frame))
  names = {path: [c.name for c in own] for path, (_, own) in selected.items()}
  for block in ('layer5_0', 'layer5__0', 'final_layer'):
    (name,) = names[block]
    assert name.startswith('residual_2')
  assert names['layer1_0/conv1'] == ['depthwise']
  assert names['spp/scale1_3'] == ['low_rank_16_min']
  assert not any(path.startswith('final_layer/') for path in names)


@pytest.mark.parametrize(
  ('name', 'size'),
  [
    ('ddrnet23_tiny', (72, 64)),
    ('ddrnet39', (64, 64)),
    ('hrnet_w18_small', (68, 64)),
    ('efficientdet_d0', (72, 64)),
  ],
)
def test_the_pytorch_networks_compute_what_ours_do(script, name, size):
  torch = pytest.importorskip('torch')
  networks = script('torch_networks')
  net = models.create(name, num_classes=7)
  generator = np.random.default_rng(1)
  frame = generator.standard_normal((2, *size, 3), np.float32)
  shapes = jax.eval_shape(net.init, jax.random.key(0), frame)
  # All leaves at random, under which signals reach the end.
  variables = jax.tree.map(
    lambda x, y: x if x.ndim > 1 else x + 0.5 * y,
    script('delta_measure').drawn(shapes),
    torch_states.drawn(shapes),
  )
  whole = delta.distill(net, delta.make_spec(candidates=(('teacher',),)))
  params = whole.init(jax.random.key(0), variables, frame)
  other = networks.create(name, 7)
  networks.load(other, whole.freeze(params, frame).params)
  with torch.inference_mode():
    theirs = other(networks.to_torch(frame))
  ours = jax.jit(net.apply)(variables, frame)
  if not isinstance(ours, dict):
    ours, theirs = {'': ours}, {'': theirs.permute(0, 2, 3, 1)}
  for part, expected in ours.items():
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
      theirs[part].numpy() / scale, expected / scale, atol=1e-4, rtol=0
    )


def test_weights_of_another_network_are_refused(script):
  pytest.importorskip('torch')
  networks = script('torch_networks')
  with pytest.raises(ValueError, match="no network 'ddrnet'; known: ddrnet23"):
    networks.create('ddrnet', 7)
  other = networks.create('ddrnet23_tiny', 7)
  convs = {'conv1_0': {'kernel': np.zeros((3, 3, 3, 4))}}
  with pytest.raises(ValueError, match=r'conv1\.0\.weight is \(8, 3, 3, 3\)'):
    networks.load(other, {'convs': convs, 'variables': {}})
  with pytest.raises(ValueError, match='has no counterpart; expected'):
    networks.load(other, {'convs': {}, 'variables': {}})


def test_hashes_find_a_film_and_every_kind_of_edit_has_a_figure(script):
  copies = script('copies')
  rng = np.random.default_rng(0)
  films = rng.integers(0, 256, (3, 9, 40, 60, 3), np.uint8)
  hashes = [copies.phash(film) for film in films]
  assert hashes[0].shape == (9, 63)
  part = copies.phash(films[1][3:8])
  scores = [copies.aligned(part, other) for other in hashes]
  assert scores[1] == 1 and max(scores[0], scores[2]) < 0.7
  asked = copies._asked(
    ['a', 'b'],
    ['a', 'a1', 'a2', 'b', 'b1'],
    {'a': 'a', 'a1': 'a', 'a2': 'a', 'b': 'b', 'b1': 'b'},
    {'a': {'x'}, 'a1': {'x'}, 'a2': {'x'}, 'b': {'y'}, 'b1': {'x', 'y'}},
    {'a': [], 'a1': ['crop'], 'a2': ['crop', 'flip'], 'b': [], 'b1': ['flip']},
    {},
  )
  scores = np.array([[1, 0.9, 0.1, 0.6, 0.2], [0.3, 0.7, 0.1, 1, 0.8]])
  row = copies.judged(asked, scores)
  # Of a: a1, b, b1, a2; without a1 that is b, b1, a2. Of b: b1 is the first.
  assert row['all'] == pytest.approx(100 * ((1 + 2 / 4) / 2 + 1) / 2)
  assert row['crop'] == pytest.approx(100 * (1 + 2 / 4) / 2)
  assert row['flip'] == pytest.approx(100 * (1 / 3 + 1) / 2)
  assert row['copies above 0.5, %'] == pytest.approx(100 * 2 / 3)
  # b1 shows the scene of a as well; the others are unrelated.
  assert row['unrelated above 0.5, of 1,000'] == pytest.approx(1000 * 2 / 4)
  assert row['same scene, other time, above 0.5, of 1,000'] == 0
  assert copies.table({'x': row}).count('\n') == 7


def test_edits_that_nothing_learned_keep_what_they_are_given(script, tmp_path):
  unseen = script('copies_unseen')
  frames = np.random.default_rng(1).integers(0, 256, (7, 48, 64, 3), np.uint8)
  video.write_video(tmp_path / 'a.mp4', frames, 6.0)
  made = unseen.make(tmp_path / 'a.mp4', tmp_path / 'made')
  assert set(made) == set(unseen.EDITS) and not set(made) & set(edits.EDITS)
  for path in made.values():
    assert len(video.read_video(path, rate=99.0).frames) == 7
  before = {path: path.stat().st_mtime_ns for path in made.values()}
  unseen.make(tmp_path / 'a.mp4', tmp_path / 'made')
  assert before == {path: path.stat().st_mtime_ns for path in made.values()}


def test_where_is_judged_by_the_time_that_is_told_and_shared(script):
  where = script('where')
  assert where.joined([(3, 5), (0, 2), (4, 6)]) == [[0, 2], [3, 6]]
  truth = [((0.0, 4.0), (10.0, 14.0))]
  assert where.judge(truth, truth) == (1, 1, 1, 1)
  assert where.judge([], truth) == (0, 0, 0, 0)
  half = [((0.0, 2.0), (10.0, 14.0))]
  assert where.judge(half, truth) == (0.5, 1, 1, 0.5)
  assert where.judge([((0.0, 8.0), (14.0, 18.0))], truth) == (0.5, 0, 0, 0)
  rng = np.random.default_rng(0)
  assert where.made_up(rng, 30).shape == (30, 9, 8)


def test_the_transformer_has_the_sizes_of_the_published_one(
  script, monkeypatch
):
  transformer = script('transformer')
  monkeypatch.setattr(transformer, 'CLASSES', 150)
  net = transformer.Transformer()
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  arrays = jax.tree.leaves(variables)
  # It has a batch norm where this has a bias, of 256 channels.
  assert sum(x.size for x in arrays) == 3_752_694 - 256
  of_blocks = transformer.SPECS['blocks'].select(survey(net, variables, frame))
  blocks = [unit.path for unit, _ in of_blocks.values() if not unit.linear]
  assert blocks == [f'layer_{i}_{j}' for i in range(4) for j in range(2)]


def test_coarse_engines_are_filled_opened_and_asked(script, tmp_path):
  coarse = script('coarse')
  vectors = coarse.grouped(301)
  nearest = np.argsort(-(vectors[:3] @ vectors[:300].T))[:, : coarse.NEAREST]
  for kind in ('exact', 'ivf_sq8', 'milvus'):
    *seconds, size, found = coarse.measured(
      tmp_path / kind, kind, None, vectors, vectors[:3], nearest
    )
    assert min(seconds) > 0 and (size > 0) == (kind != 'exact')
    assert found == 1 if kind == 'exact' else found > 0.9


def test_films_are_indexed_by_one_process_and_by_two_into_the_same(
  script, tmp_path
):
  command = script('beam')
  command.make_films(tmp_path / 'films', 2, 3)
  first, second = sorted((tmp_path / 'films').iterdir())
  assert len(video.read_video(first).frames) == 3
  assert first.read_bytes() != second.read_bytes()
  command.check_same(tmp_path / 'films', tmp_path / 'films')
  for name, content in (('000.mp4', b''), ('001.mp4', first.read_bytes())):
    (tmp_path / 'other').mkdir(exist_ok=True)
    (tmp_path / 'other' / name).write_bytes(content)
    with pytest.raises(SystemExit, match='other is another index'):
      command.check_same(tmp_path / 'films', tmp_path / 'other')
  runs = {
    1: [command.Run(9, 1), command.Run(10, 2), command.Run(30, 9)],
    2: [command.Run(5, 3)],
  }
  assert command.table(runs)[2:] == [
    '| 1 | 10.0 | 2.00 |',
    '| 2 | 5.0 | 3.00 |',
    '| times as fast | 2.00 | 1.50 |',
  ]


@pytest.mark.slow
def test_a_trained_run_is_timed_rounded_and_rivalled(tmp_path):
  trained = tmp_path / 'trained'
  config = (
    f'--config={FOLDER.parent}/configs/demo_delta.py:smoke',
    f'--workdir={trained}',
  )
  for name in ('train', 'eval'):
    script = FOLDER.parent / f'{name}.py'
    done = run(*config, folder=tmp_path, script=script)
    assert done.returncode == 0, done.stderr[-3000:]
  results = json.loads((trained / 'results.json').read_text())
  rows, cols = results['size']
  smaller = f'{rows // 2}x{cols // 2}'

  def cells_of(name, *options):
    """Of the rows of the table that a script prints."""
    script = FOLDER / f'{name}.py'
    done = run(trained, *options, folder=tmp_path, script=script)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [x for x in done.stdout.splitlines() if x.startswith('| ')]
    return [[c.strip() for c in line.strip('|').split('|')] for line in lines]

  first, teacher, *_, own = cells_of('front')
  assert teacher[0] == 'teacher' and own[0] == 'trained'
  assert own[1] == f'{100 * results["delta"][0]["score"]:.1f}'
  assert len(own) == len(first) and all(float(x) > 0 for x in own[-8:])

  _, (size, *scores) = cells_of('smaller', '--sizes', smaller, '--steps', 2)
  assert size == smaller and all(0 <= float(x) <= 100 for x in scores)

  _, *found = cells_of('int8')
  names = [name for name, *_ in found]
  assert names == [
    *('teacher', 'teacher, int8', 'later frames', 'later frames, int8')
  ]
  assert all(float(x[3]) > 0 for x in found)
  assert all(float(x[2].rstrip('%')) > 80 for x in found[1::2])
