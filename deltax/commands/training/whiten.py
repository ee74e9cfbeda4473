"""Fits a whitening to features that have none.

    deltax whiten runs/raw --out runs/whitening.npz --apply runs/features

The store is read once to fit, however large, and once more to apply it; to fit,
it may be a published HDF5 file too.
"""

import argparse
import functools
import pathlib

import jax
import numpy as np
import tqdm

from deltax import files
from deltax.commands import folders
from deltax.data.features.store import FeatureStore, open_features
from deltax.progress import wants_bar
from deltax.retrieval import whiten
from deltax.retrieval.fitting import moments, whitening_from_moments
from deltax.systems import extractors
from deltax.systems.extractors import CHUNK


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'store', type=pathlib.Path, help='what `deltax extract` wrote'
  )
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the file to write, .npz'
  )
  parser.add_argument(
    '--size',
    type=int,
    help='numbers of a region that are kept; default: as many as there are, a '
    'multiple of 32 and at most 512',
  )
  parser.add_argument(
    '--apply',
    type=pathlib.Path,
    metavar='STORE',
    help='also write the whitened features, as `deltax extract --whitening` '
    'would, without reading a video again',
  )
  parser.add_argument(
    '--weights',
    type=pathlib.Path,
    help='with --apply: the PyTorch file that the features were made with',
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, fits, writes and tells.

  Raises:
    FileNotFoundError: there is no such store.
    ValueError: its features are whitened already, too few, too small or
      damaged; or, to apply it, were made by another extractor.
  """
  store, out = arguments.store, arguments.out
  folders.check_apart(out, store, arguments.weights)
  folders.check_file(out)
  if arguments.apply:
    folders.check_writable(arguments.apply)
    folders.check_apart(arguments.apply, store, out, arguments.weights)
  with open_features(store) as features:
    if features.description.get('whitened'):
      raise ValueError(f'the features of {store} are whitened already')
    if arguments.apply:
      _check_extractor(features, store, arguments.weights)
    names = tqdm.tqdm(
      features.names, 'whiten', unit='video', disable=not wants_bar()
    )
    sums = moments(features[name] for name in names)
  size = arguments.size
  if size is None:
    size = min(512, len(sums.total) // 32 * 32)
  fitted = whitening_from_moments(sums, size)
  # A file and not a path: to a path without '.npz' numpy would add it.
  with files.replacing(out) as beside, open(beside, 'wb') as file:
    np.savez(file, mean=fitted.mean, projection=fitted.projection)
  if arguments.apply:
    _apply(store, out, arguments.apply, arguments.weights)
  print(
    f'{out}: {len(fitted.mean)} to {size} numbers, fitted to '
    f'{sums.count:,} regions of {len(names)} videos'
  )


def _check_extractor(features, store, weights) -> None:
  """Raises a ValueError unless the same extractor can be made again."""
  name = features.description.get('name')
  if name is None:
    raise ValueError(
      f'{store} does not say which extractor made it; --apply needs a store '
      'that `deltax extract` wrote'
    )
  made = extractors.make_extractor(name, weights=weights).fingerprint
  if made != features.fingerprint:
    raise ValueError(
      f'{store} was made by {features.fingerprint}, {name} with these weights '
      f'is {made}; give the weights it was made with as --weights'
    )


def _apply(store, file, out, weights) -> None:
  """Writes the whitened features of a store, or those that are left to do."""
  with open_features(store) as raw:
    extractor = extractors.make_extractor(
      raw.description['name'], whitening=file, weights=weights
    )
    with FeatureStore(
      out,
      fingerprint=extractor.fingerprint,
      description=extractor.description,
    ) as whitened:
      fitted = extractors.read_whitening(file)
      run = jax.jit(functools.partial(whiten, fitted))
      left = [name for name in raw.names if name not in whitened]
      for name in tqdm.tqdm(
        left, 'apply', unit='video', disable=not wants_bar()
      ):
        frames = raw[name]
        padding = ((0, -len(frames) % CHUNK), (0, 0), (0, 0))
        regions = np.asarray(run(np.pad(frames, padding)))
        whitened.add(name, regions[: len(frames)])
