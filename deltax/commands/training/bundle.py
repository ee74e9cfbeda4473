"""Joins trained networks into the system that an index is built with.

    deltax bundle runs/system --coarse runs/coarse --fine runs/binary \\
      --selector runs/selector --whitening whitening.npz --copies runs/copies

The copies, of which those to test with must not be trained on, put the scores
of both students on one scale: of a thousand videos without a copy, one has a
score of 0.5 or more. Without them, a typical scale is taken.
"""

import argparse
import pathlib

from deltax.commands import folders
from deltax.data.features.annotations import read_copies
from deltax.experiment.extractor import read_extractor
from deltax.progress import wants_bar
from deltax.systems import extractors, runs
from deltax.systems import folder as retrieval_system
from deltax.systems.calibrating import calibrate


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('out', type=pathlib.Path, help='folder to write')
  parser.add_argument('--coarse', type=pathlib.Path, required=True)
  parser.add_argument('--fine', type=pathlib.Path, required=True)
  parser.add_argument('--selector', type=pathlib.Path)
  parser.add_argument(
    '--extractor',
    default='efficientnet_lite0',
    help=f'one of {", ".join(extractors.EXTRACTORS)}, or the folder of a run '
    'of `deltax distill` on one of them; default: %(default)s',
  )
  parser.add_argument(
    '--interval',
    type=int,
    help='frames from one key frame to the next, of such a run; default: the '
    'shortest that it was judged at',
  )
  parser.add_argument('--whitening', type=pathlib.Path)
  parser.add_argument(
    '--weights', type=pathlib.Path, help="a PyTorch file of the extractor's"
  )
  parser.add_argument(
    '--copies',
    type=pathlib.Path,
    help='what `deltax copies` made: its test videos put scores on one scale',
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, joins, writes and tells.

  Raises:
    ValueError: a run trained something else than it is given for.
    FileExistsError: OUT is there already.
  """
  folders.check_apart(
    *(arguments.out, arguments.coarse, arguments.fine, arguments.selector),
    *(arguments.whitening, arguments.weights),
    arguments.copies,
  )
  folders.check_writable(arguments.out)
  parts = {
    role: folder and runs.read_part(folder)
    for role, folder in (
      ('coarse', arguments.coarse),
      ('fine', arguments.fine),
      ('selector', arguments.selector),
    )
  }
  for role, part in parts.items():
    kind = part and (part.name if part.name in parts else 'fine')
    if kind not in (None, role):
      raise ValueError(
        f'--{role} {getattr(arguments, role)} is a run of {part.name!r}'
      )
  extractor = _extractor(arguments)
  system = retrieval_system.make_system(extractor, parts)
  if arguments.copies:
    scale = calibrate(
      system,
      arguments.copies / 'videos',
      read_copies(arguments.copies / 'test.json'),
      progress=wants_bar(),
    )
    system = system._replace(calibration=scale)
  retrieval_system.save_system(arguments.out, system)
  print(f'{arguments.out}: system {system.fingerprint}')


def _extractor(arguments: argparse.Namespace) -> extractors.Extractor:
  whitening = arguments.whitening
  if arguments.extractor in extractors.EXTRACTORS:
    if arguments.interval is not None:
      raise ValueError(
        f'--interval {arguments.interval} is of an extractor with students; '
        f'expected the folder of a run, got {arguments.extractor}'
      )
    return extractors.make_extractor(
      arguments.extractor, whitening=whitening, weights=arguments.weights
    )
  if arguments.weights is not None:
    raise ValueError(
      f'{arguments.extractor} has weights of its own; got --weights '
      f'{arguments.weights} too'
    )
  if not pathlib.Path(arguments.extractor).is_dir():
    raise ValueError(
      f'no extractor {arguments.extractor!r}; known: '
      f'{", ".join(extractors.EXTRACTORS)}, or the folder of a run'
    )
  return read_extractor(arguments.extractor, arguments.interval, whitening)
