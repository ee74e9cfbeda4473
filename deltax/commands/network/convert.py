"""Converts a published PyTorch checkpoint; nothing in the file is run.

The folder is a checkpoint of this library. A delta network starts from it:

    deltax convert ddrnet23_slim ddrnet23_slim.pth runs/converted
    python train.py --config=configs/cityscapes_ddrnet23_slim.py \\
      --workdir=runs/cityscapes --config.teacher=runs/converted

and a delta network that was converted is evaluated in place:

    python eval.py --config=... --workdir=runs/converted
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp

from deltax import convert, plain, training
from deltax.commands import folders
from deltax.files import write_json
from deltax.training.writers import METRICS_FILE

SHOWN = 5  # of what is no part of the network


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('name', help='of the network, such as ddrnet23_slim')
  parser.add_argument(
    'file', type=pathlib.Path, help='the PyTorch or safetensors file'
  )
  folders.add_out(parser)
  parser.add_argument(
    '--num-classes', type=int, help='classes that the file is expected to have'
  )
  parser.add_argument(
    '--costs',
    type=pathlib.Path,
    help='a released *_macs.p file, written to OUT/costs.json by layer',
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, checks, writes and tells.

  Raises:
    ValueError: the file is refused, does not fit the network, or OUT is there
      already; nothing is written.
  """
  name, file = arguments.name, arguments.file
  folders.check_apart(arguments.out, file, arguments.costs)
  folders.check_free(arguments.out, force=arguments.force)
  found = convert.convert(name, file)
  if arguments.num_classes not in (None, found.num_classes):
    raise ValueError(
      f'{file} has {found.num_classes} classes, expected '
      f'{arguments.num_classes}'
    )
  is_delta = found.form != convert.FRAME_BASED
  spec = convert.published_spec(name)
  costs = None
  if arguments.costs:
    costs = convert.read_costs(
      arguments.costs, convert.converted_layers(name, found)
    )
  task = {'model': name, 'num_classes': found.num_classes}
  with folders.filled(arguments.out, force=arguments.force) as out:
    metadata = {
      'task': {**task, 'delta': {'spec': spec} if is_delta else None},
      'source': {'file': file.name, 'form': found.form},
    }
    with training.Checkpoints(out, metadata=metadata) as checkpoints:
      checkpoints.save(_state(found))
    (out / METRICS_FILE).touch()
    if costs is not None:
      write_json(out / 'costs.json', costs)
  arrays = jax.tree.leaves((found.params, found.model_state))
  weights = sum(x.size for x in jax.tree.leaves(found.params))
  print(
    f'{file}: {name}, {found.form}, {found.num_classes} classes, '
    f'{len(arrays)} arrays, {weights:,} parameters'
  )
  if found.ignored:
    count, shown = len(found.ignored), map(plain.written, found.ignored[:SHOWN])
    more = ', ...' if count > SHOWN else ''
    print(f'no part of the network: {count}: {", ".join(shown)}{more}')
  print(f'written to {arguments.out}')


def _state(found: convert.Converted) -> training.TrainState:
  """A run that has not started: it has no optimizer."""
  return training.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=found.params,
    model_state=found.model_state,
    opt_state=(),
    key=jax.random.key(0),
  )
