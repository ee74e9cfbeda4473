"""Joins trained networks into the system that an index is built with.

    deltax bundle runs/system --coarse runs/coarse --fine runs/binary \\
      --selector runs/selector --whitening whitening.npz
"""

import argparse
import pathlib

from deltax.commands import folders
from deltax.systems import extractors, runs
from deltax.systems import folder as retrieval_system


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('out', type=pathlib.Path, help='folder to write')
  parser.add_argument('--coarse', type=pathlib.Path, required=True)
  parser.add_argument('--fine', type=pathlib.Path, required=True)
  parser.add_argument('--selector', type=pathlib.Path)
  parser.add_argument(
    '--extractor',
    default='efficientnet_lite0',
    help=f'one of {", ".join(extractors.EXTRACTORS)}',
  )
  parser.add_argument('--whitening', type=pathlib.Path)
  parser.add_argument(
    '--weights', type=pathlib.Path, help="a PyTorch file of the extractor's"
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
  extractor = extractors.make_extractor(
    arguments.extractor,
    whitening=arguments.whitening,
    weights=arguments.weights,
  )
  system = retrieval_system.make_system(extractor, parts)
  retrieval_system.save_system(arguments.out, system)
  print(f'{arguments.out}: system {system.fingerprint}')
