"""Runs a trained delta network on a video and draws what it sees.

    deltax run runs/demo/delta drive.mp4 --out annotated.mp4
    deltax run runs/demo/delta drive.mp4 --out teacher.mp4 --every-frame

MODEL is the folder of a run, for segmentation (class colours are laid over the
frames), detection (boxes with class and score) or imitation (the outputs by
their kind, or as the run's own function draws them). VIDEO may have any length,
size and codec; OUT is H.264 of the same size, without sound.
"""

import argparse
import contextlib
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from deltax import plain, training
from deltax.commands import folders
from deltax.commands.sizes import read_size
from deltax.data.video import frames as video_frames
from deltax.data.video.files import write_video
from deltax.data.video.stream import VideoError, flaws
from deltax.delta.run.engines import ENGINES, check_engine
from deltax.delta.run.streamer import Streamer
from deltax.plain import COUNT, DICT, TEXT
from deltax.progress import told
from deltax.report.timing import milliseconds
from deltax.tasks.video import viewer as run_video


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('model', type=pathlib.Path, help='folder of the run')
  parser.add_argument('video', type=pathlib.Path, help='whatever FFmpeg reads')
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the video to write'
  )
  parser.add_argument(
    '--force', action='store_true', help='replace OUT where there is one'
  )
  parser.add_argument(
    '--interval',
    type=int,
    default=5,
    help='distance of key frames; default: %(default)s',
  )
  parser.add_argument(
    '--every-frame',
    action='store_true',
    help='the teacher on every frame, as --interval 1',
  )
  parser.add_argument(
    '--size',
    help='what the network sees: rows x columns, as 128x256; default: as the '
    'run was trained',
  )
  parser.add_argument(
    '--overlay',
    type=float,
    default=0.5,
    help='share of the class colours, 0 to 1; default: %(default)s',
  )
  parser.add_argument(
    '--engine',
    choices=ENGINES,
    default='xla',
    help='what runs the network; all but xla run on CPUs; default: %(default)s',
  )
  parser.add_argument(
    '--compare',
    action='store_true',
    help='first time the network alone, beside the teacher on every frame',
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, runs, draws, writes and tells.

  Raises:
    FileNotFoundError: there is no such video.
    ValueError: the run holds no delta network for segmentation or detection,
      the video cannot be read to its end, or OUT cannot be written; then OUT is
      as it was.
  """
  if not 0 <= arguments.overlay <= 1:
    raise ValueError(f'--overlay is 0 to 1, got {arguments.overlay}')
  if arguments.interval < 1:
    raise ValueError(f'--interval is at least 1, got {arguments.interval}')
  check_engine(arguments.engine)
  folders.check_apart(arguments.out, arguments.model, arguments.video)
  folders.check_free(arguments.out, force=arguments.force)
  _check_video(arguments.out)
  checkpoint, config = _described(arguments.model)
  noted = video_frames.Noted()
  frames = video_frames.read_frames(arguments.video, noted)
  first = next(frames)
  header = video_frames.read_header(arguments.video)
  viewer = _viewer(arguments, checkpoint, config, first.shape[:2])
  interval = 1 if arguments.every_frame else arguments.interval
  teacher = run_video.teacher_of(viewer.frozen)
  network = teacher if interval == 1 else viewer.frozen
  streamer = Streamer(network, interval=interval, engine=arguments.engine)
  shown = viewer.fit(first)
  streamer.warm_up(shown.shape, shown.dtype)
  if arguments.compare:
    alone = Streamer(teacher, interval=1, engine=arguments.engine)
    _compare(streamer, alone, interval, shown)
  arguments.out.parent.mkdir(parents=True, exist_ok=True)
  times = []
  drawn = run_video.annotate(
    itertools.chain([first], frames),
    viewer,
    streamer,
    times=times,
    mark=interval > 1,
  )
  start = time.perf_counter()
  try:
    with contextlib.closing(drawn):
      frames = told(drawn, header.count, 'frames')
      write_video(arguments.out, frames, header.rate, times=noted.times)
  except ValueError as error:
    # What could not be read is no fault of the file that is written.
    if isinstance(error.__cause__, VideoError):
      raise error.__cause__ from None
    raise
  seconds = time.perf_counter() - start
  _summarise(arguments.out, first.shape, viewer.size, interval, times, seconds)
  if flawed := flaws(noted.damaged, noted.resized):
    print(f'{arguments.video}: {flawed}')


def _check_video(out: pathlib.Path) -> None:
  """Raises a ValueError where a video cannot be written, before it is made."""
  folders.check_file(out)
  frame = np.zeros((16, 16, 3), np.uint8)
  with tempfile.TemporaryDirectory() as folder:
    try:
      write_video(pathlib.Path(folder, f'a{out.suffix}'), [frame], 25)
    except ValueError as error:
      raise ValueError(
        f'{out}: cannot write H.264 into a file with the ending '
        f'{out.suffix!r}; .mp4 and .mkv hold it'
      ) from error


def _described(run: pathlib.Path):
  """A run's checkpoint, and what is stored with it."""
  checkpoint = training.find_checkpoint(run)
  config = training.read_metadata(checkpoint)
  _check_config(run, config)
  kind, data = run_video.kind_of(config)
  delta = (config.get('task') or {}).get('delta')
  known = ('detection', 'imitation', 'segmentation')
  if kind not in known or not data or delta is None:
    raise ValueError(
      f'{run} holds no delta network for segmentation, detection or imitation'
    )
  return checkpoint, config


def _check_config(run: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Raises a ValueError where what is stored with a run is no config."""
  what = f'the config stored in {run}'
  task = plain.check(config.get('task') or {}, DICT, what)
  data = plain.check(config.get('data', {'name': ''}), {'name': TEXT}, what)
  options, train = (
    plain.check(data.get(part, {}), DICT, what) for part in ('options', 'train')
  )
  plain.check(task.get('model', ''), TEXT, what)
  for size in (task.get('size'), options.get('size'), train.get('crop')):
    if size:
      plain.check(size, (COUNT, COUNT), what)


def _viewer(arguments, checkpoint, config, shape) -> run_video.Viewer:
  size = run_video.network_size(config, shape)
  if arguments.size:
    size = read_size(arguments.size)
  if size is None:
    raise ValueError(
      f'{arguments.model} does not tell the size of its frames; --size does'
    )
  params, model_state = training.restore_params(checkpoint)
  return run_video.make_viewer(
    params,
    model_state,
    config=config,
    size=size,
    shape=shape,
    share=arguments.overlay,
  )


def _compare(streamer, alone, interval, frame) -> None:
  """Times the network on one frame while nothing else runs, and tells."""

  def key():
    streamer.reset()
    return streamer.push(frame)

  timed = {'teacher': lambda: alone.push(frame)}
  if interval > 1:
    timed |= {'key': key, 'later': lambda: streamer.push(frame)}
  ms = milliseconds(timed)
  streamer.reset()
  text = f'alone: the teacher {ms["teacher"]:.1f} ms a frame'
  if interval > 1:
    mean = (ms['key'] + (interval - 1) * ms['later']) / interval
    text += (
      f', key frames {ms["key"]:.1f} ms, later frames {ms["later"]:.1f} ms; '
      f'{ms["teacher"] / mean:.2f} times as fast at interval {interval}'
    )
  print(text)


def _summarise(out, shape, size, interval, times, seconds) -> None:
  key = [ms for is_key, ms in times if is_key]
  later = [ms for is_key, ms in times if not is_key]
  every = 'the teacher on every frame'
  if interval > 1:
    every = f'a key frame every {interval} frames'
  print(
    f'{out}: {len(times)} frames of {shape[0]}x{shape[1]}, seen at '
    f'{size[0]}x{size[1]}, {every}'
  )
  medians = f'key frames {statistics.median(key):.1f} ms'
  if later:
    medians += f', later frames {statistics.median(later):.1f} ms'
  total = sum(key) + sum(later)
  print(
    f'network: {1000 * len(times) / total:.1f} frames per second; {medians} '
    '(medians, while the rest ran beside)'
  )
  print(
    f'end to end: {len(times) / seconds:.1f} frames per second, reading, '
    'drawing and writing included'
  )
