"""Labels the frames of a data set with a trained network, to train on them.

    deltax label runs/teacher /data/cityscapes --out pseudo
    python train.py --config=configs/cityscapes_ddrnet23_slim.py \\
      --workdir=runs/delta --config.data.train.pseudo_labels=pseudo

RUN is the folder of a run for segmentation; of a delta network its teacher
labels. DATA is the folder of `cityscapes_video` or of `camvid`, or the word
`street`: the streets that the run was trained on. Label maps are named as the
data set's own, in a folder beside it: real labels are never touched, and are
used where there are both. What is there already is not made again, so a command
that was stopped goes on when it is given again.
"""

import argparse
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from deltax import files, training
from deltax.commands import folders
from deltax.data import describe, images
from deltax.data.folders import camvid, cityscapes_video, pseudo
from deltax.data.labels import IGNORE
from deltax.data.prefetch import ahead
from deltax.progress import told
from deltax.tasks.segmentation.labelling import make_labeller
from deltax.tasks.video.viewer import kind_of

FOLDER = 'pseudo_labels'
STREET = 'street'


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('run', type=pathlib.Path, help='folder of the run')
  parser.add_argument('data', help=f'folder of the data set, or {STREET}')
  parser.add_argument(
    '--out',
    type=pathlib.Path,
    help=f'folder to write, or to go on with; default: RUN/{FOLDER}',
  )
  parser.add_argument(
    '--split', default='train', help='of the data set; default: %(default)s'
  )
  parser.add_argument(
    '--threshold',
    type=float,
    default=0.9,
    help='pixels whose class has a lower probability are ignored (255); '
    'default: %(default)s',
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, labels, writes and tells.

  Raises:
    FileNotFoundError: there are no such frames.
    ValueError: the run is not for segmentation or has other classes than the
      data set, or OUT has something else in it; nothing is written then.
  """
  if not 0 <= arguments.threshold < 1:
    raise ValueError(
      f'--threshold is a probability, 0 to below 1, got {arguments.threshold}'
    )
  checkpoint = training.find_checkpoint(arguments.run)
  if not arguments.out and arguments.run.absolute() == checkpoint:
    raise ValueError(
      f'{arguments.run} is a single checkpoint; --out says where to write'
    )
  config = training.read_metadata(checkpoint)
  kind, trained_on = kind_of(config)
  if kind != 'segmentation':
    raise ValueError(
      f'{arguments.run} holds no network for segmentation, but for {kind}'
    )
  to_label = _find(arguments.data, arguments.split, config)
  _check_classes(arguments.run, config, trained_on, to_label.source['name'])
  out = arguments.out or arguments.run / FOLDER
  _begin(out, _manifest(config, to_label, arguments.threshold))
  params, model_state = training.restore_params(checkpoint)
  label = make_labeller(
    params,
    model_state,
    model=config['task']['model'],
    num_classes=config['task']['num_classes'],
    threshold=arguments.threshold,
  )
  todo = [k for k, name in enumerate(to_label.names) if not _done(out / name)]
  pixels = kept = 0
  for k, frame in told(
    *(ahead((k, to_label.read(k)) for k in todo), len(todo)),
    *('frames labelled', 'labelling'),
  ):
    labels = label(frame)
    with files.replacing(out / to_label.names[k]) as beside:
      beside.write_bytes(images.encode_png(to_label.encode(labels)))
    pixels, kept = pixels + labels.size, kept + np.sum(labels != IGNORE)
  there = len(to_label.names) - len(todo)
  print(f'{out}: {len(todo):,} frames labelled, {there:,} were there already')
  if todo:
    print(
      f'{kept / pixels:.1%} of their pixels have a label, of a probability of '
      f'at least {arguments.threshold:g}'
    )


def _find(data: str, split: str, config: Mapping[str, Any]) -> pseudo.ToLabel:
  """The frames of a split, by what the data set's folder looks like."""
  if data == STREET:
    # The streets are made by a package that other data sets do without.
    from deltax.data.street import builder

    described = config.get('data') or {}
    if described.get('name') != STREET:
      raise ValueError(
        'street stands for the streets that a run was trained on; this one was '
        f'trained on {described.get("name") or "something unknown"}'
      )
    return builder.to_label(split, **described['options'])
  root = pathlib.Path(data).expanduser()
  if not root.is_dir():
    raise FileNotFoundError(f'{root}: no such folder')
  if (root / cityscapes_video.FRAMES).is_dir():
    return cityscapes_video.to_label(root, split)
  if (root / split).is_dir():
    return camvid.to_label(root, split)
  raise FileNotFoundError(
    f'{root}: expected {cityscapes_video.FRAMES}/{split}/CITY, as Cityscapes '
    f'has it, or {split} with frames, as CamVid'
  )


def _check_classes(run, config, trained_on: str | None, name: str) -> None:
  """Raises a ValueError if the run's classes are not those of a data set."""
  count, info = config['task']['num_classes'], describe(name)
  if count != len(info.classes):
    raise ValueError(
      f'{run} knows {count} classes, but {name} has {len(info.classes)}'
    )
  if trained_on and describe(trained_on).classes != info.classes:
    raise ValueError(
      f'{run} knows the classes of {trained_on}, not those of {name}'
    )


def _manifest(
  config: Mapping[str, Any], to_label: pseudo.ToLabel, threshold: float
) -> dict[str, Any]:
  """What makes the labels what they are."""
  leaves = json.dumps(config['leaves'], sort_keys=True).encode()
  return {
    'source': pseudo.as_stored(to_label.source),
    'threshold': threshold,
    'network': {
      'model': config['task']['model'],
      'step': config['step'],
      'checksum': f'{zlib.crc32(leaves):08x}',
    },
  }


def _begin(out: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Writes the manifest, or checks the one of labels that are begun.

  Raises:
    ValueError: there are labels of other settings, or something else.
  """
  if not (out / pseudo.MANIFEST).is_file():
    # What is hidden, a killed writer of the manifest has left.
    if out.is_file() or any(out.glob('[!.]*')):
      raise ValueError(f'{out} is there already, and holds no pseudo-labels')
    folders.check_writable(out)
    files.write_json(out / pseudo.MANIFEST, manifest)
    return
  theirs = pseudo.read_manifest(out)
  for name, ours in manifest.items():
    if theirs.get(name) != ours:
      raise ValueError(
        f'{out} has labels of another {name} ({theirs.get(name)}, not {ours}); '
        'write to another folder'
      )


def _done(path: pathlib.Path) -> bool:
  """Whether a label map is there, whole."""
  try:
    images.check_image(path)
  except (FileNotFoundError, ValueError):
    return False
  return True
