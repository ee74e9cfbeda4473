"""The commands of the README, on every config's smoke variant."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import cv2
import jax
import numpy as np
import own_films
import pytest

from deltax import experiment, files, report
from deltax.data.street import drive, layouts
from deltax.tasks.retrieval import report as retrieval_report

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(
  path.stem
  for path in (ROOT / 'configs').glob('*.py')
  if path.stem not in ('__init__', 'common')
)


def config_of(name, variant=''):
  path = ROOT / 'configs' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(variant).to_dict()


# Those that are about videos that are features already, and the others.
RETRIEVAL = [name for name in CONFIGS if 'judge' in config_of(name)]
# Others train their like, and do not measure layers first.
LONGEST = ('demo_delta_time', 'cityscapes_ddrnet23')
OF_VIDEOS = ('extractor', 'own_videos')
PICTURES = [name for name in CONFIGS if name not in RETRIEVAL]
# A network that compares frames, and a selector, by their commands.
COMMANDS = ('demo_retrieval_attention', 'demo_retrieval_selector')


def runs(names):
  """Configs by what their smoke variant does: some differ in numbers only."""
  by_run = {}
  for name in sorted(names, key=lambda name: name not in COMMANDS):
    config = config_of(name, 'smoke') | {'title': ''}
    for option in ('labelled_frames', 'labelled_worlds', 'pseudo_labels'):
      config['data']['train'].pop(option, None)
    if name in RETRIEVAL:
      config = {part: config[part] for part in ('task', 'data')}
      config['task'].pop('penalty_weight', None)
    by_run.setdefault(json.dumps(config, sort_keys=True), name)
  return sorted(by_run.values())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def trees(folder):
  """Where each data set of the configs lies, in small."""
  world = drive.render_world(3, frames=20, size=(128, 192))
  for split in ('train', 'val'):
    for sequence in (0, 1):
      layouts.write_cityscapes(
        world,
        folder / 'cityscapes',
        split=split,
        city='town',
        sequence=sequence,
      )
    for name, values in (('', world.frames), ('annot', world.labels)):
      target = folder / 'camvid' / f'{split}{name}'
      target.mkdir(parents=True)
      for t in range(10):
        picture = values[t] if name else values[t][..., ::-1]
        cv2.imwrite(str(target / f'{t:02}.png'), np.ascontiguousarray(picture))
    for number in (0, 1):
      video = f'{"part/" if split == "train" else ""}video_{number}'
      layouts.write_imagenet_vid(world, folder / 'imagenet_vid', split, video)
  layouts.write_imagenet_det(world, folder / 'imagenet_vid', 3, 'part/one')
  return {
    'street': None,
    'cityscapes': folder / 'cityscapes',
    'camvid': folder / 'camvid',
    'imagenet_vid': folder / 'imagenet_vid',
    'own': own_films.films(folder / 'own'),
  }


def run(*arguments, folder):
  environment = {
    **os.environ,
    'DELTAX_DATA': str(folder / 'data'),
    'XLA_FLAGS': os.environ['QUICK_COMPILATION'],
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  return subprocess.run(
    [sys.executable, *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )


def options(name, workdir, trees):
  data = (
    next(trees[key] for key in trees if name.startswith(key))
    if not name.startswith(('demo', *OF_VIDEOS))
    else None
  )
  root = [f'--config.data.options.root={data}'] if data else []
  if name in OF_VIDEOS:
    root = [f"--config.data.options.videos=('{trees['own']}',)"]
  return [
    f'--config=configs/{name}.py:smoke',
    f'--workdir={workdir}',
    *root,
  ]


@pytest.mark.parametrize('name', PICTURES)
def test_the_network_of_a_config_takes_its_frames(name):
  config = config_of(name) | {'teacher': ''}
  if config['task']['delta'] and 'latency' in config['task']['delta']:
    config['task']['delta']['latency'] = ''  # measured on each machine
  task = experiment.build(config).task
  # What rendered data are made of, and the others cut out.
  described = config['data']
  size = described['train'].get('crop') or described['options'].get('size')
  frame = jax.ShapeDtypeStruct((1, 1, *size, 3), np.uint8)
  params, state = jax.eval_shape(
    task.init, jax.random.key(0), {'frames': frame}
  )
  assert ('students' in params) == bool(config['task']['delta'])
  assert jax.tree.leaves(state)


def test_the_extractor_can_be_resnet50():
  config = config_of('extractor') | {'teacher': ''}  # no weights are packaged
  outputs = {str(stage): 'features' for stage in range(4)}
  config['task'].update(model='resnet50', outputs=outputs)
  config['task']['delta']['spec']['blocks'] = ('Bottleneck',)
  task = experiment.build(config).task
  frame = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), np.uint8)
  params, _ = jax.eval_shape(task.init, jax.random.key(0), {'frames': frame})
  assert len(params['students']) == 3 + 4 + 6 + 3


@pytest.mark.parametrize('name', RETRIEVAL)
def test_the_network_of_a_config_takes_regions(name):
  config = config_of(name)
  smoke = config_of(name, 'smoke')
  smoke['data']['train']['batch_size'] = 1
  batch = experiment.dataset(smoke, 'train')[0]
  task = experiment.build(config).task
  if config['task'].get('network') == 'fine_binary':
    params, _ = task.init(jax.random.key(0), batch)  # fitted to the batch
  else:
    params, _ = jax.eval_shape(
      lambda key: task.init(key, batch), jax.random.key(0)
    )
  assert jax.tree.leaves(params)
  assert set(config['judge']) == set(smoke['judge'])
  assert config['judge']['benchmark'] in retrieval_report.BENCHMARKS


def check_retrieval(config, workdir):
  """A run's page and its numbers."""
  results = json.loads((workdir / 'results.json').read_text())
  assert results['title'] == config['title']
  assert results['queries'] == results['videos'] == 12
  assert results['students'][0]['name'] == 'coarse'
  for row in results['students']:
    assert 0 < row['scores']['mAP'] <= 1
  for curve in results['trade_off'].values():
    assert [row['share'] for row in curve][:: len(curve) - 1] == [0, 1]
  assert '<html' in (workdir / 'report.html').read_text()
  lines = (workdir / 'metrics.jsonl').read_text()
  assert config['training']['best'] in lines


@pytest.mark.parametrize('name', COMMANDS)
def test_a_retrieval_config_trains_and_evaluates_by_its_commands(name, folder):
  workdir = folder / f'{name}_commands'
  flags = [f'--config=configs/{name}.py:smoke', f'--workdir={workdir}']
  trained = run('train.py', *flags, folder=folder)
  assert trained.returncode == 0, trained.stderr[-3000:]
  assert 'step 2 of 2: loss' in trained.stderr
  assert 'Unable to initialize' not in trained.stderr
  judged = run('eval.py', *flags, folder=folder)
  assert judged.returncode == 0, judged.stderr[-3000:]
  assert 'Unable to initialize' not in judged.stderr
  assert 'coarse' in judged.stdout and 'mAP' in judged.stdout
  check_retrieval(config_of(name, 'smoke'), workdir)


@pytest.mark.parametrize(
  'name', [name for name in runs(RETRIEVAL) if name not in COMMANDS]
)
def test_a_retrieval_config_trains_and_evaluates(name, folder):
  config, workdir = config_of(name, 'smoke'), folder / name
  experiment.train(config, workdir)
  page = retrieval_report.make_report(
    experiment.judged(config, workdir), title=config['title']
  )
  files.write_json(workdir / 'results.json', report.to_json(page))
  report.write_retrieval_page(workdir / 'report.html', page)
  check_retrieval(config, workdir)


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=pytest.mark.slow) if name in LONGEST else name
    for name in runs(PICTURES)
  ],
)
def test_a_config_trains_and_evaluates(name, folder, trees):
  workdir = folder / name
  flags = options(name, workdir, trees)
  trained = run('train.py', *flags, folder=folder)
  assert trained.returncode == 0, trained.stderr[-3000:]
  assert 'step 2 of 2: loss' in trained.stderr
  judged = run('eval.py', *flags, folder=folder)
  assert judged.returncode == 0, judged.stderr[-3000:]
  assert 'teacher, every frame' in judged.stdout
  results = json.loads((workdir / 'results.json').read_text())
  assert 0 <= results['teacher']['score'] <= 1
  assert results['ms']['teacher'] > 0
  page = (workdir / 'report.html').read_text()
  assert '<html' in page
  if config_of(name)['fit']['clips']:
    assert 'solved for' in page and (workdir / 'fit.json').exists()
  for row in results['delta']:
    assert len(row['per_distance']) == row['interval']
    assert row['share'] < 1
    assert f'delta, interval {row["interval"]}' in judged.stdout


def test_a_finished_run_starts_no_work_and_overrides_are_taken(folder):
  flags = [
    '--config=configs/demo_retrieval_coarse.py:smoke',
    f'--workdir={folder / "again"}',
    '--config.optimizer.learning_rate=0.125',
  ]
  first = run('train.py', *flags, folder=folder)
  assert first.returncode == 0, first.stderr[-3000:]
  config = json.loads((folder / 'again' / 'config.json').read_text())
  assert config['optimizer']['learning_rate'] == 0.125
  again = run('train.py', *flags, folder=folder)
  assert again.returncode == 0, again.stderr[-3000:]
  assert 'is finished: 2 steps are done' in again.stderr


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--config=configs/demo_delta.py:large'], "no variant 'large'; known"),
    (
      ['--config=configs/demo_delta.py:smoke', '--config.task.model=ddrnet'],
      "no network 'ddrnet'; known: ddrnet23_slim",
    ),
    (
      ['--config=configs/demo_delta.py:smoke', '--config.teacher=nowhere'],
      'nowhere',
    ),
    (
      ['--config=configs/cityscapes_ddrnet23_slim.py:smoke'],
      '/data/cityscapes',
    ),
  ],
)
def test_a_wrong_start_is_one_clear_error_and_leaves_nothing(
  flags, message, folder
):
  workdir = folder / 'wrong'
  result = run('train.py', *flags, f'--workdir={workdir}', folder=folder)
  assert result.returncode != 0
  # A flag that cannot be parsed is followed by a line on how to ask for help.
  said = [line for line in result.stderr.splitlines() if line.strip()]
  assert message in ' '.join(said[-2:])
  assert not workdir.exists()


class Clips(list):
  def of_all_processes(self):
    return self


def test_students_are_solved_for_on_as_many_clips_as_memory_holds():
  small = Clips({'frames': np.zeros((4, 2, 8, 8, 3), np.uint8)} for _ in '123')
  found = experiment.fit_batches({'fit': {'clips': 10}}, small)
  assert [len(batch['frames']) for batch in found] == [4, 4, 2]
  large = np.broadcast_to(np.uint8(0), (3, 2, 1000, 1000, 3))
  found = experiment.fit_batches(
    {'fit': {'clips': 10}}, Clips({'frames': large} for _ in '123')
  )
  assert [len(batch['frames']) for batch in found] == [3, 1]
