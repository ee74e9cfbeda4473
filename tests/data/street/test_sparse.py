"""Streets few of whose frames are labelled, and pseudo-labels for the others.

The worlds are no streets: frame t of world k is one colour, and one class.
"""

import pathlib

import numpy as np
import pytest

from benchmarks import pseudo_labels as benchmark
from deltax import files
from deltax.data import images, make_dataset
from deltax.data.folders import pseudo
from deltax.data.street import builder, drive, sparse

WORLDS, FRAMES, SIZE = 4, 5, (16, 32)
OPTIONS = {'worlds': (WORLDS, 1), 'frames': FRAMES, 'size': SIZE}
PSEUDO = 10  # the class of every pseudo-label; no frame has it


def world_of(seed):
  numbers = np.arange(FRAMES) + FRAMES * (seed % 1000)
  maps = np.ones((FRAMES, *SIZE), np.uint8)
  still = np.zeros((FRAMES, *SIZE, 2), np.float32)
  return drive.World(
    frames=np.repeat((maps * numbers[:, None, None])[..., None], 3, -1).astype(
      np.uint8
    ),
    labels=(maps * (numbers % 10)[:, None, None]).astype(np.uint8),
    boxes=np.zeros((0, 4), np.int32),
    box_frames=np.zeros(0, np.int32),
    box_classes=np.zeros(0, np.int32),
    box_tracks=np.zeros(0, np.int32),
    flow=still,
    visible=still[..., 0] > 0,
  )


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      drive,
      'render_worlds',
      lambda seeds, *_, **__: ((seed, world_of(seed)) for seed in seeds),
    )
    builder.prepare(**OPTIONS, data_dir=folder)
  return folder


@pytest.fixture
def made(tmp_path):
  """A folder of pseudo-labels for every frame."""
  write_pseudo_labels(tmp_path / 'made')
  return tmp_path / 'made'


def write_pseudo_labels(folder):
  source = sparse.source_of(FRAMES, SIZE)
  files.write_json(folder / pseudo.MANIFEST, {'source': source})
  for number in range(WORLDS * FRAMES):
    path = folder / sparse.name_of('train', number, FRAMES)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(images.encode_png(np.full(SIZE, PSEUDO, np.uint8)))


def dataset(data_dir, train=True, **options):
  return make_dataset(
    'street',
    'train',
    batch_size=2,
    train=train,
    data_dir=data_dir,
    **{'max_distance': 3, **OPTIONS, **options},
  )


def shots(batches, count=60):
  """Numbers of the frames and their labels, `[clips, T]` each."""
  taken = [batches[k] for k in range(count)]
  numbers = np.concatenate([batch['frames'][..., 0, 0, 0] for batch in taken])
  labels = np.concatenate([batch['labels'] for batch in taken])
  assert (labels == labels[..., :1, :1]).all()
  return numbers, labels[..., 0, 0]


def test_one_frame_in_so_many_keeps_its_labels(data_dir):
  batches = dataset(data_dir, train=False, clip_length=None, labelled_frames=7)
  numbers, labels = shots(batches, len(batches))
  kept = numbers % 7 == 3
  assert np.unique(numbers[kept]).tolist() == [3, 10, 17]
  np.testing.assert_array_equal(labels[kept], numbers[kept] % 10)
  assert (labels[~kept] == 255).all()


def test_one_world_in_so_many_keeps_its_labels():
  kept = sparse.keep(7, 4, 3, 1)
  assert np.flatnonzero(kept.all(1)).tolist() == [0, 3, 6]
  assert kept.sum() == 12
  # of these frames, 12 in a row, the third, the eighth and no more
  both = sparse.keep(7, 4, 3, 5)
  assert np.argwhere(both).tolist() == [[0, 2], [3, 3]]


def test_every_frame_can_be_labelled_in_its_order(data_dir):
  found = builder.to_label('train', **OPTIONS, data_dir=data_dir)
  assert found.names[4:6] == [
    'train/000000_000004.png',
    'train/000001_000000.png',
  ]
  assert [found.read(k)[0, 0, 0] for k in range(20)] == list(range(20))
  held_out = builder.to_label('validation', **OPTIONS, data_dir=data_dir)
  assert len(held_out.names) == FRAMES
  with pytest.raises(ValueError, match="'val', known: train, validation"):
    builder.to_label('val', **OPTIONS, data_dir=data_dir)


def test_a_training_clip_ends_in_a_labelled_frame(data_dir):
  numbers, labels = shots(dataset(data_dir, labelled_frames=7))
  # Frame 10 begins a world: nothing is before it, so that no pair ends in it.
  assert np.unique(numbers[:, 1]).tolist() == [3, 17]
  assert set(numbers[:, 1] - numbers[:, 0]) == {1, 2, 3}
  assert (numbers[:, 0] // FRAMES == numbers[:, 1] // FRAMES).all()
  np.testing.assert_array_equal(labels[:, 1], numbers[:, 1] % 10)
  assert (labels[:, 0] == 255).all()
  single, _ = shots(dataset(data_dir, labelled_frames=7, clip_length=1))
  assert np.unique(single).tolist() == [3, 10, 17]


def test_pseudo_labels_stand_in_where_there_are_no_real_ones(data_dir, made):
  options = {'labelled_frames': 7, 'pseudo_labels': str(made)}
  numbers, labels = shots(dataset(data_dir, clip_length=1, **options), 200)
  kept = numbers % 7 == 3
  np.testing.assert_array_equal(labels[kept], numbers[kept] % 10)
  assert (labels[~kept] == PSEUDO).all()
  assert np.unique(numbers).tolist() == list(range(WORLDS * FRAMES))
  # half of the clips, and 3 in 20 of the other half
  assert abs(kept.mean() - (0.5 + 0.5 * 3 / 20)) < 0.08
  numbers, labels = shots(dataset(data_dir, **options))
  assert np.isin(labels[numbers % 7 != 3], PSEUDO).all()
  assert set(numbers[:, 1] - numbers[:, 0]) == {1, 2, 3}


def test_where_all_frames_are_labelled_pseudo_labels_change_nothing(
  data_dir, made
):
  ours = shots(dataset(data_dir, pseudo_labels=str(made)))
  np.testing.assert_array_equal(ours, shots(dataset(data_dir)))


def test_missing_and_cut_off_pseudo_labels_are_named_at_once(data_dir, made):
  options = {'labelled_frames': 7, 'pseudo_labels': str(made)}
  path = made / sparse.name_of('train', 4, FRAMES)
  content = path.read_bytes()
  path.write_bytes(content[:-9])
  with pytest.raises(ValueError, match=f'{path}: the file is cut off'):
    dataset(data_dir, **options)
  path.unlink()
  with pytest.raises(FileNotFoundError, match='deltax label') as error:
    dataset(data_dir, **options)
  assert str(path) in str(error.value)
  # That of a frame with real labels is not needed.
  path.write_bytes(content)
  (made / sparse.name_of('train', 3, FRAMES)).unlink()
  dataset(data_dir, **options)


def test_a_pseudo_label_of_another_size_names_its_file(data_dir, made):
  for path in pathlib.Path(made).glob('train/*.png'):
    path.write_bytes(images.encode_png(np.zeros((8, 8), np.uint8)))
  batches = dataset(data_dir, labelled_frames=7, pseudo_labels=str(made))
  with pytest.raises(ValueError, match=r'16x32 pixels, but .*png has 8x8'):
    shots(batches)


def test_pseudo_labels_for_other_frames_are_refused(data_dir, made, tmp_path):
  with pytest.raises(FileNotFoundError, match=r'no pseudo-labels.*labels.json'):
    dataset(data_dir, pseudo_labels=str(tmp_path))
  with pytest.raises(ValueError, match='for training, not for evaluation'):
    dataset(data_dir, train=False, pseudo_labels=str(made))
  manifest = made / pseudo.MANIFEST
  files.write_json(manifest, {'source': sparse.source_of(30, SIZE)})
  with pytest.raises(ValueError, match=r"'frames': 30.*not for.*'frames': 5"):
    dataset(data_dir, pseudo_labels=str(made))
  for content in ('{', '[]', ''):
    manifest.write_text(content)
    with pytest.raises(ValueError, match=r'labels\.json is damaged'):
      dataset(data_dir, pseudo_labels=str(made))


def test_labels_too_sparse_for_a_clip_are_refused_at_once(data_dir):
  with pytest.raises(ValueError, match='no frame of 4 worlds of 5 frames'):
    dataset(data_dir, labelled_frames=50)
  with pytest.raises(ValueError, match='no labelled frame has 4 frames before'):
    dataset(data_dir, labelled_frames=20, clip_length=5)
  with pytest.raises(ValueError, match='one in so many, 1 and up, got 0'):
    dataset(data_dir, labelled_worlds=0)


def test_the_benchmark_counts_pixels_that_are_covered_and_right(
  data_dir, made, capsys
):
  """Of 17 frames without labels the first half is right, 2 are not covered."""
  for number in range(WORLDS * FRAMES):
    label = number % 10 if number < 10 else (255 if number > 17 else PSEUDO)
    path = made / sparse.name_of('train', number, FRAMES)
    path.write_bytes(images.encode_png(np.full(SIZE, label, np.uint8)))
  benchmark.main(
    [
      *(str(made), '--labelled-frames', '7', '--worlds', f'[{WORLDS}, 1]'),
      *('--data-dir', str(data_dir)),
    ]
  )
  told = capsys.readouterr().out
  # Frames 3, 10 and 17 keep their labels; 18 and 19 are not covered.
  assert f'covered {15 / 17:.1%}, of these right {9 / 15:.1%}' in told
