"""Valid files to damage, each a few kilobytes, and how a user has them read."""

import contextlib
import functools
import io
import json
import pathlib
import pickle
import sys
from unittest import mock

import av
import flax.serialization
import h5py
import jax
import jax.numpy as jnp
import mutators
import numpy as np
import small_backbone
import torch_writer
from absl import flags
from ml_collections import config_flags

from deltax import experiment, training
from deltax.commands.network import compare
from deltax.commands.network import run as run_command
from deltax.commands.videos import info
from deltax.convert import read_checkpoint, torch_file, weights
from deltax.data.features import annotations, similarities
from deltax.data.features.hdf5 import Hdf5Features, write_hdf5
from deltax.data.features.store import FeatureStore
from deltax.data.video.codec_motion import read_motion
from deltax.data.video.files import read_chunks, write_video
from deltax.data.video.frames import read_header
from deltax.delta.search import latency
from deltax.errors import parse_flags
from deltax.identity import Identity
from deltax.report.compare import pareto
from deltax.retrieval.fitting import Whitening
from deltax.retrieval.index import marks
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.systems import extractors
from deltax.systems import folder as system_folder
from deltax.tasks.video import viewer
from deltax.training.state import TrainState

ROOT = pathlib.Path(__file__).parents[2]


def floats(*shape):
  """The same at each call: a file must not depend on those made before."""
  return np.random.default_rng(0).standard_normal(shape, np.float32)


# PyTorch files.


def make_torch(folder):
  weight, bias = floats(4, 3, 1, 1), floats(4)
  tensors = {
    'conv.weight': torch_writer.Tensor(torch_writer.Storage(weight, '0')),
    'conv.bias': torch_writer.Tensor(torch_writer.Storage(bias, '1')),
  }
  state = torch_writer.Name('collections.OrderedDict', state={'_metadata': {}})
  value = {'state_dict': tensors, 'epoch': 3, 'more': state}
  torch_writer.save(folder / 'zip.pth', value)
  torch_writer.save(folder / 'big.pth', value, byteorder='big')
  torch_writer.save_legacy(folder / 'sequential.pth', value)
  about = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}
  header = json.dumps({'a': about, '__metadata__': {'format': 'pt'}}).encode()
  length = len(header).to_bytes(8, 'little')
  (folder / 'a.safetensors').write_bytes(length + header + bytes(8))
  plain = torch_writer.dumps(torch_writer.plain_tensor(bias))
  (folder / 'tensor.p').write_bytes(plain)
  (folder / 'array.p').write_bytes(pickle.dumps({'macs': weight}, 4))


def read_torch(path):
  if path.suffix == '.pth':
    state, _ = read_checkpoint(path)
    for array in state.values():
      np.array(array)
  else:
    torch_file.read(path)


# Weights of other forms.


def make_weights(folder):
  tree = {'params': {'conv': {'kernel': floats(3, 3, 2, 4), 'bias': floats(4)}}}
  np.savez(folder / 'a.npz', **{'params/conv/bias': floats(4), 'x': floats(2)})
  state = {**tree, 'opt_state': [tree, None], 'step': 3, 'rate': 0.5j}
  with mock.patch.object(flax.serialization, 'MAX_CHUNK_SIZE', 64):
    content = flax.serialization.msgpack_serialize(
      flax.serialization.to_state_dict(state)
    )
  (folder / 'a.msgpack').write_bytes(content)


def read_weights(path):
  for array in weights.read_arrays(path).values():
    np.array(array)


# Features, and what is known of videos.


class _Features(dict):
  fingerprint, description = 'ab12', {'name': 'fake', 'whitened': None}

  @property
  def names(self):
    return tuple(self)


def make_hdf5(folder):
  features = _Features(
    {'a': floats(3, 9, 4), 'group/b': floats(2, 1, 4), 'c': floats(5, 1, 4)}
  )
  write_hdf5(folder / 'packed.hdf5', features)
  write_hdf5(folder / 'plain.hdf5', features, gzip=None)
  with h5py.File(folder / 'keras.h5', 'w') as file:
    file['layers/conv/vars/0'] = floats(3, 3, 2, 4)
    file['layers/conv/vars/1'] = floats(4).astype(np.float16)
    file['layers/words/vars/0'] = np.array([b'a', b'bc'])
    file['layers/conv/vars'].attrs['name'] = 'stem'


def read_hdf5(path):
  if path.name == 'keras.h5':
    read_weights(path)
    return
  with Hdf5Features(path) as features:
    _read_features(features)


def make_store(folder):
  for name in ('a', 'group/b', 'ü'):
    # Closed in between: the last is in the shard, and then in the list too.
    with FeatureStore(
      folder, fingerprint='ab12', description={'x': 1}
    ) as store:
      store.add(name, floats(2, 3, 4))
  (folder / 'lock').unlink()


def read_store(folder):
  with FeatureStore(folder) as store:
    _read_features(store)


def _read_features(features):
  for name in features.names:
    if features[name].shape != features.shape(name):
      raise AssertionError('the shape told is not that of the array')
  json.dumps([features.fingerprint, features.description])


def make_annotations(folder):
  names = [f'v{i}' for i in range(6)]
  sets = {
    'fivr.pickle': {
      '5k': {'queries': names[:2], 'database': set(names)},
      '200k': {'queries': names[:2], 'database': set(names)},
      'annotation': {n: {'ND': names[3:5], 'DS': names[5:]} for n in names[:2]},
    },
    'cc_web_video.pickle': {
      'index': {name: i for i, name in enumerate(names)},
      'queries': names[:2],
      'ground_truth': [{0: 'E', 3: 'X'}, {np.int64(1): 'S'}],
      'excluded': [{2}, set()],
    },
    'evve.pickle': {
      'annotation': {'event': [names[:2], names[2:4], []]},
      'queries': names[:2],
      'database': set(names),
    },
    'vcdb.pickle': {
      'queries': names[:2],
      'positives': {name: {'v3', 'v4'} for name in names[:2]},
      'dataset': names[4:],
    },
  }
  for number, (name, value) in enumerate(sets.items()):
    (folder / name).write_bytes(pickle.dumps(value, 2 + number % 3))
  (folder / 'svd.txt').write_text('v0 v1 1\nv0 v2 0\nv3 v1 1\n')
  copies = {'relevant': {'v0': ['v1', 'v2']}, 'database': names}
  (folder / 'copies.json').write_text(json.dumps(copies))


_ANNOTATIONS = {
  'fivr': annotations.read_fivr,
  'cc_web_video': annotations.read_cc_web_video,
  'evve': annotations.read_evve,
  'vcdb': annotations.read_vcdb,
  'svd': annotations.read_svd,
  'copies': annotations.read_copies,
}


def read_annotations(path):
  _ANNOTATIONS[path.stem](path)


def make_similarities(folder):
  names = [f'v{i}' for i in range(6)]
  pairs = {
    0: {'positives': {1: 0.9}, 'negatives': {2: -0.5, 3: 0.25}},
    4: {'positives': {5: 1.0}, 'negatives': {}},
  }
  (folder / 'ours.json').write_text(
    json.dumps({'names': names, 'pairs': pairs})
  )
  published = pickle.dumps({'index': names, 'pairs': pairs}, 4)
  (folder / 'theirs.pickle').write_bytes(published)


def read_similarities(path):
  found = similarities.read_similarities(path)
  assert len(found.names) <= 6


# Videos.


def make_videos(folder):
  draw = np.random.default_rng(0)
  frames = draw.integers(0, 255, (2, 32, 48, 3), np.uint8)
  moving = [np.roll(frames[i // 6], 2 * i, 1) for i in range(12)]
  for ending in ('.mp4', '.avi', '.ts'):
    write_video(folder / f'a{ending}', moving, 12, crf=45)
  exact = {'fflags': '+bitexact'}  # else it would draw an identity
  with (
    av.open(str(folder / 'a.mp4')) as made,
    av.open(str(folder / 'a.mkv'), 'w', options=exact) as copy,
  ):
    stream = copy.add_stream_from_template(made.streams.video[0])
    for packet in made.demux(video=0):
      if packet.dts is not None:
        packet.stream = stream
        copy.mux(packet)


def read_videos(path):
  for _ in read_chunks(path, 4, rate=6.0, short_side=32, crop=32):
    pass
  read_header(path)
  read_motion(path)


# An index, a system, measured tables, a run.


def make_index(folder):
  index = Index.create(folder, fingerprint='aa', description={'name': 'fake'})
  for names in ('ab', 'c'):
    index.add(
      IndexedVideo(
        name,
        f'/videos/{name}.mp4',
        floats(4),
        floats(3, 2, 4),
        np.arange(3.0),
        pictures={0: b'jpeg', 2: b'other'},
        file=Identity(3, 4, name * 32),
        clips=floats(2, 4),
      )
      for name in names
    )
  index.remove(['a'])
  marks.mark(index, 'b', 'c', different=True)
  marks.note_same(folder, {'/videos/again.mp4': 'c' * 32})
  (folder / 'lock').unlink()


def read_index(folder):
  index = Index(folder)
  json.dumps(info.measure(index))
  index.coarse()
  marks.read_marks(folder), marks.same_files(index)
  for row in range(len(index)):
    index.fine(row), index.times(row), index.pictures(row), index.clips(row)


# A system's extractor has a backbone of 26 numbers.
@small_backbone.installed()
def make_system(folder):
  frame = np.zeros((1, 112, 112, 3), np.float32)
  weights = small_backbone.Small(None).init(jax.random.key(0), frame)
  fitted = Whitening(
    floats(small_backbone.CHANNELS), floats(small_backbone.CHANNELS, 4)
  )
  np.savez(folder / 'whitening.npz', **fitted._asdict())
  extractor = extractors.make_extractor(
    small_backbone.NAME, whitening=fitted, weights=jax.device_get(weights)
  )
  made = system_folder.make_system(extractor)
  system_folder.save_system(folder / 'system', made)


@small_backbone.installed()
def read_system(folder):
  extractors.read_whitening(folder / 'whitening.npz')
  system_folder.open_system(folder / 'system')


def make_tables(folder):
  entry = latency.Entry(1.5, 1000, 4000)
  latency.write(
    folder / 'latencies.json',
    latency.Latencies(
      *('ddrnet', (1, 64, 64, 3), 'float32', 'cpu', 'a processor', 2, 9.5),
      {'conv1': entry},
      {'conv1': {'full': entry, 'low_rank': entry}},
    ),
  )
  row = {'interval': 2, 'score': 0.6, 'teacher_score': 0.7, 'gmacs': 2.5}
  times = {'p5': 1.0, 'p50': 2.0, 'p95': 3.0, 'p99': 3.0, 'mean': 2.0}
  results = {
    'title': 'a run',
    'data': 'street',
    'metric': {'name': 'mIoU', 'text': 'mean IoU'},
    'classes': ['sky', 'road'],
    'size': [64, 128],
    'device': '2 cores',
    'teacher': {'name': 'net', 'score': 0.7, 'gmacs': 4.0, 'ms': 40.0},
    'delta': [{**row, 'ms': 30.0}],
    'ms': {'teacher': 40.0, 'key': 44.0, 'later': 20.0},
    'gmacs': {'key': 4.0, 'later': 1.0},
    'streams': {
      'count': 4,
      'interval': 2,
      'at once': times,
      'staggered': times,
    },
  }
  (folder / 'results.json').write_text(json.dumps(results))


def read_tables(path):
  if path.name == 'results.json':
    pareto.text(pareto.compare({str(path): compare._read(path)}))
    return
  latencies = latency.read(path)
  assert np.isfinite(latencies.rest)
  latencies.predicted({path: 0 for path in latencies.candidates})


def make_run(folder):
  state = TrainState(
    step=jnp.int32(0),
    params={'teacher': {'conv': {'kernel': jnp.ones((2, 3))}}, 'students': {}},
    model_state={'batch_stats': {'mean': jnp.ones(4)}},
    opt_state={},
    key=jax.random.key(0),
  )
  config = {
    'task': {
      'name': 'segmentation',
      'model': 'ddrnet23_slim',
      'num_classes': 11,
      'delta': {'spec': None},
    },
    'data': {'name': 'street', 'options': {'size': (64, 128)}},
  }
  with training.Checkpoints(folder, metadata=config) as checkpoints:
    checkpoints.save(state, {'miou': 0.5})


def read_run(folder):
  checkpoint, config = run_command._described(folder)
  viewer.network_size(config, (72, 128))
  training.restore_params(checkpoint)


# Flags of train.py.

CONFIGS = sorted(
  path.relative_to(ROOT).as_posix()
  for path in (ROOT / 'configs').glob('*.py')
  if path.stem not in ('__init__', 'common')
)


def make_flags(folder):
  given = ['--config=configs/demo_delta.py:smoke', '--workdir=runs/x']
  (folder / 'flags.json').write_text(json.dumps(given))


def damage_flags(rng, folder):
  """A config, now and then damaged, and one to three overrides."""
  name = rng.choice(CONFIGS) + rng.choice(('', ':smoke'))
  config = _config(name).to_dict()
  paths = list(_paths(config, 'config'))
  given = [f'--config={name}', '--workdir=runs/x']
  for _ in range(rng.choice((1, 1, 2, 3))):
    path, value = rng.choice(paths)
    shown = rng.choice(
      (
        *(rng.choice(mutators.TEXTS), str(rng.choice(mutators.NUMBERS))),
        *(str(rng.choice(paths)[1]), str(value), str((value, value)), '()'),
        *('None', 'True', '(1, 2)', "('a',)", '{}', '1' * 500, '(' * 300),
      )
    )
    given.append(f'--{path}={shown}')
  if rng.random() < 0.4:
    place = rng.choice((0, *range(2, len(given))))
    text = given[place].encode('utf-8', 'surrogatepass')
    text = mutators.damaged(rng, text)[:1000]
    given[place] = text.decode('utf-8', 'surrogateescape')
  (folder / 'flags.json').write_text(json.dumps(given))


def read_flags(folder):
  given = json.loads((folder / 'flags.json').read_text())
  config = parsed(['train.py', *given]).to_dict()
  config['teacher'] = ''  # a run elsewhere
  experiment.build(config)
  experiment.optimizer(config)


def parsed(arguments):
  """The config, or a ValueError in the place of the message of train.py."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', None, '', flag_values=values)
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  before, sys.argv = sys.argv, arguments  # where overrides are looked for
  try:
    with contextlib.redirect_stderr(io.StringIO()) as told:
      parse_flags(arguments, values)
  except SystemExit as ended:
    raise ValueError(told.getvalue().rstrip('\n')) from ended
  finally:
    sys.argv = before
  return values.config


@functools.cache
def _config(name):
  return parsed(['train.py', f'--config={name}'])


def _paths(config, above):
  for key, value in config.items():
    yield f'{above}.{key}', value
    if isinstance(value, dict):
      yield from _paths(value, f'{above}.{key}')
