"""The rendered street as a tfds data set, and as batches of clips.

A record is one frame, so that a clip costs only the frames it shows: frame t of
world k of a split is record `k * frames + t`. Built without TensorFlow: files
in array_record format, pictures fed as PNG bytes.
"""

import os

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from deltax.data import augment, clips, images, pipeline
from deltax.data.folders import pseudo
from deltax.data.prepared import prepared
from deltax.data.street import drive, sparse

FIRST_VALIDATION_SEED = 1_000_000
FLOW_STEPS, FLOW_ZERO = 64, 32768  # a flow of 1 / 64 pixel is one grey level


class StreetConfig(tfds.core.BuilderConfig):
  """How many worlds, how many frames each, and their size in pixels."""

  def __init__(self, worlds=(64, 12), frames=30, size=(128, 256)):
    self.worlds, self.frames, self.size = tuple(worlds), frames, tuple(size)
    name = f'{worlds[0]}_{worlds[1]}_worlds_{frames}_frames_{size[0]}x{size[1]}'
    super().__init__(name=name)


class Street(tfds.core.GeneratorBasedBuilder):
  """Drives through rendered streets; training and validation share no world.

  Features of a record: world (its seed) and index (frame number), frame,
  labels, motion (16 bits: dx, dy, visible), boxes as in `drive.World`.
  """

  VERSION = tfds.core.Version(drive.VERSION)

  def _info(self) -> tfds.core.DatasetInfo:
    height, width = self.builder_config.size
    image = tfds.features.Image
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(
        {
          'world': np.int64,
          'index': np.int64,
          'frame': image(shape=(height, width, 3), encoding_format='png'),
          'labels': image(shape=(height, width, 1), encoding_format='png'),
          'motion': image(
            shape=(height, width, 3), dtype=np.uint16, encoding_format='png'
          ),
          'boxes': tfds.features.Tensor(shape=(None, 4), dtype=np.int32),
          'classes': tfds.features.Tensor(shape=(None,), dtype=np.int32),
          'tracks': tfds.features.Tensor(shape=(None,), dtype=np.int32),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    train, validation = self.builder_config.worlds
    first = FIRST_VALIDATION_SEED
    return {
      'train': self._generate_examples('train', range(train)),
      'validation': self._generate_examples(
        'validation', range(first, first + validation)
      ),
    }

  def _generate_examples(self, split, seeds):
    config = self.builder_config
    worlds = drive.render_worlds(
      seeds, config.frames, config.size, workers=os.cpu_count() or 1
    )
    bar = tqdm(worlds, f'street: rendering {split}', len(seeds), unit='world')
    for seed, world in bar:
      for index in range(config.frames):
        yield seed * config.frames + index, _record(seed, world, index)


def prepare(
  worlds=(64, 12), frames=30, size=(128, 256), data_dir=None
) -> Street:
  """The builder, its files written if they are not there yet.

  Args:
    worlds: number of training and of validation worlds.
    frames: frames of each world.
    size: height and width in pixels.
    data_dir: where data sets live; see `prepared`.
  """
  config = StreetConfig(worlds, frames, size)
  return prepared(Street, data_dir, config=config)


def make_street(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  max_distance: int = 5,
  jitter: float = 0.0,
  flow: bool = False,
  labelled_frames: int = 1,
  labelled_worlds: int = 1,
  pseudo_labels: str = '',
  worlds=(64, 12),
  frames: int = 30,
  size=(128, 256),
  data_dir=None,
) -> pipeline.Batches:
  """Clips of the rendered street, every frame labelled unless told otherwise.

  Args:
    split: 'train' or 'validation'.
    batch_size: of all processes; each gets B of them.
    train: endless, shuffled and flipped at random (one clip per world and
      epoch); else one pass over all windows in order.
    seed: of order and augmentation.
    clip_length: T. In training 1 is any frame, 2 a key frame and a frame 1 to
      `max_distance` later, more are consecutive frames. In evaluation, windows
      of T consecutive frames that do not overlap (frames left over at the end
      of a world are not shown); None is the whole world.
    max_distance: largest distance of a training pair, in frames.
    jitter: strength of a random change of brightness, contrast and colour, the
      same for all frames of a clip; 0 is none.
    flow: evaluation only: also 'flow' float32 `[B, T, H, W, 2]` and 'visible'
      bool `[B, T, H, W]`, the exact motion (`drive.World`).
    labelled_frames: one frame in so many keeps its labels, counted over all
      worlds; the labels of the others are 255. Training clips then end in a
      labelled frame.
    labelled_worlds: one world in so many keeps its labels; `labelled_frames`
      counts in these alone.
    pseudo_labels: training only: folder that `deltax label` wrote, for the
      frames that keep no labels. Half of the clips then end in a labelled frame
      and the others anywhere; '' for none.
    worlds: how many to train on and to validate on.
    frames: frames of a world.
    size: height and width.
    data_dir: where the data set is or will be; see `prepare`.

  Returns:
    Batches of 'frames' uint8 `[B, T, H, W, 3]`, 'labels' uint8 `[B, T, H, W]`,
    'mask' float32 `[B]`.

  Raises:
    FileNotFoundError: pseudo-labels are missing; found before the first batch.
    ValueError: no such split or clip, labels too sparse for it, or
      pseudo-labels that are broken or for other frames.
  """
  images.check_split(split, ('train', 'validation'))
  clips.check(clip_length, frames, train, max_distance)
  skipped = {} if flow else {'motion': tfds.decode.SkipDecoding()}
  builder = prepare(worlds, frames, size, data_dir)
  records = builder.as_data_source(split, decoders=skipped)
  videos = range(len(records) // frames)
  kept = sparse.keep(len(videos), frames, labelled_worlds, labelled_frames)
  folder = pseudo.find(pseudo_labels, sparse.source_of(frames, size), train)
  truth = sparse.Sparse(kept, split, folder)

  def read(numbers):
    return truth.cover(_read([records[k] for k in numbers], flow), numbers)

  if train:
    ends = truth.ends(clip_length)

    def example(video, rng):
      clip = read(truth.choose(video, rng, ends, clip_length, max_distance))
      return augment.jitter(augment.flip(clip, rng), rng, jitter)

    return pipeline.training(videos, example, batch_size=batch_size, seed=seed)
  length = clip_length or frames
  windows = [
    range(video + start, video + start + length)
    for video in range(0, len(records), frames)
    for start in range(0, frames - length + 1, length)
  ]
  return pipeline.evaluation(windows, read, batch_size=batch_size)


def to_label(
  split: str,
  *,
  worlds: tuple[int, int] = (64, 12),
  frames: int = 30,
  size: tuple[int, int] = (128, 256),
  data_dir=None,
) -> pseudo.ToLabel:
  """All frames of a split; see `make_street` for the arguments."""
  images.check_split(split, ('train', 'validation'))
  builder = prepare(worlds, frames, size, data_dir)
  skip = tfds.decode.SkipDecoding()
  records = builder.as_data_source(
    split, decoders={'motion': skip, 'labels': skip}
  )
  return pseudo.ToLabel(
    sparse.source_of(frames, size),
    [sparse.name_of(split, number, frames) for number in range(len(records))],
    lambda number: records[number]['frame'],
    lambda labels: labels,
  )


def _record(seed: int, world: drive.World, index: int) -> dict:
  flow, visible = world.flow[index], world.visible[index]
  steps = np.clip(np.rint(flow * FLOW_STEPS) + FLOW_ZERO, 0, 65535)
  motion = np.dstack([steps, visible]).astype(np.uint16)
  rows = world.box_frames == index
  return {
    'world': seed,
    'index': index,
    'frame': images.encode_png(world.frames[index]),
    'labels': images.encode_png(world.labels[index]),
    'motion': images.encode_png(motion),
    'boxes': world.boxes[rows],
    'classes': world.box_classes[rows],
    'tracks': world.box_tracks[rows],
  }


def _read(records: list[dict], flow: bool = False) -> dict[str, np.ndarray]:
  clip = {
    'frames': np.stack([record['frame'] for record in records]),
    'labels': np.stack([record['labels'][..., 0] for record in records]),
  }
  if flow:
    motion = np.stack([record['motion'] for record in records])
    clip['visible'] = motion[..., 2] > 0
    steps = motion[..., :2].astype(np.float32) - FLOW_ZERO
    clip['flow'] = steps / FLOW_STEPS * clip['visible'][..., None]
  return clip
