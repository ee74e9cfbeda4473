"""`own_videos`: any videos, without labels, as batches of clips."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from deltax.data import augment, images, motion, pipeline
from deltax.data.own import choose
from deltax.data.own.decode import FITS
from deltax.data.own.prepare import Footage, prepare
from deltax.data.own.split import split_videos

Places = str | os.PathLike | Sequence[str | os.PathLike]


def make_own_videos(
  split: str,
  *,
  batch_size: int,
  train: bool,
  seed: int = 0,
  clip_length: int | None = 2,
  videos: Places = (),
  size: tuple[int, int] = (240, 320),
  fit: str = 'cover',
  fps: float | None = None,
  max_distance: int = 10,
  held_out: str | Sequence[str] = (),
  held_out_share: float = 0.2,
  crop: tuple[int, int] | None = None,
  flip: bool = True,
  jitter: float = 0.0,
  clips_per_video: int = 8,
  flow: bool = False,
  max_bytes: int = 16 << 30,
  data_dir=None,
) -> pipeline.Batches:
  """Clips of videos that nobody labelled, whole videos held out.

  On first use every video is decoded, once, into a store of frames; later, and
  after a run that was killed, only what is missing there. Videos that cannot be
  read, or are too short for a clip, are named in the log and left out; so are
  copies of others. Cuts are found, and no clip goes over one (slow dissolves
  are not found).

  Args:
    split: 'train', or 'validation': the videos that are held out.
    batch_size: of all processes; each gets B of them.
    train: endless; frames are drawn as often as any other, whichever video they
      are of, but less often, down to a tenth, where less changes behind them
      than is usual (`choose.key_weights`). Else up to `clips_per_video` clips
      of consecutive frames of each video, in fixed places.
    seed: of order and augmentation.
    clip_length: T. In training, T frames at one random stride of 1 to
      `max_distance`, as far as the shot is long enough: 2 is a key frame and a
      frame at that distance. Frames are chosen by time: what is nearest, so
      that in videos of varying rates distances are about right, and 'times'
      tells them exactly.
    videos: files and folders, at least two videos in all.
    size: rows and columns of the frames in the store.
    fit: how pictures come to that size: 'cover': in their proportions, cut off
      at two sides; 'inside': in their proportions, on black; 'stretch'.
    fps: the rate in whose frames distances are told; also the most that are
      stored of a second. None for each video's own, at most 30.
    max_distance: of a key frame and the next frame of a clip, in frames of that
      rate; longer standstills part a video as cuts do.
    held_out: names of files, names below the folder given, or patterns of these
      (`*`, `?`), of the videos to hold out. If there are none,
      `held_out_share` of all videos, chosen by their content.
    held_out_share: above 0 and below 1; at least one video is held out and
      one trained on. As each is judged by itself, more videos change nothing of
      that for those before, except where one had to be chosen in this way.
    crop: rows and columns of a random window of training clips; None for all.
    flip: whether to mirror half of the training clips.
    jitter: strength of a random change of brightness, contrast and colour of
      training clips, the same for all frames of a clip; 0 is none.
    clips_per_video: in evaluation.
    flow: whether evaluation clips have their motion, see
      `deltax.data.motion.follow`.
    max_bytes: that the frames of all these videos may take on the disk. Longer
      videos than fit are thinned, which the log tells: stretches of up to 64
      consecutive frames stay, evenly in time.
    data_dir: where data sets live; None for the environment's DELTAX_DATA, or
      else `~/.cache/deltax`.

  Returns:
    Batches of 'frames' uint8 `[B, T, H, W, 3]` RGB, 'times' float32 `[B, T]`,
    seconds since the video's first frame, 'mask' float32 `[B]`; and 'flow' and
    'visible', see `flow`.

  Raises:
    FileNotFoundError: no such file or folder.
    ValueError: no such split, option, or pattern; fewer than two videos that
      can be read; or no shot is long enough for a clip.
  """
  images.check_split(split, ('train', 'validation'))
  _check(clip_length, max_distance, size, crop, fit, fps)
  places = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
  if not places:
    raise ValueError('own_videos needs videos=: files or folders of videos')
  home = data_dir or os.environ.get('DELTAX_DATA') or '~/.cache/deltax'
  footage = prepare(
    places,
    pathlib.Path(home).expanduser() / 'own_videos',
    size=tuple(size),
    fit=fit,
    rate=fps,
    max_bytes=max_bytes,
  )
  parts = split_videos(footage, held_out, held_out_share)
  shots = _long_enough(parts[split], split, fps, max_distance, clip_length)
  if train:
    return pipeline.training(
      *_training(footage, shots, clip_length, crop, flip, jitter),
      batch_size=batch_size,
      seed=seed,
    )
  elements = [
    (name, numbers)
    for name, of_video in shots.items()
    for numbers in choose.windows(of_video, clip_length, clips_per_video)
  ]

  def read(element):
    name, numbers = element
    clip = _read(footage[name], numbers)
    return clip | motion.follow(clip['frames']) if flow else clip

  return pipeline.evaluation(elements, read, batch_size=batch_size)


def _training(footage, shots, clip_length, crop, flip, jitter):
  """The elements and the examples of `pipeline.training`."""
  names = list(shots)
  keys = [choose.find_keys(shots[name], clip_length) for name in names]
  changes = [
    choose.key_changes(shots[name], footage[name].stored.changes, of_video)
    for name, of_video in zip(names, keys, strict=True)
  ]
  owners = np.repeat(np.arange(len(names)), [len(k) for k in keys])
  keys = np.concatenate(keys)
  sums = np.cumsum(choose.key_weights(np.concatenate(changes)))

  # An element is a stretch of the sum of weights, so that an epoch shows all
  # parts of all videos as often as their weights tell.
  def example(element, rng):
    drawn = (element + rng.random()) / len(keys) * sums[-1]
    place = min(int(np.searchsorted(sums, drawn, 'right')), len(keys) - 1)
    name, key = names[owners[place]], int(keys[place])
    most = choose.longest_stride(shots[name], key, clip_length)
    stride = int(rng.integers(1, most + 1))
    numbers = choose.clip_at(shots[name], key, clip_length, stride)
    clip = _read(footage[name], numbers, crop, rng)
    if flip and rng.random() < 0.5:
      clip['frames'] = augment.mirror(clip['frames'])
    return augment.jitter(clip, rng, jitter)

  return range(len(keys)), example


def _read(video: Footage, numbers, crop=None, rng=None) -> dict:
  """A clip, or the same random window of all of its frames."""
  frames, window = video.stored.frames, ()
  if crop is not None:
    corners = [
      int(rng.integers(whole - part + 1))
      for whole, part in zip(frames.shape[1:3], crop, strict=True)
    ]
    window = tuple(
      slice(corner, corner + part)
      for corner, part in zip(corners, crop, strict=True)
    )
  return {
    'frames': np.stack([frames[(number, *window)] for number in numbers]),
    'times': video.stored.times[numbers].astype(np.float32),
  }


def _long_enough(
  videos: Mapping[str, Footage], split, fps, max_distance, clip_length
) -> dict[str, choose.Shots]:
  """The shots of videos that hold a clip; tells which do not.

  Raises:
    ValueError: there are none.
  """
  shots = {
    name: choose.find_shots(video.stored, fps, max_distance)
    for name, video in videos.items()
  }
  good = {
    name: of_video
    for name, of_video in shots.items()
    if choose.windows(of_video, clip_length, 1)
  }
  short = [name for name in shots if name not in good]
  if not good:
    raise ValueError(
      f'no shot of the {len(videos)} videos of {split!r} is long enough for a '
      f'clip of {clip_length} frames: {", ".join(short[:5])}'
    )
  if short:
    logging.warning(
      '%d of %d videos are left out, too short for a clip of %d frames: %s',
      *(len(short), len(shots), clip_length, ', '.join(short[:5])),
    )
  return good


def _check(clip_length, max_distance, size, crop, fit, fps) -> None:
  """Raises ValueError for options that mean nothing."""
  if clip_length is None:
    raise ValueError(
      'own_videos needs a clip_length; whole videos differ in length'
    )
  sides = (*size, *(crop or ()))
  if min(clip_length, max_distance, *sides) < 1 or (fps or 1) <= 0:
    raise ValueError(
      'expected a positive clip_length, max_distance, size, crop and fps, got '
      f'{clip_length}, {max_distance}, {tuple(size)}, {crop}, {fps}'
    )
  if crop and (crop[0] > size[0] or crop[1] > size[1]):
    raise ValueError(
      f'a crop of {crop[0]}x{crop[1]} is larger than frames of '
      f'{size[0]}x{size[1]}'
    )
  if fit not in FITS:
    raise ValueError(f'unknown fit {fit!r}, known: {", ".join(FITS)}')
