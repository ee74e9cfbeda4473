"""Programs killed at random moments, over and over, end as if nothing had been.

    DELTAX_KILLS=30 pytest tests/faults/test_kills.py -s

kills each kind of program as often, which takes an hour on two cores; without
that each is killed once. Between a kill and the next start every reader is
asked: it sees what was there before, or all that is new, or says in a sentence
that there is nothing yet.
"""

import collections
import json
import os
import random
import shutil

import jax
import numpy as np
import pytest
from killed_config import STEPS
from killed_programs import (
  Grid,
  Starter,
  kill_at,
  kill_while_writing,
)

from deltax.data.features.extraction import read_failures
from deltax.data.features.store import FeatureStore
from deltax.data.video.files import write_video
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.searcher import search
from deltax.systems import batches, extractors, indexing, open_index
from deltax.training import (
  CheckpointError,
  find_checkpoint,
  read_metadata,
  read_metrics,
  restore_params,
)

KILLS = int(os.environ.get('DELTAX_KILLS', 1))  # of each kind
IN_A_ROW = 6  # kills of one run, at most, before it is let end


class Training:
  """`train.py`: checkpoints, metrics, the config."""

  most_changes = 60

  def __init__(self, config, videos, folder):
    self._config = f'--config=tests/faults/killed_config.py:{config}'
    self._rows, self._about = None, None
    self._stored = {}  # what every checkpoint of a step holds, in any run

  def begin(self, folder):
    """Puts there what a run starts with."""

  def arguments(self, folder):
    return ['train.py', self._config, f'--workdir={folder}']

  def sign(self, folder):
    return folder / 'metrics.jsonl'

  def learn(self, folder):
    """What an unbroken run left is the measure of all others."""
    self._rows = untimed(folder)
    self._about = json.loads((folder / 'config.json').read_text())
    self.check(folder)
    assert STEPS in self._stored

  def check(self, folder):
    """Asks every reader; says where the run was."""
    if (folder / 'config.json').exists():
      assert json.loads((folder / 'config.json').read_text()) == self._about
    if (folder / 'metrics.jsonl').exists():
      rows = untimed(folder)
      assert rows == self._rows[: len(rows)]
    try:
      find_checkpoint(folder)
    except CheckpointError as error:
      assert 'no checkpoint in' in str(error), error
      if (folder / 'metrics.jsonl').exists():
        return 'before the first checkpoint'
      return 'before the work'
    names = [path.name for path in (folder / 'checkpoints').iterdir()]
    for name in filter(str.isdigit, names):
      params, state = restore_params(folder / 'checkpoints' / name)
      assert params and state is not None
      leaves = read_metadata(folder / 'checkpoints' / name)['leaves']
      assert self._stored.setdefault(int(name), leaves) == leaves
    if all(map(str.isdigit, names)):
      return 'between saves'
    return 'while a checkpoint was written or deleted'

  def check_end(self, folder):
    self.check(folder)
    assert untimed(folder) == self._rows
    assert (folder / 'checkpoints' / str(STEPS)).is_dir()


def untimed(workdir):
  rows = read_metrics(workdir)
  return [{k: v for k, v in r.items() if k != 'steps_per_second'} for r in rows]


class Extraction:
  """`deltax extract`: a store of features, and what could not be read."""

  most_changes = 30

  def __init__(self, config, videos, folder):
    self._videos = videos

  def begin(self, folder):
    pass

  def arguments(self, folder):
    return ['deltax', 'extract', self._videos, '--out', folder / 'store']

  def sign(self, folder):
    return folder / 'store' / 'lock'

  def learn(self, folder):
    self._features = stored_features(folder / 'store')
    assert len(self._features) > 9
    assert set(read_failures(FeatureStore(folder / 'store'))) == {'broken.mp4'}

  def check(self, folder):
    try:
      features = stored_features(folder / 'store')
    except FileNotFoundError as error:
      assert 'no feature store there' in str(error)
      return 'before the work'
    assert list(features) == list(self._features)[: len(features)]
    assert features == {n: self._features[n] for n in features}
    assert set(read_failures(FeatureStore(folder / 'store'))) <= {'broken.mp4'}
    return f'after {len(features)} of {len(self._features)} videos'

  def check_end(self, folder):
    assert stored_features(folder / 'store') == self._features
    assert list((folder / 'store').glob('.*')) == []
    assert set(read_failures(FeatureStore(folder / 'store'))) == {'broken.mp4'}


def stored_features(folder):
  store = FeatureStore(folder)
  return {
    name: (store.shape(name), store[name].tobytes()) for name in store.names
  }


class Adding:
  """`deltax add`: an index of videos, and its answers."""

  most_changes = 40

  def __init__(self, config, videos, folder):
    self._videos, self._begun = videos, folder / 'begun'
    two = [videos / '0.mp4', videos / '1.mp4']
    indexing.index_files(self._begun, two, model='untrained')
    self._there = contents(Index(self._begun))

  def begin(self, folder):
    shutil.copytree(self._begun, folder / 'index')

  def arguments(self, folder):
    return ['deltax', 'add', folder / 'index', self._videos]

  def sign(self, folder):
    return folder / 'index' / 'lock'

  def learn(self, folder):
    self._contents = contents(Index(folder / 'index'))
    self._answers = answers(folder / 'index')
    assert len(self._contents) > 9

  def check(self, folder):
    index = contents(Index(folder / 'index'))
    assert list(index) == list(self._contents)[: len(index)]
    assert index == {name: self._contents[name] for name in index}
    assert len(answers(folder / 'index')) == len(index)
    added = len(index) - len(self._there)
    assert added % batches.COMMIT == 0 or len(index) == len(self._contents)
    return f'after {added} of {len(self._contents) - len(self._there)} videos'

  def check_end(self, folder):
    assert contents(Index(folder / 'index')) == self._contents
    assert answers(folder / 'index') == self._answers
    assert list((folder / 'index' / 'segments').glob('.*')) == []


def contents(index):
  """All that an index holds of each video, by name."""
  coarse = index.coarse()
  return {
    name: (
      coarse[row].tobytes(),
      index.fine(row).tobytes(),
      index.times(row).tobytes(),
      index.pictures(row),
      index.table[row].tobytes(),
      index.paths[row],
    )
    for row, name in enumerate(index.names)
  }


def answers(folder):
  """What a search finds, best first."""
  index, system = open_index(folder)
  rng = np.random.default_rng(1)
  size = index.manifest['shape']['coarse']
  query = rng.standard_normal((3, 9, size)).astype(np.float32)
  query /= np.linalg.norm(query, axis=-1, keepdims=True)
  found = search(index, system, query, k=99)
  return [(m.name, m.score, m.coarse, m.where) for m in found.matches]


KINDS = {
  'extraction': Extraction,
  'index': Adding,
  'retrieval': Training,
  'delta': Training,
  'detection': Training,
}


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """A folder of short videos, and one that is none."""
  folder = tmp_path_factory.mktemp('videos')
  rng = np.random.default_rng(0)
  for number in range(19):
    frames = rng.integers(0, 256, (2 + number % 3, 4, 4, 3), np.uint8)
    path = folder / f'{number}.mp4'
    write_video(path, frames.repeat(16, 1).repeat(16, 2), 1)
  (folder / 'broken.mp4').write_bytes(b'no video' * 99)
  return folder


@pytest.fixture(scope='module')
def starter(tmp_path_factory):
  folder = tmp_path_factory.mktemp('programs')
  environment = os.environ | {
    'DELTAX_DATA': str(folder / 'data'),
    'DELTAX_PROGRESS': '0',
    'XLA_FLAGS': os.environ['QUICK_COMPILATION'],
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  starter = Starter(folder, environment)
  yield starter
  starter.close()


@pytest.mark.slow
@pytest.mark.parametrize('name', KINDS)
def test_a_killed_program_ends_as_if_nothing_had_been(
  name, starter, videos, tmp_path, monkeypatch
):
  monkeypatch.setattr(extractors, 'make_extractor', Grid)
  kind = KINDS[name](name, videos, tmp_path)
  whole = tmp_path / 'whole'
  whole.mkdir()
  kind.begin(whole)
  unbroken = starter.run(kind.arguments(whole), kind.sign(whole))
  assert unbroken.code == 0, unbroken.output[-3000:]
  kind.learn(whole)

  draw, fell = random.Random(name), collections.Counter()
  run = lives = 0
  while fell.total() < KILLS:
    folder, run, row = tmp_path / f'run{run}', run + 1, 0
    folder.mkdir()
    kind.begin(folder)
    while True:
      kill = None
      if row < IN_A_ROW and fell.total() < KILLS:
        kill = next_kill(draw, unbroken, folder, kind.most_changes)
      life = starter.run(kind.arguments(folder), kind.sign(folder), kill)
      lives += 1
      if life.code == 0:
        break
      assert life.code == -9, life.output[-3000:]
      row += 1
      fell[kind.check(folder)] += 1
      print(
        f'{name}: kill {fell.total()} after {life.seconds:.1f} s', flush=True
      )
    kind.check_end(folder)
    shutil.rmtree(folder)
  told = ', '.join(f'{count} {place}' for place, count in sorted(fell.items()))
  print(f'{name}: {fell.total()} kills of {run} runs in {lives} starts: {told}')


def next_kill(draw, unbroken, folder, most_changes):
  """Any moment of a run, of its work, or of something that it writes."""
  work = unbroken.seconds - unbroken.begun
  how = draw.choice(['any', 'work', 'work', 'writing', 'writing'])
  if how == 'any':
    return kill_at(draw, unbroken.seconds, from_start=True)
  if how == 'work':
    return kill_at(draw, work, from_start=False)
  return kill_while_writing(draw, folder, most_changes)
