"""What reading a video costs, and what search loses by reading it cheaper.

    python benchmarks/extractor.py --copies runs/demo_retrieval/copies \\
      --system runs/demo_retrieval/system --run runs/extractor/target_0.2

COPIES is what `deltax copies` made; its test sources are asked for, and neither
SYSTEM nor RUN, a distilled backbone, may have seen them. Videos are read at one
frame a second and at four. Beside the backbone on every frame stand its delta
network at several distances of key frames, the backbone on every n-th frame
alone, and the backbone on the frames before which most changes (local maxima
of the difference of small pictures), of which there are about as many. A row
has milliseconds of the process a second of video, decoding apart; mAP over all
pairs; and how far the time that is told and the time that is shared agree, of
query and target (intersection over union), of the copies whose time is known.
"""

import argparse
import pathlib
import tempfile
import time
from typing import NamedTuple

import cv2
import numpy as np
from copies import mean_precision, read_asked, searched
from where import judge

from deltax import compilation, plain, retrieval, systems
from deltax.data.video.files import read_chunks
from deltax.experiment.extractor import read_extractor
from deltax.retrieval.compare.locate import Frames, locate
from deltax.retrieval.system import encode_fine
from deltax.systems import extractors

RATES = (1.0, 4.0)
INTERVALS = (2, 4, 8)
FRAMES = 64  # read at once


class Read(NamedTuple):
  """A video's frames, uint8 `[T, H, W, 3]`, their seconds, and its length."""

  frames: np.ndarray
  times: np.ndarray
  duration: float


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--copies', type=pathlib.Path, required=True)
  parser.add_argument('--system', required=True)
  parser.add_argument('--run', type=pathlib.Path, required=True)
  options = parser.parse_args()
  compilation.set_up()
  system = systems.open_system(options.system)
  whitening = extractors.Whitening(**system.extract.arrays['whitening'])
  asked = read_asked(options.copies, 'test')
  about = plain.read_json(options.copies / 'annotations.json')['videos']
  deltas = {
    n: read_extractor(options.run, n, whitening=whitening) for n in INTERVALS
  }
  print(
    '| frames a second | extractor | ms a second of video | times as fast '
    '| mAP | IoU of the query | of the target |\n|' + 7 * '---|'
  )
  for rate in RATES:
    start = time.process_time()
    videos = {name: read(path, rate) for name, path in asked.paths.items()}
    seconds = sum(video.duration for video in videos.values())
    spent = 1000 * (time.process_time() - start) / seconds
    print(f'| {rate:g} | (decoding) | {spent:.2f} | | | | |')
    whole = None
    for name, extract, chosen in ways(system.extract, deltas, rate):
      picked = {key: chosen(video) for key, video in videos.items()}
      count = sum(len(video.frames) for video in picked.values())
      spent = count * milliseconds(extract, picked.values()) / seconds
      whole = whole or spent
      features = {key: extract(x.frames) for key, x in picked.items()}
      figures = judged(system, asked, about, features, picked)
      row = ' | '.join(f'{x:.3f}' for x in figures[1:])
      print(
        f'| {rate:g} | {name} | {spent:.2f} | {whole / spent:.2f} '
        f'| {figures[0]:.1f} | {row} |',
        flush=True,
      )


def milliseconds(extract, videos):
  """Of the process, a frame: the median of calls of as many as fill them."""
  frames = np.concatenate([video.frames for video in videos][:20])
  calls = [
    frames[start : start + extractors.CHUNK]
    for start in range(0, len(frames) - extractors.CHUNK, extractors.CHUNK)
  ]
  extract(calls[0])  # compiles
  spent = []
  for frames in calls:
    start = time.process_time()
    extract(frames)
    spent.append(time.process_time() - start)
  return 1000 * float(np.median(spent)) / extractors.CHUNK


def read(path, rate):
  parts = list(read_chunks(path, FRAMES, rate=rate))
  return Read(
    np.concatenate([part.frames for part in parts]),
    np.concatenate([part.times for part in parts]),
    float(parts[-1].duration),
  )


def ways(plain_extractor, deltas, rate):
  """Names of the rows, an extractor, and which frames it is given."""
  yield 'every frame', plain_extractor, lambda video: video
  for n, extractor in deltas.items():
    yield f'delta, key frame every {n}', extractor, lambda video: video
  for n in INTERVALS if rate > 1 else (2,):
    yield (
      f'every frame of {n}',
      plain_extractor,
      lambda video, n=n: kept(video, np.arange(0, len(video.frames), n)),
    )
  if rate > 1:
    yield 'maxima of change', plain_extractor, by_change


def kept(video, numbers):
  return Read(video.frames[numbers], video.times[numbers], video.duration)


def by_change(video):
  """The first frame, and those that differ most from the one before."""
  small = np.stack(
    [
      cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA)
      for frame in video.frames
    ]
  ).astype(np.float32)
  change = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))
  padded = np.pad(change, 1, constant_values=-1)
  peaks = (change > padded[:-2]) & (change >= padded[2:])
  return kept(video, np.concatenate([[0], np.flatnonzero(peaks) + 1]))


def judged(system, asked, about, features, videos):
  """mAP in percent, IoU of the query's time and of the target's."""
  with tempfile.TemporaryDirectory() as folder:
    index = systems.index_features(f'{folder}/index', features, system)
    scores = searched(asked, retrieval.Searcher(index, system), features)
  films = {
    name: Frames(
      encode_fine(system.fine, np.asarray(regions, np.float32)),
      *(videos[name].times, 0.0, videos[name].duration),
    )
    for name, regions in features.items()
  }
  shares = []
  for query, row in zip(asked.queries, asked.relevant, strict=True):
    for number in np.flatnonzero(row):
      name = asked.videos[number]
      truth = [
        ((c, min(d, films[query].end)), (a, b))
        for a, b, c, d in about[name]['segments']
      ]
      if truth:
        parts = locate(films[query], films[name])
        shares.append(judge(parts, truth)[:2])
  precision = mean_precision(scores, asked.relevant, asked.others)
  return precision, *np.mean(shares, 0)


if __name__ == '__main__':
  main()
