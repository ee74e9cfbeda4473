"""How many pixels pseudo-labels of the streets cover, and how many are right.

    python benchmarks/pseudo_labels.py runs/labels/pseudo --labelled-frames 20

Only frames that keep no labels of their own count; the truth is the renderer's.
Prints the shares over all pixels, and for every class the share of its pixels
that is covered and its intersection over union among covered pixels.
"""

import argparse
import json
import pathlib

import numpy as np

from deltax.data import describe, images, make_dataset
from deltax.data.folders import pseudo
from deltax.data.street import sparse
from deltax.metrics.segmentation import confusion, iou


def main(arguments: list[str] | None = None) -> None:
  """Reads, compares and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--labelled-frames', type=int, default=1)
  parser.add_argument('--labelled-worlds', type=int, default=1)
  parser.add_argument('--worlds', default='[96, 16]')
  parser.add_argument('--data-dir')
  given = parser.parse_args(arguments)
  source = pseudo.read_manifest(given.folder)['source']
  worlds, frames = json.loads(given.worlds), source['frames']
  truths = make_dataset(
    'street',
    'train',
    batch_size=1,
    train=False,
    clip_length=1,
    worlds=worlds,
    frames=frames,
    size=source['size'],
    data_dir=given.data_dir,
  )
  one_in = given.labelled_worlds, given.labelled_frames
  kept = sparse.keep(worlds[0], frames, *one_in).ravel()
  classes = describe('street').classes
  counts, pixels = np.zeros((2, len(classes), len(classes)))
  for number in np.flatnonzero(~kept).tolist():
    path = given.folder / sparse.name_of('train', number, frames)
    made, truth = images.read(path, 1), truths[number]['labels'][0, 0]
    counts += confusion(made, truth, len(classes))  # 255 is no class
    pixels += confusion(truth, truth, len(classes))
  print(
    f'covered {counts.sum() / pixels.sum():.1%}, of these right '
    f'{np.trace(counts) / counts.sum():.1%}'
  )
  covered = counts.sum(1) / np.maximum(pixels.sum(1), 1)
  for name, share, each in zip(classes, covered, iou(counts), strict=True):
    print(f'{name:12} covered {share:.2f}, IoU {each:.2f}')


if __name__ == '__main__':
  main()
