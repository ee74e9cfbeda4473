"""What rounding to int8 costs in accuracy, and saves in milliseconds.

    python benchmarks/int8.py runs/street_large/macs

RUN is a delta network for segmentation. Its teacher on every frame, and key
frames of float32 with later frames between, run in ONNX Runtime on one thread,
each in float32 and with convolutions of int8, whose ranges are of clips that
the run was trained on. Mean IoU is that of all pixels of the evaluation clips
together; 'same class' the share of pixels to which int8 gives the class that
float32 gives. Frames of all four take turns.
"""

import argparse
import itertools
import pathlib
import time

import numpy as np
from delta import pinned
from front import read_run

from deltax import compilation
from deltax.delta.export import export
from deltax.delta.run.engines import by_onnxruntime
from deltax.delta.run.int8 import in_int8
from deltax.experiment import starts
from deltax.metrics.segmentation import confusion, mean_iou
from deltax.tasks.segmentation.parts import predict
from deltax.tasks.video import deployed

CLIPS, FRAMES = 16, 3  # whose ranges are taken


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('run', type=pathlib.Path)
  parser.add_argument('--interval', type=int, default=10)
  options = parser.parse_args()
  compilation.set_up()
  config, brought, delta, whole = read_run(options.run)
  judged = starts.dataset(config, 'evaluation')
  seen = clips(brought, starts.dataset(config, 'train'))
  with pinned(1):
    alone = deployed.freeze_teacher(brought.net, whole['teacher'], seen[0][0])
    ways = whole_in_both(alone, seen)
    ways |= later_in_both(delta.freeze(whole, seen[0][0]), seen)
    print('| | mean IoU | same class | ms, median |\n' + '|---' * 4 + '|')
    tally = Tally(config['task']['num_classes'])
    for batch in judged:
      for frames, labels in zip(batch['frames'], batch['labels'], strict=True):
        shown = np.asarray(brought.prepare(frames))
        follow(ways, shown, labels, options.interval, tally)
  print('\n'.join(tally.rows()))


def clips(brought, dataset):
  """Clips `[T, 1, H, W, C]`, as the network takes them."""
  every = (clip for n in itertools.count() for clip in dataset[n]['frames'])
  return [
    np.asarray(brought.prepare(clip[:FRAMES]))[:, None]
    for clip in itertools.islice(every, CLIPS)
  ]


def whole_in_both(frozen, seen):
  """Programs of a network on every frame: `{name: (key frame's, None)}`."""
  exact = export(frozen, seen[0][0].shape, form='onnx')
  small = in_int8(exact, seen)
  return {
    'teacher': (by_onnxruntime(exact['keyframe']), None),
    'teacher, int8': (by_onnxruntime(small['keyframe']), None),
  }


def later_in_both(frozen, seen):
  """Those of a delta network: `{name: (key frame's, later frame's)}`."""
  exact = export(frozen, seen[0][0].shape, form='onnx')
  small = in_int8(exact, seen)
  key = by_onnxruntime(exact['keyframe'])
  return {
    'later frames': (key, by_onnxruntime(exact['step'])),
    'later frames, int8': (key, by_onnxruntime(small['step'])),
  }


class Tally:
  """Confusions, equal classes and milliseconds, by name."""

  def __init__(self, classes):
    self.classes = classes
    self.confusion, self.same, self.ms = {}, {}, {}

  def add(self, name, predicted, labels):
    counts = np.asarray(confusion(predicted, labels, self.classes))
    self.confusion[name] = self.confusion.get(name, 0) + counts

  def rows(self):
    for name, counts in self.confusion.items():
      same = self.same.get(name)
      share = f'{100 * np.mean(same):.1f}%' if same else ''
      took = np.median(self.ms[name])
      yield (
        f'| {name} | {100 * float(mean_iou(counts)):.2f} | {share} | '
        f'{took:.1f} |'
      )


def follow(ways, frames, labels, interval, tally):
  """Runs every way through a clip; later frames alone are timed of a pair."""
  held = dict.fromkeys(ways)
  for number, (frame, label) in enumerate(zip(frames, labels, strict=True)):
    seen = {}
    for name, (key, later) in ways.items():
      start = time.perf_counter()
      if later is None or number % interval == 0:
        held[name], outs = key({}, frame[None])
      else:
        changed, outs = later(held[name], frame[None])
        held[name] = held[name] | changed
      spent = 1000 * (time.perf_counter() - start)
      if later is None or number % interval:
        tally.ms.setdefault(name, []).append(spent)
      seen[name] = np.asarray(predict(outs[0][None], label.shape)[0, 0])
      tally.add(name, seen[name], label)
    for name, classes in seen.items():
      exact = name.removesuffix(', int8')
      if exact != name:
        same = np.mean(classes == seen[exact])
        tally.same.setdefault(name, []).append(same)


if __name__ == '__main__':
  main()
