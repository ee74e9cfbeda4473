"""`deltax label`: a network's labels of frames that nobody labelled."""

import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_states

from configs import demo_pseudo_labels
from deltax import commands, experiment, models, training
from deltax.commands.network import label as command
from deltax.data import images, labels, make_dataset
from deltax.data.street import drive
from deltax.models.inputs import normalise
from deltax.tasks.segmentation.parts import upsample

SIZE = (64, 128)
SPLIT = 'leftImg8bit_sequence/train/town'


def config_of(classes, data, **options):
  return {
    'task': {
      'name': 'segmentation',
      'model': 'ddrnet23_tiny',
      'num_classes': classes,
      'delta': None,
    },
    'data': {'name': data, 'options': options, 'train': {}},
  }


def save_run(folder, classes, config, scale=2.0):
  net = models.create('ddrnet23_tiny', num_classes=classes)
  variables = jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros((1, *SIZE, 3))
  )
  variables = torch_states.drawn(variables)
  variables = jax.tree.map(lambda x: scale * x, variables)
  state = training.TrainState(
    jnp.zeros((), jnp.int32),
    {'teacher': variables['params']},
    {'batch_stats': variables['batch_stats']},
    (),
    jax.random.key(0),
  )
  with training.Checkpoints(folder, metadata=config) as checkpoints:
    checkpoints.save(state)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs')
  cityscapes = config_of(19, 'cityscapes_video')
  save_run(folder / 'cityscapes', 19, cityscapes)
  save_run(folder / 'another', 19, cityscapes, scale=2.1)
  save_run(folder / 'camvid', 11, config_of(11, 'camvid'))
  save_run(folder / 'street', 11, config_of(11, 'street', size=SIZE))
  task = {'task': {'name': 'similarity', 'network': 'coarse', 'options': {}}}
  save_run(folder / 'retrieval', 11, {**config_of(11, 'triplets'), **task})
  return folder


def frame_of(k, size=SIZE):
  rng = np.random.default_rng(k)
  return cv2.resize(rng.integers(0, 256, (8, 16, 3), np.uint8), size[::-1])


@pytest.fixture
def cityscapes(tmp_path):
  """A snippet of 20 frames, of which the last has real labels."""
  root = tmp_path / 'cityscapes'
  (root / SPLIT).mkdir(parents=True)
  for k in range(20):
    name = f'town_000001_{k:06d}_leftImg8bit.png'
    (root / SPLIT / name).write_bytes(images.encode_png(frame_of(k)))
  real = root / 'gtFine' / 'train' / 'town'
  real.mkdir(parents=True)
  name = 'town_000001_000019_gtFine_labelIds.png'
  (real / name).write_bytes(images.encode_png(np.full(SIZE, 26, np.uint8)))
  return root


@pytest.fixture
def camvid(tmp_path):
  root = tmp_path / 'camvid'
  (root / 'train').mkdir(parents=True)
  for k, kind in enumerate(('jpg', 'png')):
    cv2.imwrite(str(root / 'train' / f'x_{k}.{kind}'), frame_of(k, (60, 100)))
  return root


def label(*arguments):
  commands.main(['label', *map(str, arguments)])


def probabilities(run, frame, classes):
  """What a run's network says of a frame, float32 `[H, W, K]`."""
  params, model_state = training.restore_params(run)
  net = models.create('ddrnet23_tiny', num_classes=classes)
  logits = net.apply(
    {'params': params['teacher'], **model_state}, normalise(frame[None])
  )
  return np.asarray(jax.nn.softmax(upsample(logits[None], SIZE))[0, 0])


def maps_of(out):
  return sorted(out.rglob('*.png'))


def state_of(folder):
  return {
    path: (path.read_bytes(), path.stat().st_mtime_ns)
    for path in folder.rglob('*')
    if path.is_file()
  }


def test_labels_are_the_networks_where_it_is_sure(
  runs, cityscapes, tmp_path, capsys
):
  before = state_of(cityscapes)
  run, out = runs / 'cityscapes', tmp_path / 'out'
  probability = probabilities(run, frame_of(3), 19)
  sure = np.median(probability.max(-1)).round(3)
  label(run, cityscapes, '--out', out, '--threshold', sure)
  assert [path.name for path in maps_of(out)] == [
    f'town_000001_{k:06d}_gtFine_labelIds.png' for k in range(20)
  ]
  folder = out / 'gtFine' / 'train' / 'town'
  made = images.read(folder / 'town_000001_000003_gtFine_labelIds.png', 1)
  ids = labels.train_ids_from_label_ids(made)
  expected = np.where(probability.max(-1) >= sure, probability.argmax(-1), 255)
  near = np.abs(probability.max(-1) - sure) < 1e-4
  assert near.mean() < 0.01
  np.testing.assert_array_equal(ids[~near], expected[~near])
  assert 0.4 < (made == 255).mean() < 0.6
  told = capsys.readouterr().out
  assert f'{out}: 20 frames labelled, 0 were there already' in told
  share = np.mean([images.read(path, 1) != 255 for path in maps_of(out)])
  assert f'{share:.1%} of their pixels have a label' in told
  assert state_of(cityscapes) == before


def test_a_data_set_trains_on_them(runs, cityscapes, tmp_path):
  out = tmp_path / 'out'
  label(runs / 'cityscapes', cityscapes, '--out', out, '--threshold', 0)
  batches = make_dataset(
    'cityscapes_video',
    'train',
    batch_size=4,
    train=True,
    root=cityscapes,
    pseudo_labels=out,
    crop=SIZE,
  )
  seen = np.concatenate([batches[k]['labels'] for k in range(10)])
  assert (seen[:, 1] == 13).all((1, 2)).any()  # the real one: a car everywhere
  classes = np.unique(seen)
  assert len(classes) > 2 and set(classes) <= {*range(19), 255}


def test_what_is_there_whole_is_not_made_again(
  runs, cityscapes, tmp_path, capsys
):
  out = tmp_path / 'out'
  arguments = runs / 'cityscapes', cityscapes, '--out', out
  label(*arguments)
  before = state_of(out)
  missing, cut_off = maps_of(out)[2:4]
  missing.unlink()
  cut_off.write_bytes(cut_off.read_bytes()[:-5])
  capsys.readouterr()
  label(*arguments)
  assert '2 frames labelled, 18 were there already' in capsys.readouterr().out
  after = state_of(out)
  assert {path: content for path, (content, _) in after.items()} == {
    path: content for path, (content, _) in before.items()
  }
  assert {path for path in after if after[path] != before[path]} == {
    missing,
    cut_off,
  }
  label(*arguments)
  assert '0 frames labelled, 20 were there' in capsys.readouterr().out


def test_a_command_that_is_stopped_goes_on_to_the_same_end(
  runs, cityscapes, tmp_path, monkeypatch, capsys
):
  whole, out = tmp_path / 'whole', tmp_path / 'out'
  label(runs / 'cityscapes', cityscapes, '--out', whole)
  made = []

  def stop(image):
    made.append(image)
    if len(made) == 4:
      raise KeyboardInterrupt
    return encode(image)

  encode = images.encode_png
  with monkeypatch.context() as patch:
    patch.setattr(command.images, 'encode_png', stop)
    with pytest.raises(SystemExit) as stopped:
      label(runs / 'cityscapes', cityscapes, '--out', out)
  assert stopped.value.code == 130
  assert len(maps_of(out)) == 3
  assert not [path for path in out.rglob('.*')]
  capsys.readouterr()
  label(runs / 'cityscapes', cityscapes, '--out', out)
  assert '17 frames labelled, 3 were there' in capsys.readouterr().out
  for one, other in zip(maps_of(whole), maps_of(out), strict=True):
    assert one.read_bytes() == other.read_bytes()


def test_frames_of_sides_that_the_network_does_not_take(
  runs, camvid, capsys, monkeypatch
):
  """60 x 100 pixels, as it is when no folder to write is given."""
  monkeypatch.setenv('DELTAX_PROGRESS', '1')
  label(runs / 'camvid', camvid, '--threshold', 0)
  out = runs / 'camvid' / 'pseudo_labels'
  assert [path.name for path in maps_of(out)] == ['x_0.png', 'x_1.png']
  made = images.read(out / 'trainannot' / 'x_1.png', 1)
  assert made.shape == (60, 100) and made.max() < 11
  assert 'labelling: 100%' in capsys.readouterr().err
  batch = make_dataset(
    'camvid',
    'train',
    batch_size=1,
    train=True,
    root=camvid,
    clip_length=1,
    pseudo_labels=out,
  )[0]
  assert (batch['labels'] < 11).all()


def test_streets_are_those_of_the_run_and_a_config_trains_on_them(
  tmp_path, monkeypatch
):
  def worlds(seeds, frames, size, **_):
    for seed in seeds:
      pictures = np.stack([frame_of(seed + t) for t in range(frames)])
      still = np.zeros((frames, *size, 2), np.float32)
      nothing = np.zeros(0, np.int32)
      yield (
        seed,
        drive.World(
          *(pictures, np.full((frames, *size), 9, np.uint8)),
          *(nothing.reshape(0, 4), nothing, nothing, nothing),
          *(still, still[..., 0] > 0),
        ),
      )

  monkeypatch.setattr(drive, 'render_worlds', worlds)
  monkeypatch.setenv('DELTAX_DATA', str(tmp_path / 'data'))
  config = demo_pseudo_labels.get_config('smoke').to_dict()
  run, out = tmp_path / 'run', tmp_path / 'out'
  save_run(run, 11, config)
  label(run, 'street', '--out', out, '--threshold', 0)
  assert [path.name for path in maps_of(out)][8:12] == [
    *('000000_000008.png', '000000_000009.png'),
    *('000001_000000.png', '000001_000001.png'),
  ]
  assert not experiment.dataset(config, 'train')[0]['labels'].min() < 9
  config['data']['train']['pseudo_labels'] = out
  batches = experiment.dataset(config, 'train')
  seen = np.concatenate([batches[k]['labels'] for k in range(10)])
  assert (seen == 9).all((1, 2, 3)).mean() > 0.3  # real: cars everywhere
  assert len(np.unique(seen)) > 2


def test_what_a_killed_command_left_of_its_manifest_is_in_nobodys_way(
  runs, camvid, tmp_path, capsys
):
  left = tmp_path / 'out' / '.labels.json.writing-xyz'
  left.mkdir(parents=True)
  (left / 'labels.json').write_text('{')
  label(runs / 'camvid', camvid, '--out', tmp_path / 'out')
  assert '2 frames labelled' in capsys.readouterr().out
  assert not left.exists()


def test_a_single_checkpoint_is_no_folder_to_write_to(runs, camvid, capsys):
  step = training.find_checkpoint(runs / 'camvid')
  before = state_of(step)
  with pytest.raises(SystemExit):
    label(step, camvid)
  assert 'is a single checkpoint; --out says' in capsys.readouterr().err
  assert state_of(step) == before


def test_labels_of_other_settings_are_left_as_they_are(
  runs, cityscapes, tmp_path, capsys
):
  out = tmp_path / 'out'
  label(runs / 'cityscapes', cityscapes, '--out', out)
  before = state_of(out)
  for run, threshold, message in (
    ('cityscapes', 0.5, 'labels of another threshold (0.9, not 0.5)'),
    ('another', 0.9, 'labels of another network'),
  ):
    with pytest.raises(SystemExit) as error:
      label(runs / run, cityscapes, '--out', out, '--threshold', threshold)
    assert error.value.code == 1
    assert message in capsys.readouterr().err
  assert state_of(out) == before


@pytest.mark.parametrize(
  ('run', 'data', 'options', 'message'),
  [
    ('nowhere', 'cityscapes', [], r'no checkpoint in .*nowhere'),
    ('retrieval', 'cityscapes', [], 'no network for segmentation, but for sim'),
    ('camvid', 'cityscapes', [], '11 classes, but cityscapes_video has 19'),
    ('street', 'camvid', [], 'the classes of street, not those of camvid'),
    ('camvid', 'street', [], 'street stands for .* trained on camvid'),
    ('camvid', 'missing', [], 'missing: no such folder'),
    ('camvid', 'runs', [], 'as CamVid'),
    ('camvid', 'camvid', ['--split', 'val'], 'expected leftImg8bit_sequence'),
    ('cityscapes', 'cityscapes', ['--split', 'val'], 'CITY_SEQ_FRAME'),
    ('camvid', 'camvid', ['--threshold', '1.5'], 'is a probability.* got 1.5'),
    ('camvid', 'camvid', ['--out', '{camvid}'], 'holds no pseudo-labels'),
  ],
)
def test_wrong_input_is_one_sentence_and_writes_nothing(
  runs, cityscapes, camvid, tmp_path, capsys, run, data, options, message
):
  places = {'cityscapes': cityscapes, 'camvid': camvid, 'runs': runs}
  places |= {'street': 'street', 'missing': tmp_path / 'missing'}
  before = state_of(tmp_path)
  if not options or options[0] != '--out':
    options = [*options, '--out', tmp_path / 'out']
  options = [str(option).format(camvid=camvid) for option in options]
  with pytest.raises(SystemExit) as error:
    label(runs / run, places[data], *options)
  assert error.value.code == 1
  told = capsys.readouterr().err
  assert re.fullmatch(rf'deltax label: .*{message}.*\n', told), told
  assert state_of(tmp_path) == before
